"""The served model's hidden states, kept beside its KV cache: a row for each slot of the cache, so both live equally long.

A prefix from the cache finds the states that an earlier request left; what is computed again is written again.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Shapes: N tokens of a step, L tokens of a request, S states of a token (layers times hidden size), M slots.


def bytes_a_token(width: int, dtype: torch.dtype) -> int:
    """What a table keeps for each slot."""
    return width * dtype.itemsize


class FeatureTable:
    """States by KV slot; all zeros where none were written."""

    def __init__(
        self, num_slots: int, width: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self._states_MS = torch.zeros(num_slots, width, dtype=dtype, device=device)

    @property
    def num_bytes(self) -> int:
        return self._states_MS.nbytes

    def write(self, slots_N: Tensor, states_NS: Tensor) -> None:
        """Keep the states of tokens whose keys and values were put into these slots."""
        self._states_MS.index_copy_(0, slots_N, states_NS.to(self._states_MS.dtype))

    @torch.inference_mode()
    def read(self, slots_L: Tensor) -> Tensor | None:
        """[L, S]; None where a slot was filled without us (its keys and values came from elsewhere)."""
        states_LS = self._states_MS[slots_L]
        return states_LS if bool(states_LS.any(-1).all()) else None


def slots_of(blocks: Tensor, block_size: int, start: int, stop: int) -> Tensor:
    """The slots of a request's tokens `start` to `stop`, of whose KV blocks `blocks` are the numbers."""
    at_L = torch.arange(start, stop, device=blocks.device)
    return blocks[at_L // block_size].long() * block_size + at_L % block_size
