"""What a head pays for: the right token, the base's own distribution, the right decision, an honest confidence.

Cross entropy and total variation as in DSpark (2026), weighted by the chance that a position is reached (D-PACE, 2026).
Logits are the affair of `smoldiff_kernels.masked_loss`. Pointers into the prompt exist for one chunk of masked positions at a
time, and are computed again in the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from smoldiff.head.inputs import Queries
from smoldiff.head.memory import Memory, sees
from smoldiff.head.model import DiffusionHead, Encoded
from smoldiff.head.readings import LEAST_P, Readings, Rows, mixed
from smoldiff.head.tables import Tables
from smoldiff.head.taps import Taps
from smoldiff_kernels.masked_loss import LogProbs, masked_log_probs
from smoldiff_training.head.collate import Batch
from smoldiff_training.head.config import LossConfig
from smoldiff_training.head.examples import IGNORED, NULL

# Shapes: B examples, N tokens fed, Q queries, K positions with a label, V vocabulary, T wanted tokens of a position: its
# label, what is pointed at most, perhaps the base's best tokens. G questions.

NUM_COPIES = 3
"""So many tokens that are pointed at are looked at, beside the one of the best logit, for the head's best token."""


@dataclass(frozen=True, eq=False)
class PositionLosses:
    """Of each position with a label, in nats."""

    cross_entropy_K: Tensor
    variation_K: Tensor
    confidence_K: Tensor
    entropy_K: Tensor
    log_p_K: Tensor
    """Log-probability of the label, without a gradient."""
    is_best_K: Tensor
    """Whether the label is the head's best token."""


