"""The packed model with its loss: logits only where the loss is, weighted by token.

Shapes: T packed positions, K positions in the loss, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from smoldiff_training.base.model import packed_hidden

Batch = dict[str, Tensor]


def weighted_loss(
    hidden_TN: Tensor, head_VN: Tensor, at_K: Tensor, targets_K: Tensor, weights_K: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean cross entropy in nats over weights, and the same over answer tokens (weight 1) alone."""
    logits_KV = nn.functional.linear(hidden_TN[at_K], head_VN)
    nats_K = nn.functional.cross_entropy(logits_KV.float(), targets_K, reduction="none")
    is_answer_K = (weights_K == 1.0).float()
    answer = (nats_K * is_answer_K).sum() / is_answer_K.sum().clamp(min=1)
    return (nats_K * weights_K).sum() / weights_K.sum(), answer.detach()


class PackedLoss(nn.Module):
    """Wraps the language model so that one forward gives the loss of a packed row."""

    def __init__(self, model: Any, max_seqlen: int, is_compiled: bool) -> None:
        super().__init__()
        self.lm = model
        self.max_seqlen = max_seqlen
        self.loss = torch.compile(weighted_loss, dynamic=False) if is_compiled else weighted_loss
        if is_compiled:
            # One region a layer: the layers share their code, so two graphs serve all of them.
            torch._dynamo.config.cache_size_limit = 64
            for layer in model.model.layers:
                layer.compile(dynamic=False)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        ids_1T, positions_1T = batch["ids"][None], batch["positions"][None]
        with torch.autocast(ids_1T.device.type, torch.bfloat16, enabled=ids_1T.is_cuda):
            hidden = packed_hidden(
                self.lm, ids_1T, positions_1T, batch["cu_seqlens"], self.max_seqlen
            )
            head = self.lm.lm_head.weight
            return self.loss(hidden[0], head, batch["loss_at"], batch["targets"], batch["weights"])
