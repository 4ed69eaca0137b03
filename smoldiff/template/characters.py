"""Counting the characters of JSON string content: a text of one escape, or of one UTF-8 sequence, is one character."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from smoldiff.automata.dfa import DEAD, Dfa

HEX = b"0123456789abcdefABCDEF"


def with_characters(dfa: Dfa) -> tuple[Dfa, NDArray[np.int8]]:
    """The same language with states that know where in a character they are, and [S, 256] the characters that a byte completes.

    A surrogate pair of two escapes is one character, as for json.loads.
    """
    lexer, completes = _lexer()
    num_places = len(lexer)
    numbers = np.full(len(dfa.accepts) * num_places, DEAD, np.int32)
    numbers[0] = 0
    found = [np.zeros(1, np.int64)]
    rows = []
    num_states = 1
    while len(found[-1]):
        state, place = np.divmod(found[-1], num_places)
        target = dfa.table[state].astype(np.int64)
        row = np.where(target == DEAD, DEAD, target * num_places + lexer[place])
        rows.append(row)
        new = np.unique(row[row != DEAD])
        new = new[numbers[new] == DEAD]
        numbers[new] = num_states + np.arange(len(new))
        num_states += len(new)
        found.append(new)
    pairs, table = np.concatenate(found), np.concatenate(rows)
    state, place = np.divmod(pairs, num_places)
    refined = np.where(table == DEAD, DEAD, numbers[table]).astype(np.int32)
    return Dfa(refined, dfa.accepts[state]), np.where(refined == DEAD, 0, completes[place]).astype(
        np.int8
    )


@cache
def _lexer() -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """Where in a character a byte leads, and whether it completes one: [places, 256] each; place 0 is between two."""
    places: list[dict[int, tuple[int, int]]] = [{}]
    _add_escape(places, 0, is_paired=False)
    rows, counts = [], []
    for ways in places:
        row, count = np.zeros(256, np.int64), np.ones(256, np.int8)
        count[0x80:0xC0] = 0  # continuation bytes: a sequence counts where it begins
        for byte, (target, num_chars) in ways.items():
            row[byte], count[byte] = target, num_chars
        rows.append(row)
        counts.append(count)
    return np.stack(rows), np.stack(counts)


def _add_escape(places: list[dict[int, tuple[int, int]]], start: int, is_paired: bool) -> None:
    """Add the places inside an escape that begins at place `start`; behind a high surrogate it may complete the pair."""

    def place() -> int:
        places.append({})
        return len(places) - 1

    def digits(at: int, target: int, num_chars: int, allowed: bytes = HEX) -> None:
        for byte in allowed:
            places[at][byte] = (target, num_chars)

    backslash, letter, first, second, third = (place() for _ in range(5))
    surrogate, low, last_low = place(), place(), place()
    places[start][ord("\\")] = (backslash, 0)
    places[backslash][ord("u")] = (letter, 0)
    digits(letter, first, 0)
    digits(letter, surrogate, 0, b"dD")
    digits(first, second, 0)
    digits(second, third, 0)
    digits(third, 0, 1)
    digits(surrogate, second, 0)
    digits(surrogate, low, 0, b"cdefCDEF")
    digits(low, last_low, 0)
    digits(last_low, 0, 0 if is_paired else 1)
    high, last_high = place(), place()
    digits(surrogate, high, 0, b"89abAB")
    digits(high, last_high, 0)
    if is_paired:  # a second high surrogate: the first stays alone, this one may begin a pair
        digits(last_high, start, 1)
    else:
        behind = place()
        digits(last_high, behind, 1)
        _add_escape(places, behind, is_paired=True)
