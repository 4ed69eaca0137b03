"""Walking through a slot's token automaton, one token after another, with a way to the end always in sight."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from smoldiff.template.automaton import TokenAutomaton

# Shapes: S states, U tokens of the automaton, C classes.

FAR = np.iinfo(np.int32).max // 2
_STEPS: weakref.WeakKeyDictionary[TokenAutomaton, NDArray[np.int32]] = weakref.WeakKeyDictionary()


def steps_to_end(automaton: TokenAutomaton) -> NDArray[np.int32]:
    """[S]: tokens of the shortest way from each state to an accepted text."""
    known = _STEPS.get(automaton)
    if known is None:
        known = np.where(automaton.accepts, 0, FAR).astype(np.int32)
        while True:
            nearer = known.copy()
            np.minimum.at(nearer, automaton.source, known[automaton.target] + 1)
            if (nearer == known).all():
                break
            known = nearer
        _STEPS[automaton] = known
    return known


class Walker:
    """A place in an automaton with some positions left; `fixed` are the tokens that must stand at some of them."""

    def __init__(
        self,
        automaton: TokenAutomaton,
        num_positions: int,
        fixed: Mapping[int, int] = MappingProxyType({}),
    ) -> None:
        self.automaton, self.num_left = automaton, num_positions
        self.state, self._place = 0, 0
        self._steps = steps_to_end(automaton)
        self._ways = _ways(automaton, num_positions, fixed)

    @property
    def is_possible(self) -> bool:
        """Whether any text leads on from here."""
        return bool(self._leads_on(np.array([self.state]), self._place)[0])

    @property
    def may_end(self) -> bool:
        return self._place >= len(self._ways) and bool(self.automaton.accepts[self.state])

    @property
    def must_end(self) -> bool:
        """Whether no text of the language goes on from here, however many positions there were."""
        return not len(self._edges()[0])

    def allowed(self) -> NDArray[np.bool_]:
        """[U]: the tokens from which an accepted text can be reached in the positions that are left."""
        classes, targets = self._edges()
        is_allowed_C = np.zeros(self.automaton.num_classes + 1, dtype=bool)
        is_allowed_C[classes[self._leads_on(targets, self._place + 1)]] = True
        return is_allowed_C[self.automaton.classes]

    def take(self, token_id: int) -> bool:
        """Step over a token; False, and no step, where it cannot stand here."""
        classes, targets = self._edges()
        found = targets[classes == _class_of(self.automaton, token_id)]
        if not self._leads_on(found, self._place + 1).any():
            return False
        self.state, self.num_left, self._place = int(found[0]), self.num_left - 1, self._place + 1
        return True

    def take_all(self, token_ids: Iterable[int]) -> bool:
        return all(self.take(token_id) for token_id in token_ids)

    def _leads_on(self, states: NDArray[np.int32], place: int) -> NDArray[np.bool_]:
        """For each state whether a text goes on from it at a position."""
        if place < len(self._ways):
            return self._ways[place][states]
        return self._steps[states] <= self.num_left - (place - self._place)

    def _edges(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        a = self.automaton
        first, last = np.searchsorted(a.source, [self.state, self.state + 1])
        return a.cls[first:last], a.target[first:last]


def _ways(
    automaton: TokenAutomaton, num_positions: int, fixed: Mapping[int, int]
) -> list[NDArray[np.bool_]]:
    """[S] for each position up to the last fixed one: the states there from which a text with the fixed tokens goes on."""
    num_ways = max(fixed, default=-1) + 1
    leads_on = steps_to_end(automaton) <= num_positions - num_ways
    ways = []
    for place in reversed(range(num_ways)):
        is_way = leads_on[automaton.target]
        if place in fixed:
            is_way = is_way & (automaton.cls == _class_of(automaton, fixed[place]))
        leads_on = np.zeros(automaton.num_states, dtype=bool)
        leads_on[automaton.source[is_way]] = True
        ways.append(leads_on)
    return ways[::-1]


def _class_of(automaton: TokenAutomaton, token_id: int) -> int:
    """The class of a token, -1 where it stands in no text."""
    ids = automaton.token_ids
    column = int(np.searchsorted(ids, token_id))
    return int(automaton.classes[column]) if column < len(ids) and ids[column] == token_id else -1
