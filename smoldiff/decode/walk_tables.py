"""Token automata of slots on a device, each copied there once for a vocabulary and language."""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from smoldiff.decode.walking import steps_to_end
from smoldiff.template.automaton import TokenAutomaton

# Shapes: A automata, V vocabulary, S states and E edges of all automata.

MAX_AUTOMATA, MAX_STATES, MAX_EDGES = 192, 1 << 17, 1 << 20
"""On the device: 2 bytes for each automaton and token, so 49 MB with 128,256 tokens, and 10 MB of states and edges."""
MAX_CLASSES = 1 << 14
NO_CLASS = 0
"""Of the tokens that stand in no text. An automaton's own classes are counted from 1."""


class Place(NamedTuple):
    """Where an automaton stands."""

    number: int
    first_state: int
    num_classes: int
    """NO_CLASS among them."""
    max_edges: int
    """Most edges of one state."""


class WalkTables:
    """Tensors of fixed size and address, so that a CUDA graph can read them. What does not fit any more begins anew."""

    def __init__(self, vocab_size: int, device: torch.device) -> None:
        ints: dict[str, Any] = {"dtype": torch.int32, "device": device}
        self.class_AV = torch.zeros(MAX_AUTOMATA, vocab_size, dtype=torch.int16, device=device)
        self.accepts_S = torch.zeros(MAX_STATES, dtype=torch.bool, device=device)
        self.steps_S, self.first_edge_S, self.num_edges_S = (
            torch.zeros(MAX_STATES, **ints) for _ in range(3)
        )
        self.class_E, self.target_E = (torch.zeros(MAX_EDGES, **ints) for _ in range(2))
        self._clear()

    def _clear(self) -> None:
        self._places: weakref.WeakKeyDictionary[TokenAutomaton, Place] = weakref.WeakKeyDictionary()
        self._num_automata = self._num_states = self._num_edges = 0

    def places(self, automata: list[TokenAutomaton]) -> list[Place] | None:
        """Where these stand, copied where they did not yet; None where they do not fit together."""
        for _ in range(2):
            found = [self._place(one) for one in automata]
            placed = [place for place in found if place is not None]
            if len(placed) == len(found):
                return placed
            self._clear()
        return None

    def _place(self, one: TokenAutomaton) -> Place | None:
        if one in self._places:
            return self._places[one]
        num_states, num_edges = one.num_states, len(one.source)
        fits = (
            self._num_automata < MAX_AUTOMATA
            and self._num_states + num_states <= MAX_STATES
            and self._num_edges + num_edges <= MAX_EDGES
            and one.num_classes < MAX_CLASSES
            and one.token_ids.max(initial=-1) < self.class_AV.shape[1]
        )
        return self._copied(one) if fits else None

    def _copied(self, one: TokenAutomaton) -> Place:
        number, first_state, first_edge = self._num_automata, self._num_states, self._num_edges
        states = slice(first_state, first_state + one.num_states)
        edges = slice(first_edge, first_edge + len(one.source))
        class_V = np.full(self.class_AV.shape[1], NO_CLASS, np.int16)
        class_V[one.token_ids] = one.classes + 1
        num_edges_S = np.bincount(one.source, minlength=one.num_states)
        for tensor, values in (
            (self.class_AV[number], class_V),
            (self.accepts_S[states], one.accepts),
            (self.steps_S[states], steps_to_end(one)),
            (self.first_edge_S[states], first_edge + num_edges_S.cumsum() - num_edges_S),
            (self.num_edges_S[states], num_edges_S),
            (self.class_E[edges], one.cls + 1),
            (self.target_E[edges], one.target + first_state),
        ):
            tensor.copy_(_tensor(values))
        self._num_automata, self._num_states, self._num_edges = number + 1, states.stop, edges.stop
        place = Place(number, first_state, one.num_classes + 1, int(num_edges_S.max(initial=0)))
        self._places[one] = place
        return place


def _tensor(values: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values))
