"""What is drafted follows from what steps and drafts cost, and from how often drafts are right."""

from random import Random

import pytest

from smoldiff_integrations.vllm.load import (
    MAX_LOSS,
    MIN_OBSERVATIONS,
    Load,
    Own,
    fitting,
)

LITERAL, VALUE = ("scaffold", "structure"), ("copy", "string")


def load_of(fixed_ms, token_ms, *, draft_ms=0.1, length=10, num_right=8, has_head=False):
    """A worker that has seen steps of such a cost, and drafts of one kind."""
    load = Load()
    for num_tokens in (1, 9, 20, 40) * MIN_OBSERVATIONS:
        load.step.add(num_tokens, fixed_ms + token_ms * num_tokens)
    for _ in range(MIN_OBSERVATIONS):
        load.of(has_head).ms.add(draft_ms)
        load.of(has_head).tokens.add(length)
        load.of(has_head).accepted.add(num_right)
    return load


def test_the_line_through_the_steps_is_found():
    load = load_of(5.0, 0.25)
    assert load.step.per_token == pytest.approx(0.25)
    assert load.step.at(0) == pytest.approx(5.0)


def test_steps_that_take_longer_and_longer_on_a_busy_machine_keep_their_slope():
    load, noise = Load(), Random(0)
    for i in range(60):
        num_tokens, busy = (1, 33)[i % 2], 1 + i / 60
        load.step.add(num_tokens, busy * (8.0 + 0.1 * num_tokens) * noise.choice((1, 1, 1, 4)))
    assert load.step.per_token == pytest.approx(0.15, rel=0.5)
    assert load.step.at(1) == pytest.approx(16.0, rel=0.2)


def test_a_step_that_took_far_too_long_does_not_count():
    load = load_of(5.0, 0.25)
    load.step.add(4, 500.0)
    assert load.step.at(0) == pytest.approx(5.0)


@pytest.mark.parametrize("num_rows", [1, 16])
def test_where_a_step_costs_the_same_for_many_tokens_everything_pays(num_rows):
    load = load_of(5.0, 0.0)
    assert load.pays(False, num_rows, Own(), 0)
    assert load.length([LITERAL, VALUE] * 8, num_rows) == 16


def test_drafts_that_are_mostly_wrong_pay_on_an_idle_server_only():
    load = load_of(5.0, 0.5, length=12, num_right=1.5)
    assert load.pays(False, 1, Own(), 0)
    assert not any(load.pays(False, 64, Own(), 0) for _ in range(10))


def test_a_head_that_takes_longer_than_it_saves_is_left_out_when_the_server_is_full():
    load = load_of(8.0, 0.1, draft_ms=6.0, has_head=True, num_right=9)
    assert load.prefers_head(1)
    assert not load.prefers_head(32)
    assert not load.pays(True, 32, Own(), 0)


def test_a_request_whose_own_drafts_are_wrong_is_judged_by_them():
    load, own = load_of(8.0, 0.1, draft_ms=6.0, has_head=True, num_right=3), Own()
    for _ in range(2):
        own.num_right.add(0.0)
    assert load.pays(True, 1, own, 10)
    for _ in range(6):
        own.num_right.add(0.0)
    assert not load.pays(True, 1, own, 10)


def test_what_a_request_may_lose_by_its_drafts_is_bounded_and_grows_with_its_answer():
    load, own = load_of(8.0, 0.0, draft_ms=0.8), Own()
    assert load.pays(False, 1, own, 0)
    own.balance = 0.05 - MAX_LOSS[False]
    assert not load.pays(False, 1, own, 0)
    assert load.pays(False, 1, own, 100)


def test_what_did_not_pay_is_tried_again_now_and_then():
    load = load_of(8.0, 0.5, draft_ms=50.0)
    tries = [load.pays(False, 16, Own(), 0) for _ in range(16 * 100)]  # of a hundred steps
    assert 1 <= sum(tries) <= 10


def test_a_full_server_cuts_a_draft_at_what_is_seldom_right():
    load = load_of(2.0, 1.0)
    for i in range(40):
        load.learn([LITERAL, VALUE], 2 if i % 4 == 0 else 1)
    labels = [LITERAL, LITERAL, VALUE, LITERAL]
    assert load.chances[LITERAL].value == pytest.approx(1.0)
    assert load.length(labels, 16) == 2
    assert load.length(labels, 1) == len(labels) or load.least_chance(1) > 0.25


def test_nothing_is_learned_of_tokens_behind_the_first_wrong_one():
    load = Load()
    load.learn([LITERAL, VALUE, VALUE], 1)
    assert load.chances[LITERAL].num == 1
    assert load.chances[VALUE].num == 1
    assert load.chances[VALUE].value == 0.0


LENGTH = 60
"""Tokens of an answer."""
DRAFTED = 16
"""Tokens of each draft."""


