"""One layer of the head: queries look at what the base has seen and, in both directions, at each other.

The base's states come in as keys and values of every layer (DFlash, 2026); queries exist for the template alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from smoldiff.head.config import HeadConfig
from smoldiff_kernels.head_attention import head_attention

# Shapes: B rows, Q queries, N tokens seen, T either of them, A query heads, G key/value heads, E head width, H hidden size.

Groups = dict[str, Tensor]
"""Which queries see what: keywords of `head_attention`."""


class Rotary:
    """Rotary position embedding (Su et al., 2021), computed in float32."""

    def __init__(self, head_dim: int, theta: float) -> None:
        self._head_dim, self._theta = head_dim, theta

    def angles(self, positions_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines, each [B, 1, T, E / 2]."""
        angles_BTE = positions_BT[:, None, :, None].float() * self.frequencies(positions_BT.device)
        return angles_BTE.cos(), angles_BTE.sin()

    def frequencies(self, device: torch.device) -> Tensor:
        """[E / 2] float32: radians that a position turns each pair by."""
        # Computed anew each time: a tensor that is kept would stay behind when a head is made on the meta device.
        places = torch.arange(0, self._head_dim, 2, device=device)
        return self._theta ** (-places.float() / self._head_dim)


def rotated(x_BATE: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
    cos, sin = (part.to(x_BATE.dtype) for part in angles)
    first, second = x_BATE.chunk(2, -1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


class Norm(nn.RMSNorm):
    """Root mean square norm in the dtype of its input, which autocast makes another than that of the weight."""

    def __init__(self, size: int) -> None:
        super().__init__(size, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.to(x.dtype)
        if x.is_cuda:
            return nn.functional.rms_norm(x, self.normalized_shape, weight, self.eps)
        # On a CPU torch takes longer for its own norm than for these steps of it.
        scale = torch.rsqrt(x.float().square().mean(-1, keepdim=True) + self.eps)
        return x * scale.to(x.dtype) * weight


class HeadAttention(nn.Module):
    def __init__(self, cfg: HeadConfig) -> None:
        super().__init__()
        self.num_heads, self.num_kv_heads = cfg.num_heads, cfg.num_kv_heads
        self.head_dim = cfg.head_dim
        wide, narrow = cfg.num_heads * cfg.head_dim, cfg.num_kv_heads * cfg.head_dim
        self.q_proj = nn.Linear(cfg.hidden_size, wide, bias=False)
        self.k_proj = nn.Linear(cfg.hidden_size, narrow, bias=False)
        self.v_proj = nn.Linear(cfg.hidden_size, narrow, bias=False)
        self.o_proj = nn.Linear(wide, cfg.hidden_size, bias=False)
        self.q_norm = Norm(cfg.head_dim)
        self.k_norm = Norm(cfg.head_dim)

    def seen(self, fused_BNH: Tensor, angles_N: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Keys and values of what the base has seen, [B, G, N, E]; they depend on no query."""
        keys = rotated(self.k_norm(self._split(self.k_proj(fused_BNH))), angles_N)
        return keys, self._split(self.v_proj(fused_BNH))

    def forward(
        self,
        x_BQH: Tensor,
        seen: tuple[Tensor, Tensor],
        angles_Q: tuple[Tensor, Tensor],
        groups: Groups,
    ) -> Tensor:
        q_BAQE = rotated(self.q_norm(self._split(self.q_proj(x_BQH))), angles_Q)
        k_BGQE = rotated(self.k_norm(self._split(self.k_proj(x_BQH))), angles_Q)
        v_BGQE = self._split(self.v_proj(x_BQH))
        tensors = (x.transpose(1, 2) for x in (q_BAQE, *seen, k_BGQE, v_BGQE))
        return self.o_proj(head_attention(*tensors, **groups).flatten(2))

    def _split(self, x_BTD: Tensor) -> Tensor:
        return x_BTD.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)


class HeadLayer(nn.Module):
    def __init__(self, cfg: HeadConfig) -> None:
        super().__init__()
        self.attention_norm = Norm(cfg.hidden_size)
        self.attention = HeadAttention(cfg)
        self.mlp_norm = Norm(cfg.hidden_size)
        self.gate_proj = nn.Linear(cfg.hidden_size, cfg.intermediate_size, bias=False)
        self.up_proj = nn.Linear(cfg.hidden_size, cfg.intermediate_size, bias=False)
        self.down_proj = nn.Linear(cfg.intermediate_size, cfg.hidden_size, bias=False)

    def forward(
        self,
        x_BQH: Tensor,
        keys_BGNE: Tensor,
        values_BGNE: Tensor,
        angles_Q: tuple[Tensor, Tensor],
        groups: Groups,
    ) -> Tensor:
        seen = (keys_BGNE, values_BGNE)
        x_BQH = x_BQH + self.attention(self.attention_norm(x_BQH), seen, angles_Q, groups)
        inner = self.mlp_norm(x_BQH)
        mlp = nn.functional.silu(self.gate_proj(inner)) * self.up_proj(inner)
        return x_BQH + self.down_proj(mlp)
