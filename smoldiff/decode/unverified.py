"""Mode "diffusion": answers in a bounded number of steps, whose last a head or a scorer fills and no base verifies.

In each step the base reads what stands, and the head fills what is open. What the base reads and would have written
itself stays; only the filling of the last step is left as it is.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice

from smoldiff.decode.answer import Answer
from smoldiff.decode.asked import Asker
from smoldiff.decode.confidence import Sure, by_slots, by_tokens, with_confidence
from smoldiff.decode.diffusion import NO_PREFIX, Prefix, Written, write_answer
from smoldiff.decode.gate import read_whole
from smoldiff.decode.head_drafter import HeadDrafter
from smoldiff.decode.head_scores import HeadScorer
from smoldiff.decode.judge import judge
from smoldiff.decode.loop import decode
from smoldiff.decode.model import Model
from smoldiff.decode.request import Plan, finish
from smoldiff.decode.result import CallResult, Stats
from smoldiff.decode.scores import Scorer
from smoldiff.errors import GenerationError, InvalidCall, UnsupportedSchema
from smoldiff.scaffold.cursor import NotAPrefix
from smoldiff.scaffold.remainder import real_pointer

SLOT_TOKENS = 8
"""A slot of a tool call takes so many tokens, its key included (keys and values of BFCL's gold calls: 7.8)."""


def write_calls(
    model: Model, plan: Plan, starts: Sequence[Callable[[], Answer]]
) -> list[CallResult | GenerationError]:
    """One answer after another; `starts` give each where a head writes it. Raises RequestError, UnsupportedSchema; an answer that fails by itself is its error."""
    outcomes: list[CallResult | GenerationError] = []
    for start in starts:
        try:
            if plan.scorer is not None:
                outcomes.append(_write_by(plan.scorer, model, plan))
            else:
                outcomes.append(_write_by_head(model, plan, start()))
        except GenerationError as problem:
            outcomes.append(problem)
    return outcomes


def _write_by(scorer: Scorer, model: Model, plan: Plan) -> CallResult:
    began = time.perf_counter()
    stats = Stats()
    stats.ms["compile"] = plan.plan_ms
    written = _written(scorer, model, plan, NO_PREFIX)
    stats.head_passes = written.num_asked
    return _result(plan, written, stats, began)


def _write_by_head(model: Model, plan: Plan, answer: Answer) -> CallResult:
    """A pass of the base in each step, the first over the prompt and a sketch of the answer; the head writes the rest."""
    for _ in islice(decode(model.base, [answer]), plan.num_steps):
        pass
    if answer.outcome is not None:
        return finish(answer)
    began = time.perf_counter()
    assert isinstance(answer.drafter, HeadDrafter)
    scorer = HeadScorer(
        answer.drafter.denoiser, Asker(model.vocabulary), plan.num_denoise_steps, plan.observer
    )
    begun = _begun(answer)
    scorer.look(*answer.drafter.look_back(begun.token_ids))
    try:
        written = _written(scorer, model, plan, begun, SLOT_TOKENS)
    except (InvalidCall, UnsupportedSchema, NotAPrefix):
        # A grammar that allows more than the schema may have let the base begin what cannot be ended.
        begun = NO_PREFIX
        written = _written(scorer, model, plan, begun, SLOT_TOKENS)
    answer.stats.head_passes = answer.drafter.denoiser.num_passes
    result = _result(plan, written, answer.stats, began)
    ends = model.vocabulary.ends(begun.token_ids)
    by_base = by_tokens(written.text, ends, answer.chances[: len(ends)])
    sure = _sure(written, scorer, by_base, len(begun.text))
    return replace(
        result,
        calls=with_confidence(
            result.calls, written.text, plan.scaffold, plan.form, sure, plan.calibration
        ),
    )


def _begun(answer: Answer) -> Prefix:
    """What the base itself has written, up to its last whole character."""
    ids = list(answer.ids)
    while True:
        try:
            return Prefix(answer.vocabulary.bytes_of(ids).decode(), tuple(ids))
        except UnicodeDecodeError:
            ids.pop()


def _sure(written: Written, scorer: HeadScorer, by_base: Sure, num_begun: int) -> Sure:
    texts = written.slots
    slots = {real_pointer(at, texts): scorer.confidence(at, text) for at, text in texts.items()}
    options = {real_pointer(at, texts): chance for at, chance in written.options.items()}
    return by_slots(by_base, num_begun, slots, options)


def _written(
    scorer: Scorer, model: Model, plan: Plan, begun: Prefix, slot_tokens: int | None = None
) -> Written:
    return write_answer(
        plan.scaffold,
        model.vocabulary,
        scorer,
        judge(plan.form),
        max_tokens=plan.max_tokens,
        max_remasks=plan.max_remasks,
        prefix=begun,
        slot_tokens=slot_tokens,
    )


def _result(plan: Plan, written: Written, stats: Stats, began: float) -> CallResult:
    form = plan.form
    stats.answer_tokens = len(written.token_ids)
    stats.remasked = written.num_remasked
    stats.ms["draft"] += 1e3 * (time.perf_counter() - began)
    calls = read_whole(written.text, form.source, form.call_style)
    return CallResult(calls, None, written.text, written.token_ids, "tool_calls", stats)
