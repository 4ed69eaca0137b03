from hypothesis import given
from hypothesis import strategies as st

from smoldiff.decode.draft import MAX_DRAFT_TOKENS
from smoldiff.decode.pace import MAX_FAILURES, MIN_TOKENS, REST_PASSES, Pace


def test_right_drafts_stay_long():
    pace = Pace()
    for _ in range(5):
        pace.learn(40, 40)
        assert pace.next_limit() == MAX_DRAFT_TOKENS


def test_poor_drafts_get_shorter_and_good_ones_longer_again():
    pace = Pace()
    pace.learn(64, 2)
    assert pace.next_limit() == MAX_DRAFT_TOKENS // 2
    pace.learn(32, 1)
    assert pace.next_limit() == MIN_TOKENS
    pace.learn(MIN_TOKENS, MIN_TOKENS)
    assert pace.next_limit() == 2 * MIN_TOKENS


def test_after_drafts_without_a_right_token_some_passes_have_none():
    pace = Pace()
    for _ in range(MAX_FAILURES):
        assert pace.next_limit()
        pace.learn(20, 0)
    assert [pace.next_limit() for _ in range(REST_PASSES)] == [0] * REST_PASSES
    assert pace.next_limit()


def test_a_pass_without_a_draft_teaches_nothing():
    pace = Pace()
    pace.learn(0, 0)
    assert pace == Pace()


@given(st.lists(st.tuples(st.integers(0, 64), st.integers(0, 64))))
def test_the_limit_keeps_its_bounds(passes):
    pace = Pace()
    for num_drafted, num_right in passes:
        pace.learn(num_drafted, min(num_drafted, num_right))
        assert MIN_TOKENS <= pace.limit <= MAX_DRAFT_TOKENS
