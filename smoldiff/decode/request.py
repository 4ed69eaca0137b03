"""What a caller asks for, checked and turned into an answer to be written."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from smoldiff.decode.answer import Answer
from smoldiff.decode.chat import read_messages, render_prompt
from smoldiff.decode.confidence import by_tokens, with_confidence
from smoldiff.decode.copying import CopySource
from smoldiff.decode.denoise import Denoiser
from smoldiff.decode.drafters import Drafter, parse_drafter
from smoldiff.decode.gate import read_whole
from smoldiff.decode.given import narrow
from smoldiff.decode.grammar import AnswerForm
from smoldiff.decode.head_drafter import HeadDrafter
from smoldiff.decode.model import Model
from smoldiff.decode.observer import Observer
from smoldiff.decode.options import DEFAULT_MAX_REMASKS, DEFAULT_MAX_TOKENS, CallOptions, checked
from smoldiff.decode.result import CallResult
from smoldiff.decode.revision import Revision
from smoldiff.decode.sampling import Sampling
from smoldiff.decode.scores import Scorer
from smoldiff.decode.tool_guessing import first_tool
from smoldiff.errors import (
    GenerationError,
    IncompleteCall,
    PromptTooLong,
    RequestError,
    SmoldiffError,
    UnknownTool,
)
from smoldiff.head.calibration import NEUTRAL, Calibration
from smoldiff.scaffold.compile import compile_schema
from smoldiff.scaffold.cursor import Choices
from smoldiff.scaffold.scaffold import Scaffold
from smoldiff.scaffold.style import JsonStyle
from smoldiff.schema.limits import DEFAULT_LIMITS, Limits
from smoldiff.schema.source import Source, read_source
from smoldiff.template.fits import check_fits

DEFAULT_STEPS = 2
MAX_CALLS = 16
"""Most calls in one answer."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The options of a request, checked, with what they make of the schema."""

    shown: Source
    """What the prompt shows: all tools, also where only one may be called."""
    form: AnswerForm
    scaffold: Scaffold
    drafter: frozenset[str] | None
    mode: str
    scorer: Scorer | None
    """Fills the answer in mode "diffusion"; None where the model's head does."""
    num_steps: int
    """Passes of the base in mode "diffusion", the prompt's among them."""
    num_denoise_steps: int
    """Passes of the head a draft."""
    sampling: Sampling
    max_tokens: int
    skip_forced: bool
    max_remasks: int
    template_options: Mapping[str, Any]
    observer: Observer | None
    """Shown how the answer comes about."""
    calibration: Calibration
    """Of the confidence of what is written."""
    plan_ms: float


def as_it_is(source: Source) -> Source:
    """No change to what may be called."""
    return source


def plan(
    model: Model,
    schema: Any,
    options: CallOptions,
    refine: Callable[[Source], Source] = as_it_is,
) -> Plan:
    """Check the options and compile the schema, its callable part changed by `refine`.

    Raises RequestError and SchemaError.
    """
    began = time.perf_counter()
    given = checked(options)
    mode = given.get("mode") or "verified"
    drafter = parse_drafter(given.get("drafter") or default_drafter(model))
    is_head_wanted = mode == "diffusion" and "scorer" not in given
    if model.head is None and (is_head_wanted or (mode == "verified" and "diffusion" in drafter)):
        what = "mode" if is_head_wanted else "drafter"
        raise RequestError(
            f"{what}='diffusion' needs a head; load the model with one: smoldiff.load(name, head=...)"
        )
    shown = read_source(schema)
    form = _form(model, shown, given, refine)
    scaffold = _scaffold(form, given.get("limits") or DEFAULT_LIMITS)
    if mode == "diffusion":
        check_fits(scaffold, model.vocabulary)
    return Plan(
        shown=shown,
        form=form,
        scaffold=scaffold,
        drafter={"verified": drafter, "diffusion": frozenset({"diffusion"})}.get(mode),
        mode=mode,
        scorer=given.get("scorer"),
        num_steps=given.get("steps") or DEFAULT_STEPS,
        num_denoise_steps=given.get("denoise_steps") or 1,
        sampling=Sampling(
            temperature=given.get("temperature") or 0.0,
            top_k=given.get("top_k") or 0,
            top_p=given.get("top_p") or 1.0,
            seed=given.get("seed"),
        ),
        max_tokens=given.get("max_tokens") or DEFAULT_MAX_TOKENS,
        skip_forced=bool(given.get("skip_forced")),
        max_remasks=given.get("max_remasks", DEFAULT_MAX_REMASKS) or 0,
        template_options=given.get("template_options") or {},
        observer=given.get("observer"),
        calibration=_calibration(model, mode),
        plan_ms=1e3 * (time.perf_counter() - began),
    )


