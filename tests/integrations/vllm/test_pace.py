"""The faster of two ways of taking steps is taken, and looking for it costs little: simulated servers."""

import random

import pytest

from smoldiff_integrations.vllm.pace import (
    MOST_UNTIMED,
    MOST_UNTIMED_TRIED,
    NUM_TRIED_BESIDE,
    Pace,
)

NUM_STEPS = 6000


class Server:
    """Steps with drafts and without: tokens of a request, and milliseconds, with noise."""

    def __init__(self, drafting, ahead, num_rows=16, noise=0.3):
        self.ways = {False: drafting, True: ahead}
        self.num_rows, self.noise, self.random = num_rows, noise, random.Random(0)
        self.tokens, self.ms, self.num_ahead, self.num_turns = 0.0, 0.0, 0, 0

    def run(self, pace, num_steps=NUM_STEPS, has_free=False):
        was_ahead = False
        for _ in range(num_steps):
            is_ahead = pace.is_ahead(self.num_rows, has_free)
            tokens, ms = self.ways[is_ahead]
            tokens = self.num_rows * self.random.uniform(1, 2 * tokens - 1)
            ms *= self.random.uniform(1 - self.noise, 1 + self.noise)
            pace.add(is_ahead, self.num_rows, has_free, tokens, ms)
            self.tokens, self.ms = self.tokens + tokens, self.ms + ms
            self.num_ahead += is_ahead
            self.num_turns += is_ahead != was_ahead
            was_ahead = is_ahead

    def loss(self):
        """Of the time that the better way alone would have taken."""
        best = max(tokens / ms for tokens, ms in self.ways.values())
        return self.ms / (self.tokens / (self.num_rows * best)) - 1


@pytest.mark.parametrize(
    ("drafting", "ahead"),
    [
        ((6.0, 10.0), (1.0, 3.0)),
        ((3.0, 10.0), (1.0, 3.0)),
        ((6.0, 40.0), (1.0, 3.0)),
        ((2.0, 12.0), (1.0, 3.0)),
    ],
    ids=["twice as fast", "slower by a tenth", "twice as slow", "slower by half"],
)
def test_a_server_is_hardly_slower_than_with_the_better_way_alone(drafting, ahead):
    server = Server(drafting, ahead)
    server.run(Pace())
    assert server.loss() < 0.05
    assert server.num_turns < NUM_STEPS / 50
    is_ahead_better = ahead[0] / ahead[1] > drafting[0] / drafting[1]
    assert (server.num_ahead > 0.8 * NUM_STEPS) == is_ahead_better
    assert (server.num_ahead < 0.2 * NUM_STEPS) != is_ahead_better


def test_where_both_are_equal_it_does_not_go_back_and_forth():
    server = Server((3.0, 9.0), (1.0, 3.0))
    server.run(Pace())
    assert server.num_turns < NUM_STEPS / 50


def test_a_change_is_found():
    pace, server = Pace(), Server((6.0, 10.0), (1.0, 3.0))
    server.run(pace)
    server.ways[False] = (1.5, 10.0)  # what the drafts guess is wrong from now on
    before = server.num_ahead
    server.run(pace)
    assert server.num_ahead - before > 0.9 * NUM_STEPS
    server.ways[False] = (6.0, 10.0)
    before = server.num_ahead
    server.run(pace, 3 * NUM_STEPS)
    assert server.num_ahead - before < 2 * NUM_STEPS


def test_batches_of_other_sizes_and_those_with_others_in_them_are_judged_alone():
    pace = Pace()
    Server((6.0, 10.0), (1.0, 3.0), num_rows=2).run(pace)
    Server((2.0, 12.0), (1.0, 3.0), num_rows=16).run(pace)
    Server((6.0, 3.0), (1.0, 3.0), num_rows=16).run(pace, has_free=True)
    assert [pace.is_ahead(3, False), pace.is_ahead(20, False), pace.is_ahead(30, True)] == [
        False,
        True,
        False,
    ]


def test_steps_beside_text_take_hardly_longer_than_without_drafts():
    server = Server((6.0, 4.0), (1.0, 3.0))
    server.run(Pace(), has_free=True)
    assert server.ms / NUM_STEPS < 1.05 * 3.0
    assert server.num_ahead > 0.95 * NUM_STEPS


def test_one_step_ends_a_try_beside_text_where_it_takes_twice_as_long():
    pace, server = Pace(), Server((6.0, 9.0), (1.0, 3.0), noise=0.1)
    server.run(pace, 400, has_free=True)
    assert server.num_ahead == 399
    assert server.ms / 400 < 1.01 * 3.0
    server.run(pace, has_free=True)
    assert server.num_ahead > 0.999 * (NUM_STEPS + 400)


def test_where_they_take_no_longer_there_are_drafts():
    server = Server((6.0, 3.0), (1.0, 3.0))
    server.run(Pace(), has_free=True)
    assert server.num_ahead < 0.2 * NUM_STEPS


def test_where_they_bring_nothing_there_are_none_even_if_they_take_no_longer():
    server = Server((1.0, 3.0), (1.2, 3.0))
    server.run(Pace(), has_free=True)
    assert server.num_ahead > 0.8 * NUM_STEPS


@pytest.mark.parametrize("num_timed", [0, 1, 40], ids=["a try", "a try, once timed", "known"])
def test_drafts_beside_text_end_where_nothing_is_known_of_them_any_more(num_timed):
    pace = Pace()
    for _ in range(NUM_TRIED_BESIDE):
        pace.add(True, 16, True, 16, 3.0)
    for _ in range(num_timed):
        pace.add(False, 16, True, 60, 3.0)
    assert not pace.is_ahead(16, True)
    most = MOST_UNTIMED_TRIED if num_timed < NUM_TRIED_BESIDE else MOST_UNTIMED
    for _ in range(most):
        pace.skip(16, True)
        assert not pace.is_ahead(16, True)
    pace.skip(16, True)
    assert pace.is_ahead(16, True)
    for _ in range(10 * NUM_TRIED_BESIDE):
        pace.add(True, 16, True, 16, 3.0)
        assert pace.is_ahead(16, True)  # it is not tried again at once


def test_steps_that_tell_nothing_change_nothing_else():
    pace = Pace()
    for has_free in (True, False):
        before = pace.is_ahead(16, has_free)
        for _ in range(2 * MOST_UNTIMED):
            pace.skip(16, has_free)
        assert pace.is_ahead(16, has_free) == before == has_free


def test_where_a_servers_throughput_is_first_text_waits_for_drafts():
    server = Server((6.0, 4.0), (1.0, 3.0))
    server.run(Pace(spares_text=False), has_free=True)
    assert server.num_ahead < 0.2 * NUM_STEPS