class HeadLoss(nn.Module):
    """The loss of a batch. The base is frozen, and no parameter of this module."""

    def __init__(self, head: DiffusionHead, base: Any, cfg: LossConfig) -> None:
        super().__init__()
        self.head, self.cfg = head, cfg
        # In tuples: the base's weights are not trained, saved or sent to other processes.
        self._base, self._tables = (base,), (Tables.of(base),)

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean loss, and what it is made of."""
        memory = self._remember(batch)
        queries = Queries(**{f.name: batch[f.name] for f in fields(Queries)})
        encoded = self.head.encode(memory, queries, self._tables[0])
        tokens, metrics = self._token_loss(encoded, batch)
        num_questions = self._shared(batch["group_BQ"].new_tensor(len(batch["implicit_G"])).float())
        decisions, more = decision_loss(self.head.decide(encoded), batch, num_questions)
        loss = tokens + self.cfg.decision_weight * decisions
        if self.head.config.has_tool_guess:
            guess, guess_metrics = self._guess_loss(batch)
            loss, more = loss + self.cfg.guess_weight * guess, {**more, **guess_metrics}
        return loss, {"loss": loss.detach(), **metrics, **more}

    def _guess_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean cross entropy of the tool guess over the examples with several tools, and the share that is right."""
        scores_BK = self.head.tool_guess(
            batch["guess_query_BL"], batch["guess_tools_BKM"], self._tables[0].embedding_VH
        )
        right_B = batch["guess_right_B"]
        is_asked_B = right_B >= 0
        total = self._shared(is_asked_B.sum().float()).clamp(min=1)
        losses_B = nn.functional.cross_entropy(
            scores_BK, right_B, ignore_index=-1, reduction="none"
        )
        is_right_B = (scores_BK.detach().argmax(1) == right_B) & is_asked_B
        accuracy = is_right_B.sum() / is_asked_B.sum().clamp(min=1)
        loss = losses_B.sum() / total
        return loss, {"guess_loss": loss.detach(), "guess_accuracy": accuracy}

    def _shared(self, total: Tensor) -> Tensor:
        """The mean of a total over all processes that train.

        Each process divides by it, so that the mean of their losses, and of their gradients, is that of one process with
        all examples. Every process must ask.
        """
        total = total.detach()
        if self.training and dist.is_available() and dist.is_initialized():
            dist.all_reduce(total)
            total = total / dist.get_world_size()
        return total

    def _remember(self, batch: Batch) -> Memory:
        ids_BN, lengths_B = batch["ids_BN"], batch["lengths_B"]
        positions_BN, fed_in_BN = batch["positions_BN"], batch["fed_in_BN"]
        # Padding stands behind the text, where a causal model never looks back from; it needs no mask.
        has_moments = bool(fed_in_BN.any())
        more = {"attention_mask": moment_mask(fed_in_BN)} if has_moments else {}
        taps = Taps(self.head.config.taps)
        with torch.no_grad(), taps.reading(self._base[0]):
            self._base[0](
                input_ids=ids_BN,
                position_ids=positions_BN,
                use_cache=False,
                logits_to_keep=1,
                **more,
            )
        if not self.head.config.has_template_states:
            lengths_B = batch["prompts_B"]
        return self.head.remember(
            ids_BN, taps.states_BTS(), lengths_B, positions_BN=positions_BN, fed_in_BN=fed_in_BN
        )

    def _token_loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        label_BQ = batch["label_BQ"]
        rows_K, queries_K = (label_BQ != IGNORED).nonzero(as_tuple=True)
        size = self.cfg.chunk_rows
        chunks = list(zip(rows_K.split(size), queries_K.split(size), strict=True))
        # A single chunk is kept: computing it again would save no memory at the peak.
        run = partial(checkpoint, use_reentrant=False) if len(chunks) > 1 else call
        parts = [run(self._read, encoded, batch, rows, at) for rows, at in chunks]
        read = [torch.cat(one) for one in zip(*parts, strict=True)]
        teacher_KT = batch["teacher_p_BQT"][rows_K, queries_K]
        each = self._positions(teacher_KT, *read)
        label_K = label_BQ[rows_K, queries_K]
        weight_K = self._weights(each, label_K, rows_K, queries_K, batch)
        cfg = self.cfg
        loss_K = (
            cfg.ce_weight * each.cross_entropy_K
            + cfg.tv_weight * each.variation_K
            + cfg.confidence_weight * each.confidence_K
            - cfg.entropy_weight * each.entropy_K
        )
        total = self._shared(weight_K.sum()).clamp(min=1e-6)
        return (weight_K * loss_K).sum() / total, self._metrics(each, label_K, weight_K / total)

    def _read(
        self, encoded: Encoded, batch: Batch, rows_K: Tensor, queries_K: Tensor
    ) -> tuple[Tensor, ...]:
        """The arguments of `_positions`, less the first."""
        at = Rows(rows_K, queries_K, batch["history_BQM"][rows_K, queries_K])
        found = self.head.readings(encoded, at, self._tables[0])
        label_K = batch["label_BQ"][rows_K, queries_K]
        null = len(self._tables[0].lm_head_VH) - (found.null_K is None)
        wanted = [torch.where(label_K == NULL, null, label_K)[:, None], most_copied(found)]
        if self.cfg.tv_weight or self.cfg.entropy_weight:
            wanted.append(batch["teacher_ids_BQT"][rows_K, queries_K])
        wanted_KT = torch.cat(wanted, 1)
        null_K = torch.zeros_like(found.copy_K) if found.null_K is None else found.null_K
        copied_KT = found.copied_at(wanted_KT)
        return found.out_KD, null_K, wanted_KT, copied_KT, found.copy_K, found.confidence_K

    def _positions(
        self,
        teacher_KT: Tensor,
        out_KD: Tensor,
        null_K: Tensor,
        wanted_KT: Tensor,
        copied_KT: Tensor,
        copy_K: Tensor,
        confidence_K: Tensor,
    ) -> PositionLosses:
        has_null_row = self.head.config.has_null_row
        each = masked_log_probs(
            out_KD,
            self._tables[0].lm_head_VH,
            wanted_KT,
            null_logits_K=null_K if has_null_row else None,
        )
        log_p_KT = mixed(each.log_p_KT.exp(), copied_KT, copy_K)
        cross_entropy_K = -log_p_KT[:, 0]
        if self.cfg.label_smoothing:
            cross_entropy_K = torch.lerp(
                cross_entropy_K, -each.mean_log_p_K, self.cfg.label_smoothing
            )
        is_best_K = self._is_best(out_KD, each, null_K, wanted_KT, copied_KT, copy_K, log_p_KT)
        bce_K = nn.functional.binary_cross_entropy_with_logits(
            confidence_K, is_best_K.float(), reduction="none"
        )
        variation_K = entropy_K = torch.zeros_like(cross_entropy_K)
        if self.cfg.tv_weight or self.cfg.entropy_weight:
            p_KT = log_p_KT[:, -teacher_KT.shape[1] :].exp()
            variation_K, entropy_K = variation(p_KT, teacher_KT), entropy(p_KT, teacher_KT)
        log_p_K = log_p_KT[:, 0].detach()
        return PositionLosses(cross_entropy_K, variation_K, bce_K, entropy_K, log_p_K, is_best_K)

    @torch.no_grad()
    def _is_best(
        self,
        out_KD: Tensor,
        each: LogProbs,
        null_K: Tensor,
        wanted_KT: Tensor,
        copied_KT: Tensor,
        copy_K: Tensor,
        log_p_KT: Tensor,
    ) -> Tensor:
        """Whether no other token is likelier than the label: none that is wanted, nor the one of the best logit."""
        lm_head_VH = self._tables[0].lm_head_VH
        rows_KD = lm_head_VH[each.best_K.clamp(max=len(lm_head_VH) - 1)]
        logit_K = (out_KD.float() * rows_KD.float()).sum(1)
        logit_K = torch.where(each.best_K == len(lm_head_VH), null_K.float(), logit_K)
        is_same_KT = wanted_KT == each.best_K[:, None]
        copied_K1 = (copied_KT * is_same_KT).amax(1, keepdim=True)
        best_K1 = mixed((logit_K - each.lse_K).exp()[:, None], copied_K1, copy_K)
        is_better_K = log_p_KT[:, 0] >= best_K1[:, 0]
        return (is_same_KT[:, 0] | is_better_K) & (log_p_KT[:, 0] >= log_p_KT.amax(1))

    def _weights(
        self,
        each: PositionLosses,
        label_K: Tensor,
        rows_K: Tensor,
        queries_K: Tensor,
        batch: Batch,
    ) -> Tensor:
        slot_K = batch["slot_BQ"][rows_K, queries_K]
        block_K = batch["block_BQ"][rows_K, queries_K]
        is_first_K = starts_of_runs(rows_K, block_K, slot_K)
        reach_K = exclusive_sums(each.log_p_K, is_first_K).mul(self.cfg.reach_alpha).exp()
        is_null_K = label_K == NULL
        was_null_K = torch.cat([is_null_K.new_zeros(1), is_null_K[:-1]]) & ~is_first_K
        weight_K = torch.where(is_null_K & was_null_K, self.cfg.null_weight, reach_K)
        if self.cfg.mdlm_weighting:
            weight_K = weight_K / batch["share_BQ"][rows_K, queries_K].clamp(min=0.05)
        return weight_K

    def _metrics(
        self, each: PositionLosses, label_K: Tensor, weight_K: Tensor
    ) -> dict[str, Tensor]:
        is_token_K = label_K != NULL
        num_tokens = is_token_K.sum().clamp(min=1)
        right = (each.is_best_K & is_token_K).sum() / num_tokens
        num_labels = max(1, len(label_K))
        return {
            "cross_entropy": (each.cross_entropy_K.detach() * weight_K).sum(),
            "variation": each.variation_K.detach().sum() / num_labels,
            "confidence_loss": each.confidence_K.detach().sum() / num_labels,
            "token_accuracy": right,
            "num_positions": is_token_K.sum(),
        }


