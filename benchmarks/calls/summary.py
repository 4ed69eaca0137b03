"""Answers of one system, summed up. Every share counts all examples of the group: an error is never left out."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from calls.answers import Answer, Cost, is_same_answer, is_same_text, may_be_a_tie
from calls.data import Example
from calls.score import Score


@dataclass(frozen=True, slots=True)
class Record:
    """One system on one example. `baseline` is what plain `ar` did on it, None where it did not run."""

    system: str
    example: Example
    answer: Answer
    score: Score
    baseline: Answer | None


@dataclass(frozen=True, slots=True)
class Summary:
    """One row of the table. None where there is nothing to average."""

    n: int
    errors: dict[str, int]
    exact_pct: float | None
    accepted_pct: float | None
    """Of the examples with acceptable values."""
    name_right_pct: float | None
    valid_pct: float | None
    identical_pct: float | None
    """Same token ids as `ar`, of the examples where either wrote anything."""
    num_different: int | None
    num_different_same_text: int | None
    """Of these, answers whose text is the same, only cut into other tokens."""
    num_different_near_tie: int | None
    """Of the different, answers in which either system met two logits that rounding could swap."""
    base_passes: float | None
    """Mean after the prefill, as all means and times below over the answers without an error."""
    answer_tokens: float | None
    drafts: float | None
    """Mean. One of them, little more than the frame, already stands in the prefill."""
    drafted_per_draft: float | None
    accepted_per_draft: float | None
    first_draft_accepted: float | None
    """Mean right tokens of the first draft behind the prefill."""
    first_draft_pct: float | None
    """The same, as a share of all tokens of these answers."""
    total_median_ms: float | None
    total_mean_ms: float | None
    prefill_median_ms: float | None
    decode_median_ms: float | None
    other_median_ms: float | None
    """Around both: the prompt, the last check."""
    compile_median_ms: float | None
    speed_vs_ar: float | None
    """`ar`'s total time over this system's, over the examples that both answered."""
    decode_speed_vs_ar: float | None
    """The same, of the time after the prefill."""


def percent(values: Iterable[bool]) -> float | None:
    """The share of true values in percent, None of none."""
    known = list(values)
    return 100 * sum(known) / len(known) if known else None


def mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return fmean(known) if known else None


def middle(values: Iterable[float]) -> float | None:
    known = list(values)
    return median(known) if known else None


def ratio(numerator: float, denominator: float) -> float | None:
    return numerator / denominator if denominator else None


def summarise(records: Sequence[Record]) -> Summary:
    """The summary of one system's records."""
    answers = [record.answer for record in records]
    scores = [record.score for record in records]
    costs = [answer.cost for answer in answers if answer.cost is not None]
    drafting = [cost for cost in costs if cost.drafts]
    num_drafts = sum(cost.drafts for cost in costs)
    has_baseline = any(record.baseline is not None for record in records)
    differing = list(_differing(records))
    pairs = list(_both_answered(records))
    return Summary(
        n=len(records),
        errors=dict(Counter(a.error for a in answers if a.error is not None)),
        exact_pct=percent(s.is_exact for s in scores),
        accepted_pct=percent(s.is_accepted for s in scores if s.is_accepted is not None),
        name_right_pct=percent(s.is_name_right for s in scores),
        valid_pct=percent(s.is_valid for s in scores),
        identical_pct=percent(_same_as_baseline(records)),
        num_different=len(differing) if has_baseline else None,
        num_different_same_text=_count(is_same_text, differing) if has_baseline else None,
        num_different_near_tie=_count(may_be_a_tie, differing) if has_baseline else None,
        base_passes=mean(c.base_passes for c in costs),
        answer_tokens=mean(c.answer_tokens for c in costs),
        drafts=mean(c.drafts for c in costs) if drafting else None,
        drafted_per_draft=ratio(sum(c.drafted for c in costs), num_drafts),
        accepted_per_draft=ratio(sum(c.accepted for c in costs), num_drafts),
        first_draft_accepted=mean(c.first_draft_accepted for c in drafting),
        first_draft_pct=_first_draft_pct(drafting),
        total_median_ms=middle(c.total_ms for c in costs),
        total_mean_ms=mean(c.total_ms for c in costs),
        prefill_median_ms=middle(c.prefill_ms for c in costs),
        decode_median_ms=middle(c.decode_ms for c in costs),
        other_median_ms=middle(c.total_ms - c.prefill_ms - c.decode_ms for c in costs),
        compile_median_ms=middle(a.compile_ms for a in answers if a.compile_ms is not None),
        speed_vs_ar=ratio(sum(b.total_ms for b, _ in pairs), sum(c.total_ms for _, c in pairs)),
        decode_speed_vs_ar=ratio(
            sum(b.decode_ms for b, _ in pairs), sum(c.decode_ms for _, c in pairs)
        ),
    )


def _first_draft_pct(drafting: Sequence[Cost]) -> float | None:
    right = sum(cost.first_draft_accepted for cost in drafting)
    share = ratio(right, sum(cost.answer_tokens for cost in drafting))
    return None if share is None else 100 * share


def _same_as_baseline(records: Sequence[Record]) -> Iterator[bool]:
    for record in records:
        if record.baseline is not None:
            is_same = is_same_answer(record.answer, record.baseline)
            if is_same is not None:
                yield is_same


def _differing(records: Sequence[Record]) -> Iterator[tuple[Answer, Answer]]:
    """Each answer that is not `ar`'s, with `ar`'s."""
    for record in records:
        if record.baseline is not None and is_same_answer(record.answer, record.baseline) is False:
            yield record.answer, record.baseline


def _count(is_so: Callable[[Answer, Answer], bool], pairs: Sequence[tuple[Answer, Answer]]) -> int:
    return sum(is_so(answer, baseline) for answer, baseline in pairs)


def _both_answered(records: Sequence[Record]) -> Iterator[tuple[Cost, Cost]]:
    for record in records:
        if record.baseline is not None and record.baseline.cost and record.answer.cost:
            yield record.baseline.cost, record.answer.cost


def groups(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Records by source. Where some tools are in SGD's style (`meta.sgd_style_tool`), all others are a group too."""
    by_source: dict[str, list[Record]] = {}
    for record in records:
        by_source.setdefault(record.example.source, []).append(record)
    others = [r for r in records if not r.example.meta.get("sgd_style_tool")]
    if 0 < len(others) < len(records):
        by_source[WITHOUT_SGD] = others
    return dict(sorted(by_source.items()))


ALL = "all"
WITHOUT_SGD = "without SGD-style tools"
