from hypothesis import given
from hypothesis import strategies as st

from smoldiff.decode.draft import MAX_DRAFT_TOKENS
from smoldiff.decode.pace import (
    MAX_FAILURES,
    MAX_REST_PASSES,
    MAX_TOKENS_AT_REST,
    MIN_RIGHT,
    MIN_TOKENS,
    REST_PASSES,
    Pace,
)


def test_right_drafts_stay_long():
    pace = Pace()
    for _ in range(5):
        pace.learn(40, 40)
        assert pace.next_limit() == MAX_DRAFT_TOKENS


def test_poor_drafts_get_shorter_and_good_ones_longer_again():
    pace = Pace()
    pace.learn(64, 3)
    assert pace.next_limit() == MAX_DRAFT_TOKENS // 2
    pace.learn(32, 3)
    assert pace.next_limit() == MIN_TOKENS
    pace.learn(MIN_TOKENS, MIN_TOKENS)
    assert pace.next_limit() == 2 * MIN_TOKENS


def passes_until(pace: Pace, is_resting: bool) -> int:
    """How many passes there are, no token of whose drafts is right, before the head rests or goes on."""
    for num_passes in range(1000):
        limit = pace.next_limit()
        if pace.is_resting == is_resting:
            return num_passes
        pace.learn(limit, 0)
    raise AssertionError("no change")


def test_where_drafts_do_not_pay_the_head_rests_longer_each_time():
    pace = Pace()
    for num_rests in range(8):
        assert passes_until(pace, is_resting=True) == MAX_FAILURES - bool(num_rests)
        pace.learn(1, 0)
        rest = min(MAX_REST_PASSES, REST_PASSES << num_rests)
        assert passes_until(pace, is_resting=False) == rest - 1
        pace.learn(1, 0)


def test_a_draft_that_pays_makes_the_next_rest_short_again():
    pace = Pace(next_rest=MAX_REST_PASSES, num_failures=MAX_FAILURES - 1)
    pace.next_limit()
    pace.learn(20, MIN_RIGHT)
    assert (pace.next_rest, pace.num_failures) == (REST_PASSES, 0)


def test_at_rest_drafts_shorten_and_grow_by_what_is_right():
    pace = Pace(num_resting=20, limit_at_rest=8)
    limits = []
    for num_right in (0, 0, 1, 1, 1, 0, 0, 0, 0, 0):
        limits.append(pace.next_limit())
        assert pace.is_resting
        pace.learn(limits[-1], num_right)
    assert limits == [8, 4, 2, 4, 8, 8, 4, 2, 1, 0]
    assert pace.limit == MAX_DRAFT_TOKENS


def test_a_pass_without_a_draft_teaches_nothing():
    pace = Pace()
    pace.learn(0, 0)
    assert pace == Pace()


@given(st.lists(st.tuples(st.integers(0, 64), st.integers(0, 64))))
def test_the_limit_keeps_its_bounds(passes):
    pace = Pace()
    for num_drafted, num_right in passes:
        pace.next_limit()
        pace.learn(num_drafted, min(num_drafted, num_right))
        assert MIN_TOKENS <= pace.limit <= MAX_DRAFT_TOKENS
        assert 0 <= pace.limit_at_rest <= MAX_TOKENS_AT_REST