def default_drafter(model: Model) -> str:
    """The head where there is one; else what needs no training."""
    return "parallel+copy" if model.head is None else "diffusion+copy"


def _calibration(model: Model, mode: str) -> Calibration:
    if model.head is None:
        return NEUTRAL
    config = model.head.config
    return config.diffusion_calibration if mode == "diffusion" else config.verified_calibration


def _scaffold(form: AnswerForm, limits: Limits) -> Scaffold:
    source = form.source
    tools = [
        {"name": t.name, "description": t.description, "parameters": t.parameters}
        for t in source.tools
    ]
    return compile_schema(
        tools or source.schema,
        call_style=form.call_style,
        json_style=form.json_style,
        max_calls=form.max_calls,
        limits=limits,
    )


def _form(
    model: Model, shown: Source, options: CallOptions, refine: Callable[[Source], Source]
) -> AnswerForm:
    source, choice = choose_tools(shown, options.get("tool_choice") or "required")
    source = refine(narrow(source, options.get("given") or {}))
    can_repeat = model.call_style.can_repeat and options.get("parallel_tool_calls", True)
    is_single = choice == "named" or not source.tools or not can_repeat
    return AnswerForm(
        source=source,
        call_style=model.call_style,
        json_style=JsonStyle(),
        max_calls=1 if is_single else MAX_CALLS,
        may_be_text=choice == "auto",
    )


def choose_tools(source: Source, tool_choice: str | Mapping[str, Any]) -> tuple[Source, str]:
    """The tools that may be called, and "auto", "required" or "named". Raises UnknownTool, RequestError."""
    if isinstance(tool_choice, Mapping):
        function = tool_choice.get("function", tool_choice)
        name = function.get("name") if isinstance(function, Mapping) else None
        if not isinstance(name, str):
            raise RequestError(
                f"tool_choice={tool_choice!r}: expected {{'type': 'function', 'function': {{'name': ...}}}}"
            )
        return _only(source, name), "named"
    if tool_choice == "required" or (tool_choice == "auto" and source.tools):
        return source, tool_choice
    if not source.tools:
        raise RequestError(f"tool_choice={tool_choice!r} needs tools; a bare schema was given")
    if tool_choice == "none":
        raise RequestError("tool_choice='none' asks for no call; use the model's own generate()")
    return _only(source, tool_choice), "named"


def _only(source: Source, name: str) -> Source:
    chosen = tuple(tool for tool in source.tools if tool.name == name)
    if not chosen:
        raise UnknownTool(name, tuple(tool.name for tool in source.tools))
    return replace(source, tools=chosen)


def start(model: Model, plan: Plan, messages: Any, row: int = 0) -> Answer:
    """The answer to `messages`, ready to be written."""
    began = time.perf_counter()
    prompt_ids = render_prompt(
        model.tokenizer, read_messages(messages), plan.shown.tools, plan.template_options
    )
    prompt_ms = 1e3 * (time.perf_counter() - began)
    answer = start_from_ids(model, plan, prompt_ids, row)
    answer.stats.ms["prompt"] = prompt_ms
    return answer


