import pytest
from calls.answers import Answer, Cost, is_same_answer
from calls.data import Example
from calls.report import table
from calls.score import Score
from calls.summary import WITHOUT_SGD, Record, groups, percent, summarise


def example(source="S", **meta):
    return Example("id", source, [], [], [], meta=meta)


def cost(total_ms=10.0, **fields):
    known = {"prefill_ms": 2.0, "decode_ms": 4.0, "answer_tokens": 20, "base_passes": 3}
    return Cost(total_ms=total_ms, **{**known, **fields})


def verdict(is_exact):
    return Score(is_exact, True, True, None)


def record(answer, baseline=None, is_exact=True, of=None, **others):
    return Record("s", of or example(), answer, verdict(is_exact), baseline, **others)


AR = Answer("ab", (1, 2), cost(30.0, decode_ms=12.0))


def test_percent_of_nothing_is_none():
    assert percent([]) is None
    assert percent([True, False, False, True]) == 50


def test_errors_stay_in_the_shares_and_out_of_the_means():
    broken = Answer("a", error="IncompleteCall")
    summary = summarise(
        [record(Answer("ab", (1, 2), cost())), record(broken, is_exact=False)],
    )
    assert (summary.n, summary.exact_pct, summary.errors) == (2, 50, {"IncompleteCall": 1})
    assert summary.total_mean_ms == 10
    assert summary.identical_pct is None
    assert summary.accepted_pct is None


def test_draft_numbers_are_per_draft_and_the_first_apart():
    costs = [
        cost(drafts=3, drafted=30, accepted=12, first_draft_accepted=8),
        cost(drafts=1, drafted=10, accepted=10, first_draft_accepted=10),
    ]
    summary = summarise([record(Answer("x", (1,), c)) for c in costs])
    assert summary.drafted_per_draft == 10
    assert summary.accepted_per_draft == 5.5
    assert summary.first_draft_accepted == 9
    assert summary.first_draft_pct == 45


def test_an_answer_that_was_whole_after_the_prefill_has_no_first_draft():
    at_once = cost(base_passes=0, drafts=1, drafted=20, accepted=20)
    later = cost(drafts=2, drafted=30, accepted=12, first_draft_accepted=8)
    summary = summarise([record(Answer("x", (1,), c)) for c in (at_once, later)])
    assert summary.first_draft_accepted == 8
    assert summary.drafts == 1.5


def test_speed_is_a_ratio_of_totals_over_what_both_answered():
    fast, slow = Answer("ab", (1, 2), cost(5.0)), Answer("ab", (1, 2), cost(15.0))
    failed = Answer("a", error="IncompleteCall")
    summary = summarise([record(fast, AR), record(slow, AR), record(fast, failed)])
    assert summary.speed_vs_ar == 3
    assert summary.decode_speed_vs_ar == 3


def test_slower_answers_are_counted_with_the_mean_and_the_worst_ratio_of_times():
    answers = [Answer("ab", (1, 2), cost(ms)) for ms in (10.0, 20.0, 30.0, 60.0)]
    summary = summarise([record(answer, AR) for answer in answers])
    assert (summary.num_slower_than_ar, summary.slower_than_ar_pct) == (1, 25)
    assert summary.mean_time_vs_ar == 1
    assert summary.worst_time_vs_ar == 2


def test_passes_are_compared_where_both_answered_and_there_are_any():
    untrained = Answer("ab", (1, 2), cost(base_passes=6))
    failed = Answer("a", error="IncompleteCall")
    some, none = Answer("ab", (1, 2), cost()), Answer("ab", (1, 2), cost(base_passes=0))
    pairs = [(some, untrained), (none, untrained), (some, failed)]
    summary = summarise([record(a, untrained=u) for a, u in pairs])
    assert summary.fewer_passes_vs_untrained == 4
    assert summarise([record(none, untrained=untrained)]).fewer_passes_vs_untrained is None


def test_exact_calls_are_compared_with_those_of_ar():
    pairs = [(True, True), (False, True), (True, False), (True, False), (False, False)]
    records = [record(AR, AR, is_exact=own, baseline_score=verdict(ar)) for own, ar in pairs]
    summary = summarise(records)
    assert summary.exact_vs_ar_pct == 150
    assert summary.kept_pct == 50
    assert summarise(records[4:]).kept_pct is None


def test_differences_are_counted_with_those_a_tie_or_a_token_border_explains():
    tied = Answer("ac", (1, 3), cost(near_ties=1))
    recut = Answer("ab", (4,), cost())
    summary = summarise([record(a, AR) for a in (tied, recut, Answer("ab", (1, 2), cost()))])
    assert summary.identical_pct == pytest.approx(100 / 3)
    assert (summary.num_different, summary.num_different_near_tie) == (2, 1)
    assert summary.num_different_same_text == 1


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        (Answer("a", (1,)), Answer("a", (1,)), True),
        (Answer("a", (1,)), Answer("a", (2,)), False),
        (Answer("a", error="E"), Answer("a", error="E"), True),
        (Answer("a", error="E"), Answer("b", error="E"), False),
        (Answer("a", error="E"), Answer("a", (1,)), False),
        (Answer(None, error="E"), Answer(None, error="E"), None),
        (Answer(None, error="E"), Answer("a", (1,)), False),
    ],
)
def test_failed_answers_are_compared_by_error_and_text(one, other, is_same):
    assert is_same_answer(one, other) is is_same


def test_groups_are_sources_and_what_is_not_in_sgd_style():
    records = [
        record(AR, of=example("A", sgd_style_tool=True)),
        record(AR, of=example("B")),
        record(AR, of=example("B")),
    ]
    assert {k: len(v) for k, v in groups(records).items()} == {"A": 1, "B": 2, WITHOUT_SGD: 2}
    assert WITHOUT_SGD not in groups(records[1:])


def test_the_table_has_a_line_for_each_error_and_none_for_what_nobody_has():
    failed = summarise([record(Answer("a", error="IncompleteCall"))])
    lines = list(table("t", {"s": failed}).columns[0].cells)
    assert "IncompleteCall" in lines
    assert "acceptable calls %" not in lines
