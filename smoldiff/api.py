"""What users call: `generate_call`, its batched and streaming forms, `repair`. (`load` lives with the model.)"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Unpack

from smoldiff.decode.foreign import read_call
from smoldiff.decode.loop import decode
from smoldiff.decode.model import Model
from smoldiff.decode.options import CallOptions
from smoldiff.decode.repairing import begin_repair
from smoldiff.decode.request import Plan, all_or_error, finish, outcome_of, plan, start
from smoldiff.decode.result import CallResult, ToolCall
from smoldiff.decode.stream import FinalField, final_fields
from smoldiff.decode.unverified import write_calls
from smoldiff.errors import InvalidCall, RequestError, SchemaError

Messages = str | Sequence[dict[str, Any]]


def generate_call(
    model: Any,
    schema: Any,
    messages: Messages | None = None,
    *,
    tokenizer: Any = None,
    **options: Unpack[CallOptions],
) -> CallResult:
    """The model's call for `messages`, always valid under `schema`.

    model: from `load`, or any transformers causal LM with `tokenizer=`.
    schema: a JSON Schema, an OpenAI tool, a list of tools, or a Pydantic model class.
    messages: OpenAI messages, or one user message as a string.
    options: see `CallOptions`.

    Raises RequestError and SchemaError for what was asked, ModelError for the model, and GenerationError where the
    model does not end in a valid call; all are SmoldiffError.

    >>> call = generate_call(load("smoldiff-nano"), tools, "Book a table for two at Nopa tonight")
    >>> call.name, call.arguments
    """
    return generate_calls(model, schema, [messages], tokenizer=tokenizer, **options)[0]


def generate_calls(
    model: Any,
    schema: Any,
    conversations: Sequence[Messages | None],
    *,
    tokenizer: Any = None,
    **options: Unpack[CallOptions],
) -> list[CallResult]:
    """One call for each conversation, decoded together as a batch; otherwise as `generate_call`.

    Nothing is lost where one answer fails: the whole batch is decoded first. Then the first error is raised, with
    `.results` holding, by conversation, the result or the error of each.
    """
    if isinstance(conversations, str):
        raise RequestError("conversations is one string; give a list, one conversation each")
    wrapped = Model.of(model, tokenizer)
    return _write(wrapped, plan(wrapped, schema, options), conversations)


def _write(model: Model, what: Plan, conversations: Sequence[Messages | None]) -> list[CallResult]:
    if what.mode == "diffusion":
        starts = [partial(start, model, what, m, row) for row, m in enumerate(conversations)]
        return all_or_error(write_calls(model, what, starts))
    answers = [start(model, what, m, row) for row, m in enumerate(conversations)]
    for _ in decode(model.base, answers):
        pass
    return all_or_error([outcome_of(answer) for answer in answers])


def stream_call(
    model: Any,
    schema: Any,
    messages: Messages | None = None,
    *,
    tokenizer: Any = None,
    **options: Unpack[CallOptions],
) -> Iterator[FinalField | CallResult]:
    """Yields each field as soon as it is final, then the whole `CallResult`; otherwise as `generate_call`.

    A field is never taken back. Where the grammar engine cannot fully express the schema, no field is final before the
    whole answer validates, so all of them come at the end; likewise in mode "diffusion".
    """
    wrapped = Model.of(model, tokenizer)
    what = plan(wrapped, schema, options)
    if what.mode == "diffusion":
        (result,) = all_or_error(
            write_calls(wrapped, what, [partial(start, wrapped, what, messages)])
        )
        yield from final_fields(what.scaffold, result.text)
        yield result
        return
    answer = start(wrapped, what, messages)
    is_exact = wrapped.grammar_engine.compile(what.form).is_exact
    num_seen = 0
    for _ in decode(wrapped.base, [answer]):
        if is_exact or isinstance(answer.outcome, CallResult):
            fields = final_fields(what.scaffold, answer.scaffold_text())
            if len(fields) > num_seen:
                answer.keep_written()
            yield from fields[num_seen:]
            num_seen = max(
                num_seen, len(fields)
            )  # none are seen where a pass ends inside a character
    yield finish(answer)


def repair(
    model: Any,
    call: ToolCall | CallResult | Mapping[str, Any],
    schema: Any,
    messages: Messages | None = None,
    *,
    tokenizer: Any = None,
    keep: float = 0.5,
    confidence: Mapping[str, float] | None = None,
    **options: Unpack[CallOptions],
) -> CallResult:
    """A valid call made from an invalid or doubtful one, of any model: what is valid and sure stays, the rest is written anew.

    call: a ToolCall, a CallResult with one call, OpenAI's tool call, or {"name": ..., "arguments": ...}. Arguments that
        are JSON text may be broken; a value that the text breaks off in does not stay.
    schema, messages, options: as in `generate_call`, without `tool_choice`; mode "diffusion" works too.
    keep: values whose confidence is less than this are written anew; those without one stay if they are valid.
    confidence: JSON pointer into the arguments -> 0..1, over what the call itself says. A pointer to an object or an
        array speaks for all values in it.

    The tool stays where it is one of the schema's, or there is but one; else a tool is chosen and nothing stays. Keys that
    the schema does not know are dropped. An array with some values that stay keeps its length. Where values that stay
    contradict each other under the schema, the least sure ones go. `result.kept` are the pointers of those that stayed.
    A call that is valid and sure comes back without a pass of the model; only then are no messages needed.

    Raises RequestError for a call that cannot be read; otherwise as `generate_call`.

    >>> call = repair(model, {"name": "book", "arguments": '{"city": "Oslo", "seats": "two'}, tools, messages)
    >>> call.arguments, call.kept
    """
    wrapped = Model.of(model, tokenizer)
    repairing = begin_repair(wrapped, read_call(call, confidence), schema, keep, options)
    if repairing.is_whole:
        return repairing.unchanged()
    if messages is None and options.get("scorer") is None:
        places = repairing.open_places
        raise RequestError(f"the call is not valid and sure; give messages= to write {places} anew")
    *tries, last = repairing.tries()
    for kept in tries:
        try:
            (result,) = _write(wrapped, repairing.plan(kept), [messages])
        except (SchemaError, InvalidCall):
            continue
        return repairing.result(result, kept)
    (result,) = _write(wrapped, repairing.plan(last), [messages])
    return repairing.result(result, last)