def start_from_ids(model: Model, plan: Plan, prompt_ids: Sequence[int], row: int = 0) -> Answer:
    """The answer behind a prompt of token ids. Raises PromptTooLong, UnsupportedSchema."""
    began = time.perf_counter()
    room = model.base.max_context - len(prompt_ids)
    if room < 1:
        raise PromptTooLong(len(prompt_ids), model.base.max_context)
    answer = Answer(
        prompt_ids=prompt_ids,
        vocabulary=model.vocabulary,
        matcher=model.grammar_engine.compile(plan.form).matcher(),
        chooser=plan.sampling.chooser(row, model.base.tie_tolerance),
        drafter=_drafter(model, plan, prompt_ids),
        eos_ids=frozenset(model.eos_ids),
        call_style=plan.form.call_style if plan.form.may_be_text else None,
        max_tokens=min(plan.max_tokens, room),
        read=partial(read_answer, plan),
        revision=Revision(plan.form, plan.max_remasks),
        skip_forced=plan.skip_forced,
        observer=plan.observer,
    )
    answer.stats.ms["compile"] = plan.plan_ms + 1e3 * (time.perf_counter() - began)
    return answer


def _drafter(model: Model, plan: Plan, prompt_ids: Sequence[int]) -> Drafter | None:
    if plan.drafter is None:
        return None
    text = model.vocabulary.bytes_of(prompt_ids).decode(errors="replace")
    head = model.head if "diffusion" in plan.drafter else None
    tables = None if head is None else model.tables
    tool = first_tool(model.vocabulary, plan.form.source.tools, prompt_ids, head, tables)
    choices = Choices(branches={"/0": tool})
    if head is None:
        return Drafter(plan.scaffold, model.vocabulary, plan.drafter, CopySource(text), choices)
    on_step = None if plan.observer is None else plan.observer.filled
    return HeadDrafter(
        plan.scaffold,
        model.vocabulary,
        plan.drafter | {"parallel"},
        CopySource(text),
        choices,
        denoiser=Denoiser(head, model.tables, model.vocabulary, on_step),
        num_prompt=len(prompt_ids),
        num_steps=plan.num_denoise_steps,
        observer=plan.observer,
    )


def finish(answer: Answer) -> CallResult:
    """The result of a written answer. Raises IncompleteCall, InvalidCall, with `.stats`, and UnsupportedSchema."""
    outcome = answer.outcome
    if isinstance(outcome, GenerationError):
        outcome.stats = answer.stats
    if isinstance(outcome, SmoldiffError):
        raise outcome
    assert outcome is not None  # decoding ends when every answer has its outcome
    return outcome


def outcome_of(answer: Answer) -> CallResult | GenerationError:
    """The result of a written answer, or what went wrong with it. Raises UnsupportedSchema."""
    try:
        return finish(answer)
    except GenerationError as problem:
        return problem


def all_or_error(outcomes: Sequence[CallResult | GenerationError]) -> list[CallResult]:
    """The results of a batch. Where one fails, raises the first error with `.results` holding what became of each."""
    errors = [outcome for outcome in outcomes if isinstance(outcome, GenerationError)]
    if errors:
        errors[0].results = tuple(outcomes)
        raise errors[0]
    return [outcome for outcome in outcomes if isinstance(outcome, CallResult)]


def read_answer(plan: Plan, answer: Answer) -> CallResult:
    """The result of a written answer. Raises IncompleteCall, InvalidCall, UnsupportedSchema."""
    text = answer.vocabulary.bytes_of(answer.ids).decode(errors="replace")
    form = plan.form
    content, calls_text = None, text
    if form.may_be_text:
        at = form.call_style.start_in(text)
        content, calls_text = (text, "") if at < 0 else (text[:at], text[at:])
    if calls_text and not answer.ended_by_model:
        if answer.max_tokens < plan.max_tokens:
            raise IncompleteCall(
                "the model's context ended inside a call; shorten the prompt", text
            )
        raise IncompleteCall(
            f"max_tokens={plan.max_tokens} was reached inside a call; raise max_tokens", text
        )
    has_calls = bool(calls_text) or not form.source.tools
    calls = read_whole(calls_text, form.source, form.call_style) if has_calls else ()
    behind = len(text.encode()) - len(calls_text.encode())
    ends = [end - behind for end in answer.vocabulary.ends(answer.ids)]
    sure = by_tokens(calls_text, ends, answer.chances)
    calls = with_confidence(calls, calls_text, plan.scaffold, form, sure, plan.calibration)
    reason = "tool_calls" if calls else "stop" if answer.ended_by_model else "length"
    return CallResult(
        calls, (content or "").strip() or None, text, tuple(answer.ids), reason, answer.stats
    )
