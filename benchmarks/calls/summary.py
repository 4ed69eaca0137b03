"""Answers of one system, summed up. Every share counts all examples of the group: an error is never left out."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from calls.answers import Answer, Cost, is_same_answer, is_same_text, may_be_a_tie
from calls.data import Example
from calls.score import Score
from calls.versus import (
    both_answered,
    exact_vs_pct,
    kept_pct,
    mean_time_ratio,
    num_slower,
    time_ratios,
    times_fewer_passes,
)


@dataclass(frozen=True, slots=True)
class Record:
    """One system on one example. `baseline` is what plain `ar` did on it, `untrained` what the best drafter without a
    head did; None where these did not run."""

    system: str
    example: Example
    answer: Answer
    score: Score
    baseline: Answer | None
    baseline_score: Score | None = None
    untrained: Answer | None = None


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
    exact_vs_ar_pct: float | None
    """Exact calls, in percent of those of `ar`."""
    kept_pct: float | None
    """Of the exact calls of `ar`, those that are exact here too."""
    identical_pct: float | None
    """Same token ids as `ar`, of the examples where either wrote anything."""
    num_different: int | None
    num_different_same_text: int | None
    """Of these, answers whose text is the same, only cut into other tokens."""
    num_different_near_tie: int | None
    """Of the different, answers in which either system met two logits that rounding could swap."""
    base_passes: float | None
    """Mean after the prefill, as all means and times below over the answers without an error."""
    fewer_passes_vs_untrained: float | None
    """The base passes of the best drafter without a head over this system's, over the examples that both answered."""
    head_passes: float | None
    answer_tokens: float | None
    drafts: float | None
    """Mean. One of them, little more than the frame, already stands in the prefill."""
    drafted_per_draft: float | None
    accepted_per_draft: float | None
    first_draft_accepted: float | None
    """Mean right tokens of the first draft behind the prefill, where there was one."""
    first_draft_pct: float | None
    """The same, as a share of all tokens of these answers."""
    total_median_ms: float | None
    total_mean_ms: float | None
    prefill_median_ms: float | None
    decode_median_ms: float | None
    head_mean_ms: float | None
    """In the head, its share of the time after the prefill."""
    other_median_ms: float | None
    """Around both: the prompt, the last check."""
    compile_median_ms: float | None
    speed_vs_ar: float | None
    """`ar`'s total time over this system's, over the examples that both answered."""
    decode_speed_vs_ar: float | None
    """The same, of the time after the prefill."""
    num_slower_than_ar: int | None
    """Answers whose whole call took longer than `ar`'s."""
    slower_than_ar_pct: float | None
    mean_time_vs_ar: float | None
    """Mean over examples of this system's time over `ar`'s; below 1 is faster. The worst example is next."""
    worst_time_vs_ar: float | None


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
    # An answer that was whole after the prefill had no draft behind it.
    followed = [cost for cost in drafting if cost.base_passes]
    num_drafts = sum(cost.drafts for cost in costs)
    has_baseline = any(record.baseline is not None for record in records)
    differing = list(_differing(records))
    pairs = both_answered([record.baseline for record in records], answers)
    untrained = both_answered([record.untrained for record in records], answers)
    judged = [(r.baseline_score, r.score) for r in records if r.baseline_score is not None]
    ar_scores, own_scores = [ar for ar, _ in judged], [own for _, own in judged]
    return Summary(
        n=len(records),
        errors=dict(Counter(a.error for a in answers if a.error is not None)),
        exact_pct=percent(s.is_exact for s in scores),
        accepted_pct=percent(s.is_accepted for s in scores if s.is_accepted is not None),
        name_right_pct=percent(s.is_name_right for s in scores),
        valid_pct=percent(s.is_valid for s in scores),
        exact_vs_ar_pct=exact_vs_pct(ar_scores, own_scores),
        kept_pct=kept_pct(ar_scores, own_scores),
        identical_pct=percent(_same_as_baseline(records)),
        num_different=len(differing) if has_baseline else None,
        num_different_same_text=_count(is_same_text, differing) if has_baseline else None,
        num_different_near_tie=_count(may_be_a_tie, differing) if has_baseline else None,
        base_passes=mean(c.base_passes for c in costs),
        fewer_passes_vs_untrained=times_fewer_passes(untrained),
        head_passes=mean(c.head_passes for c in costs if c.head_passes is not None),
        answer_tokens=mean(c.answer_tokens for c in costs),
        drafts=mean(c.drafts for c in costs) if drafting else None,
        drafted_per_draft=ratio(sum(c.drafted for c in costs), num_drafts),
        accepted_per_draft=ratio(sum(c.accepted for c in costs), num_drafts),
        first_draft_accepted=mean(c.first_draft_accepted for c in followed),
        first_draft_pct=_first_draft_pct(followed),
        total_median_ms=middle(c.total_ms for c in costs),
        total_mean_ms=mean(c.total_ms for c in costs),
        prefill_median_ms=middle(c.prefill_ms for c in costs),
        decode_median_ms=middle(c.decode_ms for c in costs),
        head_mean_ms=mean(c.head_ms for c in costs if c.head_ms is not None),
        other_median_ms=middle(c.total_ms - c.prefill_ms - c.decode_ms for c in costs),
        compile_median_ms=middle(a.compile_ms for a in answers if a.compile_ms is not None),
        speed_vs_ar=ratio(sum(b.total_ms for b, _ in pairs), sum(c.total_ms for _, c in pairs)),
        decode_speed_vs_ar=ratio(
            sum(b.decode_ms for b, _ in pairs), sum(c.decode_ms for _, c in pairs)
        ),
        num_slower_than_ar=num_slower(pairs) if pairs else None,
        slower_than_ar_pct=percent(r > 1 for r in time_ratios(pairs)),
        mean_time_vs_ar=mean_time_ratio(pairs),
        worst_time_vs_ar=max(time_ratios(pairs), default=None),
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
