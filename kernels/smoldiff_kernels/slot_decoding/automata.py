"""Automata over classes of tokens as flat tensors."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

# Shapes: A automata, S states of all of them, E places for edges of all of them.

QUAD = 4
"""So many edges are loaded at once."""


@dataclass(frozen=True, eq=False)
class Automata:
    """Some automata, one behind the other, on one device. Each has at least one state, those with the most edges first.

    Every tensor is int32 but `accepts_S`. States, classes and targets are counted in each automaton. Tensors may be longer:
    what is not pointed at has no meaning.
    """

    first_state_A: Tensor
    """[A + 1]: the states of automaton a are first_state_A[a]:first_state_A[a + 1]."""
    start_A: Tensor
    """[A]: where its texts begin."""
    accepts_S: Tensor
    """[S] bool: whether a text may end there."""
    num_edges_S: Tensor
    """[S]: how many edges lead out of a state ..."""
    first_quad_S: Tensor
    """[S]: ... and where they stand in the tensors of edges, in units of QUAD: every state's edges begin at a multiple."""
    class_E: Tensor
    """[E]: the class of tokens that takes the edge, at most one edge of a state for each."""
    target_E: Tensor
    """[E]: where the edge leads."""
    max_states: int
    """No automaton has more states."""
    max_classes: int
    """No automaton has more classes."""

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, int):
                continue
            dtype = torch.bool if one.name == "accepts_S" else torch.int32
            if value.dtype != dtype or value.dim() != 1 or not value.is_contiguous():
                found = f"{value.dtype} {tuple(value.shape)}"
                raise TypeError(f"{one.name} must be contiguous {dtype} of one axis, not {found}")
            if value.device != self.first_state_A.device:
                raise ValueError(f"{one.name} is on another device than first_state_A")
        if len(self.first_state_A) != len(self.start_A) + 1:
            raise ValueError("first_state_A needs one entry more than start_A")
        if not len(self.accepts_S) == len(self.num_edges_S) == len(self.first_quad_S):
            raise ValueError(
                "accepts_S, num_edges_S and first_quad_S need one entry for each state"
            )
        if len(self.class_E) != len(self.target_E) or len(self.class_E) % QUAD:
            raise ValueError("class_E and target_E need one length, a multiple of QUAD")
