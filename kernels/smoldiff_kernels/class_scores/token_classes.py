"""The classes of tokens of some automata as flat tensors."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

# Shapes: A automata, U tokens of all of them.


@dataclass(frozen=True, eq=False)
class TokenClasses:
    """Which token belongs to which class, of some automata one behind the other, on one device.

    Every tensor is int32. An automaton's tokens stand in the order of their classes, those of a class in that of their
    ids.
    """

    first_token_A: Tensor
    """[A + 1]: the tokens of automaton a are first_token_A[a]:first_token_A[a + 1]."""
    token_U: Tensor
    """[U]: token ids."""
    column_U: Tensor
    """[U]: in which column of a row of scores the token stands."""
    class_U: Tensor
    """[U]: the token's class, counted in each automaton."""
    max_tokens: int
    """No automaton has more tokens."""
    max_classes: int
    """No automaton has more classes."""

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, int):
                continue
            if value.dtype != torch.int32 or value.dim() != 1 or not value.is_contiguous():
                found = f"{value.dtype} {tuple(value.shape)}"
                raise TypeError(f"{one.name} must be contiguous int32 of one axis, not {found}")
            if value.device != self.first_token_A.device:
                raise ValueError(f"{one.name} is on another device than first_token_A")
        if not len(self.token_U) == len(self.column_U) == len(self.class_U):
            raise ValueError("token_U, column_U and class_U need one entry for each token")
