"""Random strings out of an automaton."""

import random

import numpy as np
import pytest

from smoldiff.automata.dfa import DEAD


def distances_to_end(dfa):
    """For each state the bytes that its shortest string has."""
    distance = np.full(len(dfa.table) + 1, len(dfa.table) + 1)
    distance[:-1][dfa.accepts] = 0
    while True:
        nearer = np.minimum(distance[:-1], distance[dfa.table].min(1) + 1)
        if (nearer == distance[:-1]).all():
            return distance
        distance[:-1] = nearer


def draw_sample(dfa, distance, rng, max_bytes):
    """A random accepted string that tends to end once it is `max_bytes` long: then each byte leads towards an end."""
    state, found = 0, bytearray()
    while True:
        ways = np.flatnonzero(dfa.table[state] != DEAD)
        if dfa.accepts[state] and (not len(ways) or len(found) >= max_bytes or rng.random() < 0.1):
            return bytes(found)
        if len(found) >= max_bytes:
            ways = ways[distance[dfa.table[state, ways]] == distance[state] - 1]
        byte = _choose(ways.tolist(), rng)
        found.append(byte)
        state = int(dfa.table[state, byte])


def _choose(ways, rng):
    plain = [byte for byte in ways if byte < 0x80]
    return rng.choice(plain if plain and rng.random() < 0.8 else ways)


@pytest.fixture
def sample():
    rng = random.Random(0)
    known = {}

    def draw(dfa, max_bytes=40):
        if dfa not in known:
            known[dfa] = distances_to_end(dfa)
        return draw_sample(dfa, known[dfa], rng, max_bytes)

    return draw
