"""Muon for the matrices, AdamW for the rest, and the learning rate over a budget of steps or seconds."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn

from smoldiff_training.base.config import OptimConfig

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # those of torch.optim.Muon


def orthogonal(update_BMN: Tensor, num_steps: int = 5) -> Tensor:
    """Each matrix of the batch with its singular values pushed to about 1, in bfloat16 on a GPU."""
    a, b, c = COEFFICIENTS
    x = update_BMN.to(torch.bfloat16) if update_BMN.is_cuda else update_BMN
    is_tall = x.shape[1] > x.shape[2]
    x = x.mT if is_tall else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(num_steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if is_tall else x


class Muon:
    """`torch.optim.Muon` with `match_rms_adamw`, but all matrices of one shape in one batched product.

    One by one, the seven matrices of each layer cost thousands of small launches a step.
    """

    def __init__(
        self, params: list[nn.Parameter], weight_decay: float, momentum: float = 0.95
    ) -> None:
        by_shape: dict[tuple[int, ...], list[nn.Parameter]] = defaultdict(list)
        for p in params:
            by_shape[tuple(p.shape)].append(p)
        self.groups = list(by_shape.values())
        self.buffers = [torch.zeros_like(torch.stack([p.data for p in g])) for g in self.groups]
        self.weight_decay, self.momentum = weight_decay, momentum

    @torch.no_grad()
    def step(self, lr: float) -> None:
        for group, buffer in zip(self.groups, self.buffers, strict=True):
            grad = torch.stack([p.grad for p in group])
            buffer.lerp_(grad, 1 - self.momentum)
            update = orthogonal(grad.lerp_(buffer, self.momentum)).to(buffer.dtype)
            scale = 0.2 * math.sqrt(max(buffer.shape[1:]))
            torch._foreach_mul_(group, 1 - lr * self.weight_decay)
            torch._foreach_add_(group, list(update.unbind(0)), alpha=-lr * scale)

    def state_dict(self) -> dict[str, Any]:
        return {"buffers": self.buffers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for mine, saved in zip(self.buffers, state["buffers"], strict=True):
            mine.copy_(saved)


class Optimizers:
    """Both optimisers behind one step."""

    def __init__(self, model: nn.Module, cfg: OptimConfig) -> None:
        named = dict(model.named_parameters())
        matrices = [
            p for n, p in named.items() if p.ndim == 2 and "embed" not in n and "lm_head" not in n
        ]
        is_matrix = {id(p) for p in matrices}
        rest = [p for p in named.values() if id(p) not in is_matrix]
        self.cfg, self.params = cfg, list(named.values())
        self.muon = Muon(matrices, cfg.weight_decay)
        on_gpu = self.params[0].is_cuda
        self.adam = torch.optim.AdamW(
            rest, lr=cfg.adam_lr, betas=(0.9, 0.98), weight_decay=0.0, fused=on_gpu
        )

    def step(self, factor: float) -> Tensor:
        """One update at `factor` of the peak rates. Returns the gradients' norm before clipping."""
        norm = nn.utils.clip_grad_norm_(self.params, self.cfg.max_grad_norm)
        self.muon.step(self.cfg.muon_lr * factor)
        for group in self.adam.param_groups:
            group["lr"] = self.cfg.adam_lr * factor
        self.adam.step()
        for p in self.params:
            p.grad = None
        return norm

    def state_dict(self) -> dict[str, Any]:
        return {"muon": self.muon.state_dict(), "adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.muon.load_state_dict(state["muon"])
        self.adam.load_state_dict(state["adam"])


def progress(step: int, elapsed_s: float, cfg: OptimConfig) -> float:
    """How much of the budget is used, 0 to 1: of the steps or the seconds, whichever is further."""
    by_step = step / cfg.max_steps if cfg.max_steps else 0.0
    by_time = elapsed_s / cfg.max_seconds if cfg.max_seconds else 0.0
    return max(by_step, by_time)


def rate_at(used: float, cfg: OptimConfig) -> float:
    """The learning rate's factor: a short warm-up, flat, then linear to zero over the last part."""
    warm = min(1.0, (used + 1e-4) / cfg.warmup_share) if cfg.warmup_share else 1.0
    left = (1.0 - used) / cfg.decay_share if cfg.decay_share else 1.0
    return max(0.0, min(warm, left, 1.0))
