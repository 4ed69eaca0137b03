"""The moving average of the head's weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from smoldiff_training.optim.optimizers import cut_like, whole
from smoldiff_training.optim.sharing import local


class MovingAverage:
    """Of the trained parameters, by name. Young averages move faster: the first steps are forgotten soon."""

    def __init__(self, head: nn.Module, decay: float) -> None:
        self.decay = decay
        self.params = {n: p for n, p in head.named_parameters() if p.requires_grad}
        self.average = {n: p.detach().clone() for n, p in self.params.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after `step` steps."""
        move = get_ema_multi_avg_fn(min(self.decay, (1 + step) / (10 + step)))
        averages = [local(a) for a in self.average.values()]
        move(averages, [local(p.detach()) for p in self.params.values()], None)

    def state_dict(self) -> dict[str, Tensor]:
        """The average, whole. Where parameters are cut, every process must ask."""
        return {n: whole(a) for n, a in self.average.items()}

    def load_state_dict(self, saved: Mapping[str, Tensor]) -> None:
        for name, average in self.average.items():
            local(average).copy_(local(cut_like(saved[name], average)))
