"""Several optimisers behind one step, and their states whole, however the parameters are cut."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from smoldiff_training.optim.muon import Muon


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor. Where it is cut, every process must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def cut_like(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, cut as `like` is."""
    if not isinstance(like, DTensor):
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)


class Optimizers:
    """Each at its own peak rate, times one factor a step."""

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        optimizers: Iterable[torch.optim.Optimizer],
        max_grad_norm: float,
    ) -> None:
        self.params, self.optimizers = list(params), list(optimizers)
        self.max_grad_norm = max_grad_norm
        self.peaks = [[g["lr"] for g in o.param_groups] for o in self.optimizers]

    def step(self, factor: float) -> Tensor:
        """One update at `factor` of the peak rates. Returns the gradients' norm before clipping."""
        norm = whole(nn.utils.clip_grad_norm_(self.params, self.max_grad_norm))
        for optimizer, peaks in zip(self.optimizers, self.peaks, strict=True):
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * factor
        # The rest runs while Muon's processes exchange their shares.
        muons = [o for o in self.optimizers if isinstance(o, Muon)]
        for muon in muons:
            muon.begin()
        for optimizer in self.optimizers:
            if optimizer not in muons:
                optimizer.step()
        for muon in muons:
            muon.finish()
        for p in self.params:
            p.grad = None
        return norm

    def state_dict(self) -> list[dict[str, Any]]:
        """The states, whole and on the CPU. Where parameters are cut, every process must ask."""
        return [
            {
                "state": {
                    i: {k: whole(v).cpu() if isinstance(v, Tensor) else v for k, v in s.items()}
                    for i, s in state["state"].items()
                },
                "param_groups": state["param_groups"],
            }
            for state in (o.state_dict() for o in self.optimizers)
        ]

    def load_state_dict(self, states: Sequence[dict[str, Any]]) -> None:
        for optimizer, saved in zip(self.optimizers, states, strict=True):
            params = [p for g in optimizer.param_groups for p in g["params"]]
            state = {
                # A step count is a number; what has the shape of its parameter is cut like it.
                i: {k: cut_like(v, params[i]) if v.ndim else v for k, v in s.items()}
                for i, s in saved["state"].items()
            }
            optimizer.load_state_dict({**saved, "state": state})
