"""Operations on byte automata. Every result is trimmed: from each state an accepted string can be reached."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from smoldiff.automata.dfa import DEAD, Dfa
from smoldiff.automata.errors import TooComplex
from smoldiff.automata.regex import MAX_STATES, compile_pattern
from smoldiff.automata.symbols import SymbolDfa
from smoldiff.automata.symbols import trim as trim_symbols

MAX_FINITE_STATES = 65_536

EMPTY = Dfa(np.zeros((0, 256), np.int32), np.zeros(0, np.bool_))


def intersect(a: Dfa, b: Dfa, max_states: int = MAX_STATES) -> Dfa:
    """The strings of both. Raises TooComplex."""
    return _product(a, b, True, True, max_states)


def difference(a: Dfa, b: Dfa, max_states: int = MAX_STATES) -> Dfa:
    """The strings of `a` that are not in `b`. Raises TooComplex."""
    return _product(a, b, True, False, max_states)


def union(a: Dfa, b: Dfa, max_states: int = MAX_STATES) -> Dfa:
    """The strings of either. Raises TooComplex."""
    return _product(a, b, None, None, max_states)


@lru_cache(maxsize=1)
def valid_utf8() -> Dfa:
    """Every string that is UTF-8, the empty one too."""
    return compile_pattern("^[^]*$")


def complement(a: Dfa, max_states: int = MAX_STATES) -> Dfa:
    """The valid UTF-8 strings that are not in `a`. Raises TooComplex."""
    return difference(valid_utf8(), a, max_states)


def trim(dfa: Dfa) -> Dfa:
    """The same language without the states from which nothing is accepted. All must be reachable."""
    class_of, columns = _byte_classes(dfa.table)
    return _spread(trim_symbols(SymbolDfa(columns.tolist(), dfa.accepts.tolist())), class_of)


def reachable(dfa: Dfa) -> Dfa:
    """The same language without the states that no string leads to."""
    seen = np.zeros(len(dfa.table), np.bool_)
    frontier = np.flatnonzero(np.arange(len(seen)) == 0)
    while len(frontier):
        seen[frontier] = True
        targets = np.unique(dfa.table[frontier])
        frontier = targets[(targets != DEAD) & ~seen[targets]]
    number = np.append(np.cumsum(seen) - 1, DEAD).astype(np.int32)
    return Dfa(number[dfa.table[seen]], dfa.accepts[seen])


def _byte_classes(table: NDArray[np.int32]) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """The class of each byte, and [states, classes] the table of the classes: bytes with one column are one class."""
    columns = np.ascontiguousarray(table.T)
    numbers: dict[bytes, int] = {}
    class_of = np.array([numbers.setdefault(c.tobytes(), len(numbers)) for c in columns], np.intp)
    first = np.unique(class_of, return_index=True)[1]
    return class_of, table[:, first]


def _spread(dfa: SymbolDfa, class_of: NDArray[np.intp]) -> Dfa:
    if not dfa.rows:
        return EMPTY
    return Dfa(np.array(dfa.rows, np.int32)[:, class_of], np.array(dfa.accepts, np.bool_))


def _product(a: Dfa, b: Dfa, in_a: bool | None, in_b: bool | None, max_states: int) -> Dfa:
    """The strings that are in `a` or not, as `in_a` says, and likewise in `b`; (None, None): in either.

    Not being in both is not among the choices: the result follows `a`, or both.
    """
    of_a, of_b = _byte_classes(a.table)[0], _byte_classes(b.table)[0]
    width = int(of_b.max()) + 1
    _, first, class_of = np.unique(of_a * width + of_b, return_index=True, return_inverse=True)
    rows_a, rows_b = a.table[:, first].tolist(), b.table[:, first].tolist()
    none = [DEAD] * len(first)
    start = (DEAD if a.is_empty else 0, DEAD if b.is_empty else 0)
    order: list[tuple[int, int]] = []
    numbers: dict[tuple[int, int], int] = {}

    def number(pair: tuple[int, int]) -> int:
        found = numbers.get(pair)
        if found is None:
            x, y = pair
            if in_a is None:
                is_lost = x == DEAD and y == DEAD
            else:
                is_lost = x == DEAD or (in_b is True and y == DEAD)
            found = numbers[pair] = DEAD if is_lost else len(order)
            if not is_lost:
                order.append(pair)
        return found

    def accepts(pair: tuple[int, int]) -> bool:
        ends = [
            state != DEAD and bool(dfa.accepts[state])
            for dfa, state in zip((a, b), pair, strict=True)
        ]
        return any(ends) if in_a is None else ends == [in_a, in_b]

    number(start)
    rows = []
    for x, y in order:
        row_a = none if x == DEAD else rows_a[x]
        row_b = none if y == DEAD else rows_b[y]
        rows.append([number(pair) for pair in zip(row_a, row_b, strict=True)])
        if len(order) > max_states:
            raise TooComplex(f"a product of automata with more than {max_states} states")
    found = SymbolDfa(rows, [accepts(pair) for pair in order])
    return _spread(trim_symbols(found), class_of)


def minimise(dfa: Dfa) -> Dfa:
    """The smallest automaton of the language."""
    if dfa.is_empty:
        return dfa
    class_of, columns = _byte_classes(dfa.table)
    order = _topological(columns)
    if len(order) == len(columns):
        labels = _merged(columns, dfa.accepts, order)
    else:
        labels = _refined(columns, dfa.accepts)
    # State 0 stays the start: labels are numbered by their first state.
    found, kept = np.unique(labels, return_index=True)
    kept.sort()
    number = np.full(int(found[-1]) + 2, DEAD, np.int32)
    number[labels[kept]] = np.arange(len(kept))
    table = number[np.append(labels, -1)[columns[kept]]]
    return Dfa(table[:, class_of], dfa.accepts[kept])


def _merged(
    columns: NDArray[np.int32], accepts: NDArray[np.bool_], order: list[int]
) -> NDArray[np.int64]:
    """Labels of equivalent states where no string returns to a state: equal ways on make equal states."""
    labels = [DEAD] * (len(order) + 1)
    rows, ends = columns.tolist(), accepts.tolist()
    numbers: dict[tuple[int, ...], int] = {}
    for state in reversed(order):
        key = (ends[state], *[labels[target] for target in rows[state]])
        labels[state] = numbers.setdefault(key, len(numbers))
    return np.array(labels[:-1], np.int64)


def _refined(columns: NDArray[np.int32], accepts: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Labels of equivalent states by partition refinement (Moore, 1956).

    The first partition is the distance to acceptance, which alone settles chains.
    """
    labels, num_labels = _distances(columns, accepts), 0
    while True:
        rows = np.ascontiguousarray(np.column_stack([labels, np.append(labels, -1)[columns]]))
        whole = rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1]))).reshape(-1)
        found, labels = np.unique(whole, return_inverse=True)
        if len(found) == num_labels:
            return labels
        num_labels = len(found)