def call(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


def moment_mask(fed_in_BN: Tensor) -> Tensor:
    """[B, 1, N, N] bool: a token sees those before it that were fed in its own moment, and the prompt."""
    num_tokens = fed_in_BN.shape[1]
    is_before_NN = torch.ones(
        num_tokens, num_tokens, dtype=torch.bool, device=fed_in_BN.device
    ).tril()
    return (is_before_NN & sees(fed_in_BN, fed_in_BN))[:, None]


def most_copied(found: Readings) -> Tensor:
    """The tokens at the places that are pointed at most, [K, T]."""
    num = min(NUM_COPIES, found.pointers_KN.shape[1])
    return found.ids_KN.gather(1, found.pointers_KN.detach().topk(num).indices)


def variation(p_KT: Tensor, base_KT: Tensor) -> Tensor:
    """Total variation between the head and the base, each over the base's best tokens and one rest; 0 without a base."""
    rest_K, base_rest_K = 1 - p_KT.sum(1), 1 - base_KT.sum(1)
    distance_K = ((p_KT - base_KT).abs().sum(1) + (rest_K - base_rest_K).abs()) / 2
    return torch.where(base_KT.sum(1) > 0, distance_K, 0.0)


def entropy(p_KT: Tensor, base_KT: Tensor) -> Tensor:
    """Of the head over the base's best tokens and one rest; 0 without a base."""
    rest_K = (1 - p_KT.sum(1)).clamp(min=LEAST_P)  # 0 would have no finite gradient
    entropy_K = torch.special.entr(p_KT).sum(1) + torch.special.entr(rest_K)
    return torch.where(base_KT.sum(1) > 0, entropy_K, 0.0)


def starts_of_runs(*keys: Tensor) -> Tensor:
    """Where any of the keys differs from the element before."""
    is_first_K = torch.zeros_like(keys[0], dtype=torch.bool)
    is_first_K[:1] = True
    for key in keys:
        is_first_K[1:] |= key[1:] != key[:-1]
    return is_first_K


def exclusive_sums(x_K: Tensor, is_first_K: Tensor) -> Tensor:
    """For each element the sum of those before it in its run."""
    before_K = x_K.cumsum(0) - x_K
    start_K = torch.where(is_first_K, torch.arange(len(x_K), device=x_K.device), 0)
    return before_K - before_K[start_K.cummax(0).values]


def decision_loss(
    scores_BQ: Tensor, batch: Batch, num_questions: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross entropy of the questions over a number of them, and the share that is answered right."""
    group_BQ = batch["group_BQ"]
    num_groups = len(batch["implicit_G"])
    if not num_groups:
        zero = scores_BQ.sum() * 0.0
        return zero, {"decision_loss": zero.detach(), "decision_accuracy": zero.detach() + 1.0}
    is_option_BQ = group_BQ >= 0
    scores_K, group_K = scores_BQ[is_option_BQ], group_BQ[is_option_BQ]
    is_right_K = batch["is_right_BQ"][is_option_BQ]
    least = torch.where(batch["has_implicit_G"], 0.0, -torch.inf)  # the option without a query
    top_G = least.scatter_reduce(0, group_K, scores_K.detach(), "amax")
    implicit_G = torch.where(batch["has_implicit_G"], (-top_G).exp(), 0.0)
    sums_G = implicit_G.index_add(0, group_K, (scores_K - top_G[group_K]).exp())
    right_G = torch.zeros_like(top_G).index_add(0, group_K, scores_K * is_right_K)
    loss_G = sums_G.log() + top_G - right_G
    has_label_G = (
        batch["implicit_G"]
        .clone()
        .index_put_((group_K[is_right_K],), torch.tensor(True, device=group_K.device))
    )
    loss_G = torch.where(has_label_G, loss_G, 0.0)
    accuracy = ((right_G.detach() >= top_G) & has_label_G).float().mean()
    loss = loss_G.sum() / num_questions
    return loss, {"decision_loss": loss.detach(), "decision_accuracy": accuracy}
