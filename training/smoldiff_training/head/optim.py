"""The head's optimisers and its learning rate."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from smoldiff_training.head.config import HeadOptimConfig
from smoldiff_training.optim.muon import Muon
from smoldiff_training.optim.optimizers import Optimizers
from smoldiff_training.optim.schedule import cosine, one_cycle, warm_stable_decay

BETAS = (0.9, 0.98)


def optimizer_kind(cfg: HeadOptimConfig, num_processes: int) -> Literal["muon", "adamw"]:
    """What `optimizer` means here: `auto` is Muon on several processes, which share its work, and AdamW on one."""
    if cfg.optimizer == "auto":
        return "muon" if num_processes > 1 else "adamw"
    return cfg.optimizer


def head_optimizers(head: nn.Module, cfg: HeadOptimConfig, num_processes: int) -> Optimizers:
    """Muon for matrices and AdamW for the rest, or AdamW for all.

    Beside Muon, AdamW moves the head's tables (`head.table_parameters()`, one row a thing) at Muon's rate: at its own
    they hardly train. Only matrices decay.
    """
    params = [p for p in head.parameters() if p.requires_grad]
    is_table = {id(p) for p in getattr(head, "table_parameters", list)()}
    tables = [p for p in params if id(p) in is_table]
    matrices = [p for p in params if p.ndim == 2 and id(p) not in is_table]
    is_matrix = {id(p) for p in matrices}
    rest = [p for p in params if id(p) not in is_table | is_matrix]
    decay = cfg.weight_decay
    if optimizer_kind(cfg, num_processes) == "adamw":
        adam = adamw(cfg.adam_lr, (matrices, cfg.adam_lr, decay), (tables + rest, cfg.adam_lr, 0.0))
        return Optimizers(params, [adam], cfg.max_grad_norm)
    muon = Muon(matrices, cfg.muon_lr, decay)
    adam = adamw(cfg.adam_lr, (tables, cfg.muon_lr, 0.0), (rest, cfg.adam_lr, 0.0))
    return Optimizers(params, [muon, adam], cfg.max_grad_norm)


def adamw(lr: float, *groups: tuple[list[nn.Parameter], float, float]) -> torch.optim.AdamW:
    """AdamW over groups of parameters, rate and weight decay, those without parameters left out."""
    named = [{"params": p, "lr": rate, "weight_decay": decay} for p, rate, decay in groups if p]
    on_gpu = any(p.is_cuda for params, _, _ in groups for p in params)
    return torch.optim.AdamW(named, lr=lr, betas=BETAS, fused=on_gpu)


def rate_at(used: float, cfg: HeadOptimConfig) -> float:
    """The learning rate's factor where a share of the budget is used."""
    match cfg.schedule:
        case "onecycle":
            return one_cycle(used, cfg.warmup_share, cfg.final_factor)
        case "cosine":
            return cosine(used, cfg.warmup_share, cfg.final_factor)
        case "wsd":
            return warm_stable_decay(used, cfg.warmup_share, cfg.decay_share, cfg.final_factor)
