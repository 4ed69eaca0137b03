"""Walking through a slot's token automaton, one token after another, with a way to the end always in sight."""

from __future__ import annotations

import weakref
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from smoldiff.template.automaton import TokenAutomaton

# Shapes: S states, U tokens of the automaton, C classes.

_FAR = np.iinfo(np.int32).max // 2
_STEPS: weakref.WeakKeyDictionary[TokenAutomaton, NDArray[np.int32]] = weakref.WeakKeyDictionary()


def steps_to_end(automaton: TokenAutomaton) -> NDArray[np.int32]:
    """[S]: tokens of the shortest way from each state to an accepted text."""
    known = _STEPS.get(automaton)
    if known is None:
        known = np.where(automaton.accepts, 0, _FAR).astype(np.int32)
        while True:
            nearer = known.copy()
            np.minimum.at(nearer, automaton.source, known[automaton.target] + 1)
            if (nearer == known).all():
                break
            known = nearer
        _STEPS[automaton] = known
    return known


class Walker:
    """A place in an automaton with some positions left."""

    def __init__(self, automaton: TokenAutomaton, num_positions: int) -> None:
        self.automaton, self.num_left = automaton, num_positions
        self.state = 0
        self._steps = steps_to_end(automaton)

    @property
    def may_end(self) -> bool:
        return bool(self.automaton.accepts[self.state])

    def allowed(self) -> NDArray[np.bool_]:
        """[U]: the tokens from which an accepted text can be reached in the positions that are left."""
        classes, targets = self._edges()
        is_allowed_C = np.zeros(self.automaton.num_classes + 1, dtype=bool)
        is_allowed_C[classes[self._steps[targets] <= self.num_left - 1]] = True
        return is_allowed_C[self.automaton.classes]

    def take(self, token_id: int) -> bool:
        """Step over a token; False, and no step, where it cannot stand here."""
        column = int(np.searchsorted(self.automaton.token_ids, token_id))
        ids = self.automaton.token_ids
        if column >= len(ids) or ids[column] != token_id:
            return False
        classes, targets = self._edges()
        found = np.flatnonzero(classes == self.automaton.classes[column])
        if not len(found) or self._steps[targets[found[0]]] > self.num_left - 1:
            return False
        self.state, self.num_left = int(targets[found[0]]), self.num_left - 1
        return True

    def take_all(self, token_ids: Iterable[int]) -> bool:
        return all(self.take(token_id) for token_id in token_ids)

    def _edges(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        a = self.automaton
        first, last = np.searchsorted(a.source, [self.state, self.state + 1])
        return a.cls[first:last], a.target[first:last]
