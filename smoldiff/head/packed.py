"""A memory of one row in one tensor: more tokens behind it are one `cat`, taking it over is one copy."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from smoldiff.head.config import HeadConfig
from smoldiff.head.memory import Memory

# Shapes: N tokens seen, W numbers of a token, G key/value heads, E head width.


class Packing:
    """What stands where in a token's numbers: what is fused, the base's final state, keys of all layers, values of all
    layers, the pointer's key."""

    def __init__(self, config: HeadConfig, device: torch.device) -> None:
        self._heads = (config.num_kv_heads, config.head_dim)
        self.num_layers = config.num_layers
        width = config.num_kv_heads * config.head_dim
        layers = [width] * (2 * config.num_layers)
        copy_dim = config.copy_dim if config.has_copy else 0
        self._widths = [config.hidden_size, config.base.hidden_size, *layers, copy_dim]
        self._counts = torch.arange(0, device=device)

    @property
    def width(self) -> int:
        return sum(self._widths)

    def counts(self, start: int, stop: int) -> Tensor:
        """start, start + 1, ... up to stop, int64: part of a tensor that is kept, so that nothing is launched."""
        if stop > len(self._counts):
            self._counts = torch.arange(2 * stop, device=self._counts.device)
        return self._counts[start:stop]

    def memory(self, ids_1N: Tensor, packed_NW: Tensor) -> PackedMemory:
        """The tokens of a row from its beginning."""
        num = len(packed_NW)
        fused, final, *seen, copy = packed_NW[None].split(self._widths, 2)
        heads = tuple(one.unflatten(2, self._heads).transpose(1, 2) for one in seen)
        return PackedMemory(
            ids_1N,
            self.counts(num, num + 1),
            self.counts(0, num)[None],
            self.counts(0, 1)[None].expand(1, num),  # all of moment 0
            fused,
            final,
            heads[: self.num_layers],
            heads[self.num_layers :],
            copy,
            self,
            packed_NW,
        )

    def packed(self, memory: Memory) -> PackedMemory:
        """A memory of one row that stands in several tensors."""
        heads = [one[0].transpose(0, 1).flatten(1) for one in (*memory.keys, *memory.values)]
        parts = [memory.fused_BNH[0], memory.final_BND[0], *heads, memory.copy_BNC[0]]
        return self.memory(memory.ids_BN, torch.cat(parts, 1))


@dataclass(frozen=True, eq=False)
class PackedMemory(Memory):
    """Made by `Packing.memory`; the tensors of `Memory` are parts of `packed_NW`. No padding."""

    packing: Packing
    packed_NW: Tensor

    def cut(self, num_tokens: int) -> PackedMemory:
        """The first tokens."""
        return self.packing.memory(self.ids_BN[:, :num_tokens], self.packed_NW[:num_tokens])

    def followed_by(self, more: Memory) -> PackedMemory:
        """The row with more tokens behind it."""
        behind = more if isinstance(more, PackedMemory) else self.packing.packed(more)
        ids_1N = torch.cat([self.ids_BN, behind.ids_BN], 1)
        return self.packing.memory(ids_1N, torch.cat([self.packed_NW, behind.packed_NW]))
