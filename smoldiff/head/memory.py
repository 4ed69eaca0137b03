"""What a head keeps of the tokens that its base has seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# Shapes: B rows, N tokens seen, H hidden size of the head, D of the base, G key/value heads, E head width, C pointer width.


@dataclass(frozen=True, eq=False)
class Memory:
    """Computed once for each token, like a KV cache. Rows are padded behind their `lengths_B` tokens."""

    ids_BN: Tensor
    """int64; any id in the padding."""
    lengths_B: Tensor
    """int64."""
    positions_BN: Tensor
    """int64."""
    fed_in_BN: Tensor
    """int64: the moment that each token was fed in; queries of all moments see those of moment 0."""
    fused_BNH: Tensor
    final_BND: Tensor
    """The base's last states, behind its final norm."""
    keys: tuple[Tensor, ...]
    """[B, G, N, E] for each layer of the head."""
    values: tuple[Tensor, ...]
    copy_BNC: Tensor

    @property
    def num_tokens(self) -> int:
        return self.ids_BN.shape[1]

    @property
    def is_seen_BN(self) -> Tensor:
        return torch.arange(self.num_tokens, device=self.ids_BN.device) < self.lengths_B[:, None]

    def cut(self, num_tokens: int) -> Memory:
        """The first tokens of a single row."""
        return Memory(
            self.ids_BN[:, :num_tokens],
            self.lengths_B.clamp(max=num_tokens),
            self.positions_BN[:, :num_tokens],
            self.fed_in_BN[:, :num_tokens],
            self.fused_BNH[:, :num_tokens],
            self.final_BND[:, :num_tokens],
            tuple(k[:, :, :num_tokens] for k in self.keys),
            tuple(v[:, :, :num_tokens] for v in self.values),
            self.copy_BNC[:, :num_tokens],
        )

    def followed_by(self, more: Memory) -> Memory:
        """A single row with more tokens behind it."""
        return Memory(
            torch.cat([self.ids_BN, more.ids_BN], 1),
            self.lengths_B + more.lengths_B,
            torch.cat([self.positions_BN, more.positions_BN], 1),
            torch.cat([self.fed_in_BN, more.fed_in_BN], 1),
            torch.cat([self.fused_BNH, more.fused_BNH], 1),
            torch.cat([self.final_BND, more.final_BND], 1),
            _joined(self.keys, more.keys),
            _joined(self.values, more.values),
            torch.cat([self.copy_BNC, more.copy_BNC], 1),
        )


def sees(moment_BQ: Tensor, fed_in_BN: Tensor) -> Tensor:
    """[B, Q, N]: whether a query of a moment sees a token of another: its own moment's, and those of moment 0.

    The rule of the groups of `smoldiff_kernels.head_attention`.
    """
    fed_in_B1N = fed_in_BN[:, None]
    return (fed_in_B1N == 0) | (fed_in_B1N == moment_BQ[..., None])


def _joined(first: Sequence[Tensor], second: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(torch.cat([a, b], 2) for a, b in zip(first, second, strict=True))
