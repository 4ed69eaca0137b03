"""What is drafted follows from what steps and drafts cost, and from how often drafts are right."""

import pytest

from smoldiff_integrations.vllm.load import MIN_OBSERVATIONS, MIN_OWN, Load, Mean

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


def test_a_step_that_took_far_too_long_does_not_count():
    load = load_of(5.0, 0.25)
    load.step.add(4, 500.0)
    assert load.step.at(0) == pytest.approx(5.0)


@pytest.mark.parametrize("num_rows", [1, 16])
def test_where_a_step_costs_the_same_for_many_tokens_everything_pays(num_rows):
    load = load_of(5.0, 0.0)
    assert load.pays(False, num_rows, Mean())
    assert load.length([LITERAL, VALUE] * 8, num_rows) == 16


def test_drafts_that_are_mostly_wrong_pay_on_an_idle_server_only():
    load = load_of(5.0, 0.5, length=12, num_right=1.5)
    assert load.pays(False, 1, Mean())
    assert not any(load.pays(False, 64, Mean()) for _ in range(10))


def test_a_head_that_takes_longer_than_it_saves_is_left_out_when_the_server_is_full():
    load = load_of(8.0, 0.1, draft_ms=6.0, has_head=True, num_right=9)
    assert load.prefers_head(1)
    assert not load.prefers_head(32)
    assert not load.pays(True, 32, Mean())


def test_a_request_whose_own_drafts_are_wrong_is_judged_by_them():
    load, own = load_of(8.0, 0.1, draft_ms=6.0, has_head=True, num_right=9), Mean()
    for _ in range(MIN_OWN - 1):
        own.add(0.0)
    assert load.pays(True, 1, own)
    own.add(0.0)
    assert not load.pays(True, 1, own)


def test_what_did_not_pay_is_tried_again_now_and_then():
    load = load_of(8.0, 0.5, draft_ms=50.0)
    tries = [load.pays(False, 16, Mean()) for _ in range(100)]
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
