"""Muon: `torch.optim.Muon` with `match_rms_adamw`, batched by shape and shared out over the processes."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from smoldiff_training.optim.orthogonal import by_shape
from smoldiff_training.optim.sharing import Work, local, start


class Muon(torch.optim.Optimizer):
    """For matrices only. `begin` starts the exchange with other processes and `finish` ends it; `step` does both.

    Under DDP each process keeps the whole momentum, so that a checkpoint fits any number of them; under FSDP2 its rows.
    FSDP1 is not supported: its parameters are flat, not matrices.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self._pending: list[tuple[dict[str, float], list[nn.Parameter], Work]] = []
        for group in self.param_groups:
            for p in group["params"]:
                if p.ndim != 2:
                    raise ValueError(f"Muon takes matrices; a parameter has shape {tuple(p.shape)}")

    @torch.no_grad()
    def begin(self) -> None:
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                work = start(self._nesterov(params, group["momentum"]))
                self._pending.append((group, params, work))

    @torch.no_grad()
    def finish(self) -> None:
        for group, params, work in self._pending:
            updates = work.result()
            for places in by_shape([p.shape for p in params]):
                held = [local(params[i]) for i in places]
                scale = 0.2 * math.sqrt(max(params[places[0]].shape))
                torch._foreach_mul_(held, 1 - group["lr"] * group["weight_decay"])
                moved = [updates[i].to(p.dtype) for i, p in zip(places, held, strict=True)]
                torch._foreach_add_(held, moved, alpha=-group["lr"] * scale)
        self._pending.clear()

    def step(self, closure: None = None) -> None:
        self.begin()
        self.finish()

    def _nesterov(self, params: list[nn.Parameter], momentum: float) -> list[Tensor]:
        """The gradients with momentum, in new memory; as DTensors where the parameters are."""
        for p in params:
            if "momentum_buffer" not in self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        buffers = [local(self.state[p]["momentum_buffer"]) for p in params]
        updates = [p.grad.clone() for p in params]
        torch._foreach_lerp_(buffers, [local(u) for u in updates], 1 - momentum)
        torch._foreach_lerp_([local(u) for u in updates], buffers, momentum)
        return updates
