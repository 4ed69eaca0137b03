"""Draft, one base pass, accept: until every answer of the batch is done."""

import time
from collections.abc import Iterator, Sequence

from smoldiff.decode.answer import Answer
from smoldiff.decode.base import Base, Passes


def decode(base: Base, answers: Sequence[Answer]) -> Iterator[None]:
    """Write all answers together. Yields after each base pass; the first one is the prefill."""
    passes = base.open(_taps(answers))
    live = list(answers)
    is_prefill = True
    while live := _drop_done(live, passes, is_prefill):
        feeds, num_logits = zip(*[answer.feed() for answer in live], strict=True)
        start = time.perf_counter()
        logits = passes.forward(feeds, num_logits)
        elapsed_ms = 1e3 * (time.perf_counter() - start)
        taken = zip(live, logits, passes.states(), strict=True)
        passes.cut([answer.take(rows_TV, states_TS) for answer, rows_TV, states_TS in taken])
        for answer in live:
            answer.stats.ms["prefill" if is_prefill else "base"] += elapsed_ms
            answer.stats.base_passes += not is_prefill
        is_prefill = False
        yield


def _taps(answers: Sequence[Answer]) -> tuple[int, ...]:
    """The base's layers whose states a drafter reads; all answers of a batch have the same kind of drafter."""
    return next((a.drafter.taps for a in answers if a.drafter is not None), ())


def _drop_done(live: list[Answer], passes: Passes, is_prefill: bool) -> list[Answer]:
    rows = [b for b, answer in enumerate(live) if not answer.is_done]
    if rows and not is_prefill:
        passes.keep_rows(rows)
    return [live[b] for b in rows]