def seconds(load, step_ms, draft_ms, num_right, num_rows=1, busy=lambda: 1.0):
    """Of answers that begin together, each drafted with a head as long as that pays, and without.

    num_right: gives the right tokens of a draft.
    """
    rows = [{"written": 1, "own": Own(), "has_head": True, "drafted": 0} for _ in range(num_rows)]
    total_ms = 0.0
    while rows:
        num, num_tokens = len(rows), len(rows) + sum(row["drafted"] for row in rows)
        ms = busy() * step_ms(num_tokens)
        total_ms += ms
        load.step.add(num_tokens, ms)
        for row in rows:
            right = num_right() if row["drafted"] else 0
            row["written"] += 1 + right
            if row["drafted"]:
                load.verified(row["has_head"], row["own"], row["drafted"], right, num)
            if row["has_head"] and not load.pays(True, num, row["own"], row["written"]):
                row["has_head"], row["own"] = False, Own()
            row["drafted"] = 0
            if row["has_head"] or load.pays(False, num, row["own"], row["written"]):
                row["drafted"] = DRAFTED
                ms = busy() * draft_ms[row["has_head"]]
                total_ms += ms
                load.made(row["has_head"], row["own"], ms, num)
        rows = [row for row in rows if row["written"] < LENGTH]
    return total_ms / 1000


COSTS = {
    "small model on a CPU": (lambda n: 8.0 + 0.08 * n + (n > 1), {True: 6.0, False: 0.8}),
    "large model on a GPU": (lambda n: 7.0 + 0.03 * n, {True: 1.2, False: 0.5}),
    "large model on a CPU": (lambda n: 100.0 + 4.0 * n, {True: 9.0, False: 1.0}),
}


def served(costs, busy=lambda: 1.0):
    """A worker whose requests have had good drafts."""
    step_ms, draft_ms = costs
    load = Load()
    for has_head in (True, False):
        for _ in range(MIN_OBSERVATIONS):
            load.of(has_head).ms.add(busy() * draft_ms[has_head])
            load.of(has_head).tokens.add(DRAFTED)
            load.of(has_head).accepted.add(10)
            for num_tokens in (1, 17):
                load.step.add(num_tokens, busy() * step_ms(num_tokens))
    return load


@pytest.mark.parametrize("num_right", [0, 1, 2])
@pytest.mark.parametrize("costs", COSTS.values(), ids=COSTS)
def test_an_answer_with_wrong_drafts_takes_hardly_longer_than_one_without(costs, num_right):
    without = LENGTH * costs[0](1) / 1000
    assert seconds(served(costs), *costs, lambda: num_right) < 1.03 * without


@pytest.mark.parametrize("costs", COSTS.values(), ids=COSTS)
def test_an_answer_whose_drafts_are_right_keeps_its_gain(costs):
    step_ms, draft_ms = costs
    num_passes = -(-(LENGTH - 2) // 17)
    with_all = step_ms(1) + num_passes * step_ms(17) + (num_passes + 1) * draft_ms[True]
    assert seconds(served(costs), *costs, lambda: DRAFTED) < 1.03 * with_all / 1000


def test_on_a_busy_machine_wrong_drafts_end_too():
    costs, noise = COSTS["small model on a CPU"], Random(0)
    without, found = 0.0, 0.0

    def busy():
        return noise.choice((1.0, 1.0, 1.5, 3.0))

    for _ in range(50):
        load = served(costs, busy)
        found += seconds(load, *costs, lambda: 0, busy=busy)
        without += sum(busy() * costs[0](1) for _ in range(LENGTH)) / 1000
    assert found < 1.04 * without


@pytest.mark.parametrize(
    ("kind", "num_rows", "most"),
    [
        ("small model on a CPU", 4, 0.4),
        ("small model on a CPU", 16, 0.8),
        ("large model on a GPU", 4, 0.3),
        ("large model on a GPU", 16, 0.55),
        ("large model on a CPU", 4, 0.5),
        ("large model on a CPU", 16, 1.05),  # verifying costs what it brings
    ],
)
def test_in_a_batch_a_few_wrong_drafts_do_not_end_those_of_a_request(kind, num_rows, most):
    """A third of all drafts are wrong from the first token on. A request without drafts would wait for those of the others."""
    step_ms, draft_ms = COSTS[kind]
    costs, noise = (step_ms, draft_ms | {True: draft_ms[False]}), Random(0)
    found = [
        seconds(served(costs), *costs, lambda: noise.choice((0, 8, 16)), num_rows)
        for _ in range(10)
    ]
    assert sum(found) / 10 < most * LENGTH * step_ms(num_rows) / 1000


@pytest.mark.parametrize("costs", COSTS.values(), ids=COSTS)
def test_a_batch_whose_drafts_turn_wrong_gives_them_up_together(costs):
    load = served(costs)
    without = LENGTH * costs[0](16) / 1000
    first, second = (seconds(load, *costs, lambda: 0, 16) for _ in range(2))
    assert first < 1.25 * without
    assert second < 1.02 * without


@pytest.mark.parametrize(
    ("lengths", "room", "cut"),
    [
        ([], 3, []),
        ([3, 0, 9], 12, [3, 0, 9]),
        ([3, 0, 9], 11, [3, 0, 8]),
        ([3, 0, 9], 5, [2, 0, 2]),
        ([3, 0, 9], 0, [0, 0, 0]),
    ],
)
def test_of_drafts_that_do_not_fit_the_longest_are_cut(lengths, room, cut):
    assert fitting(lengths, room) == cut
