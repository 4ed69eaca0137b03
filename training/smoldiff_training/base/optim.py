"""Muon for the base's matrices, AdamW for the rest."""

from __future__ import annotations

import torch
from torch import nn

from smoldiff_training.base.config import OptimConfig
from smoldiff_training.optim.muon import Muon
from smoldiff_training.optim.optimizers import Optimizers
from smoldiff_training.optim.schedule import warm_stable_decay


def base_optimizers(model: nn.Module, cfg: OptimConfig) -> Optimizers:
    """Both, at their peak rates. Embedding and LM head are rows of a table, not matrices."""
    named = dict(model.named_parameters())
    matrices = [
        p for n, p in named.items() if p.ndim == 2 and "embed" not in n and "lm_head" not in n
    ]
    is_matrix = {id(p) for p in matrices}
    rest = [p for p in named.values() if id(p) not in is_matrix]
    muon = Muon(matrices, cfg.muon_lr, cfg.weight_decay)
    adam = torch.optim.AdamW(
        rest, lr=cfg.adam_lr, betas=(0.9, 0.98), weight_decay=0.0, fused=rest[0].is_cuda
    )
    return Optimizers(named.values(), [muon, adam], cfg.max_grad_norm)


def rate_at(used: float, cfg: OptimConfig) -> float:
    """The learning rate's factor: a short warm-up, flat, then linear to zero over the last part."""
    return warm_stable_decay(used, cfg.warmup_share, cfg.decay_share)