def _distances(columns: NDArray[np.int32], accepts: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For each state the number of bytes of the shortest string that is accepted from there."""
    sources: list[list[int]] = [[] for _ in accepts]
    for state, row in enumerate(columns.tolist()):
        for target in set(row) - {DEAD}:
            sources[target].append(state)
    distances = np.full(len(accepts), -1, np.int64)
    frontier = np.flatnonzero(accepts).tolist()
    distance = 0
    while frontier:
        distances[frontier] = distance
        distance += 1
        frontier = list({s for t in frontier for s in sources[t] if distances[s] < 0})
    return distances


def shortest(dfa: Dfa) -> bytes | None:
    """The shortest accepted string, the first in byte order among equals; None if there is none."""
    if dfa.is_empty:
        return None
    distances = np.append(_distances(_byte_classes(dfa.table)[1], dfa.accepts), len(dfa.accepts))
    state, found = 0, bytearray()
    while not dfa.accepts[state]:
        byte = int(np.argmin(distances[dfa.table[state]]))
        found.append(byte)
        state = int(dfa.table[state, byte])
    return bytes(found)


def is_finite(dfa: Dfa) -> bool:
    """Whether the language has finitely many strings."""
    return len(_topological(_byte_classes(dfa.table)[1])) == len(dfa.accepts)


def _topological(columns: NDArray[np.int32]) -> list[int]:
    """The states, each before those that it leads to; without the states on and behind cycles."""
    successors = [set(row) - {DEAD} for row in columns.tolist()]
    num_before = [0] * len(successors)
    for targets in successors:
        for target in targets:
            num_before[target] += 1
    done = [state for state, num in enumerate(num_before) if not num]
    for state in done:
        for target in successors[state]:
            num_before[target] -= 1
            if not num_before[target]:
                done.append(target)
    return done


def finite(texts: Iterable[bytes], max_states: int = MAX_FINITE_STATES) -> Dfa:
    """The smallest automaton of these strings alone (Daciuk et al., 2000). Raises TooComplex past `max_states`."""
    builder = _Words(max_states)
    for text in sorted(set(texts)):
        builder.add(text)
    return builder.done()


class _Words:
    """Words in byte order become states as soon as no later word can change them; equal states are shared."""

    def __init__(self, max_states: int) -> None:
        self.max_states = max_states
        self.states: dict[tuple[bool, tuple[tuple[int, int], ...]], int] = {}
        self.last = b""
        self.path: list[list[tuple[int, int]]] = [[]]
        self.ends: list[bool] = [False]

    def add(self, word: bytes) -> None:
        shared = _num_shared(word, self.last)
        self.settle(shared)
        self.path += [[] for _ in word[shared:]]
        self.ends += [False for _ in word[shared:]]
        self.ends[-1] = True
        self.last = word

    def settle(self, depth: int) -> None:
        """Makes states of what lies deeper than `depth` bytes of the last word."""
        while len(self.path) > depth + 1:
            state = self.state()
            self.path[-1].append((self.last[len(self.path) - 1], state))

    def state(self) -> int:
        key = (self.ends.pop(), tuple(self.path.pop()))
        state = self.states.setdefault(key, len(self.states))
        if state >= self.max_states:
            raise TooComplex(f"a list of words with more than {self.max_states} states")
        return state

    def done(self) -> Dfa:
        self.settle(0)
        if not self.path[0] and not self.ends[0]:
            return EMPTY
        self.state()
        # The start was made last, and every other state before those that lead to it: reversed, it is state 0.
        last = len(self.states) - 1
        table = np.full((last + 1, 256), DEAD, np.int32)
        accepts = np.zeros(last + 1, np.bool_)
        for (is_end, ways), state in self.states.items():
            accepts[last - state] = is_end
            for byte, target in ways:
                table[last - state, byte] = last - target
        return Dfa(table, accepts)


def _num_shared(a: bytes, b: bytes) -> int:
    """How many bytes two strings begin with alike, by bisection: comparing slices is fast."""
    least, most = 0, min(len(a), len(b))
    while least < most:
        middle = (least + most + 1) // 2
        if a[least:middle] == b[least:middle]:
            least = middle
        else:
            most = middle - 1
    return least
