"""Token automata of slots on a device, each copied there once for a vocabulary and language."""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from smoldiff.decode.walking import FAR, steps_to_end
from smoldiff.template.automaton import TokenAutomaton

# Shapes: A automata, V vocabulary, S states and E edges of all automata.

MAX_AUTOMATA, MAX_STATES, MAX_EDGES = 192, 1 << 17, 1 << 20
"""On the device: 2 bytes for each automaton and token, so 49 MB with 128,256 tokens, and 28 MB of states and edges."""
MAX_CLASSES = 1 << 14
NO_CLASS = 0
"""Of the tokens that stand in no text. An automaton's own classes are counted from 1."""


NO_EDGE = 0
"""An edge that no text takes. The walk relies on its being 0."""


class Place(NamedTuple):
    """Where an automaton stands."""

    number: int
    first_state: int
    num_classes: int
    """NO_CLASS among them."""


class WalkTables:
    """Tensors of fixed size and address, so that a CUDA graph can read them. What does not fit any more begins anew."""

    def __init__(self, vocab_size: int, device: torch.device) -> None:
        ints: dict[str, Any] = {"dtype": torch.long, "device": device}
        self.class_AV = torch.zeros(MAX_AUTOMATA, vocab_size, dtype=torch.int16, device=device)
        self.state_SX = torch.zeros(MAX_STATES, 3, **ints)
        """Of a state: its first edge, how many edges it has, whether a text may end there."""
        self.edge_EX = torch.zeros(MAX_EDGES, 3, **ints)
        """Of an edge: its class, where it leads, and how many tokens an accepted text takes from there, at least."""
        self.edge_EX[NO_EDGE] = torch.tensor([NO_CLASS, 0, FAR])
        self._clear()

    def _clear(self) -> None:
        self._places: weakref.WeakKeyDictionary[TokenAutomaton, Place] = weakref.WeakKeyDictionary()
        self._num_automata, self._num_states, self._num_edges = 0, 0, NO_EDGE + 1

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
        first_edge_S = first_edge + num_edges_S.cumsum() - num_edges_S
        steps_E = steps_to_end(one)[one.target]
        self.class_AV[number].copy_(torch.from_numpy(class_V))
        self.state_SX[states].copy_(_columns(first_edge_S, num_edges_S, one.accepts))
        self.edge_EX[edges].copy_(_columns(one.cls + 1, one.target + first_state, steps_E))
        self._num_automata, self._num_states, self._num_edges = number + 1, states.stop, edges.stop
        place = Place(number, first_state, one.num_classes + 1)
        self._places[one] = place
        return place


def _columns(*columns: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(np.stack(columns, 1).astype(np.int64))
