"""What a head says of some positions: what is read off their states, and what that makes of each token."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from smoldiff.template.template import MASK

# Shapes: B rows, Q queries, N tokens seen, D hidden size of the base, K rows picked out of [B, Q], V vocabulary of the base,
# M tokens of a history, C width of the pointer, T tokens asked for.

MAX_MATCH = 3
"""How many tokens before a position are compared with those before a token that may be copied."""
LEAST_P = torch.finfo(torch.float32).tiny
"""Probabilities count as no less: a larger floor would leave what a base surely rules out without a gradient."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Some positions of a batch, each with the tokens before it in its slot, the last one first.

    rows_K (sorted), queries_K: where they stand. history_KM: token ids, NO_TOKEN where the slot begins.
    """

    rows_K: Tensor
    queries_K: Tensor
    history_KM: Tensor


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of some positions. A token's probability: (1 - copy) * softmax(logits) + copy * (pointers at that token)."""

    logits_KV: Tensor
    """[K, V + 1] float32; NULL is the last column."""
    copy_K: Tensor
    """Probability that the token is copied."""
    pointers_KN: Tensor
    """Where it is copied from; each row sums to 1."""
    ids_KN: Tensor
    """The tokens that are pointed at."""
    confidence_K: Tensor
    """Logit of the chance that the best token is right."""

    def log_probs_KV(self) -> Tensor:
        """[K, V + 1] float32."""
        plain_KV = self.logits_KV.softmax(-1)
        copied_KV = torch.zeros_like(plain_KV).scatter_add_(1, self.ids_KN, self.pointers_KN)
        return mixed(plain_KV, copied_KV, self.copy_K)


@dataclass(frozen=True, eq=False)
class Readings:
    """What is read off the states of some positions: `Scores` before the product with the LM head."""

    out_KD: Tensor
    """Times the LM head these are the logits of the tokens."""
    null_K: Tensor | None
    """Logit of NULL; None where the last row of the LM head stands for it."""
    copy_K: Tensor
    pointers_KN: Tensor
    ids_KN: Tensor
    confidence_K: Tensor

    def copied_at(self, tokens_KT: Tensor) -> Tensor:
        """How much is pointed at some tokens of each row: [K, T], differentiable, without a [K, V]."""
        is_at = (self.ids_KN == t[:, None] for t in tokens_KT.unbind(1))
        return torch.stack([(self.pointers_KN * is_at_KN).sum(1) for is_at_KN in is_at], 1)


def mixed(plain: Tensor, copied: Tensor, copy_K: Tensor) -> Tensor:
    """Log-probabilities of tokens by row, from what the logits and what the pointers give them."""
    copy_K1 = copy_K[:, None]
    return ((1 - copy_K1) * plain + copy_K1 * copied).clamp(min=LEAST_P).log()


def products(query_KC: Tensor, keys_BNC: Tensor, rows_K: Tensor) -> Tensor:
    """Each query times all keys of its row, [K, N]; `rows_K` is sorted."""
    if len(keys_BNC) == 1:
        return query_KC @ keys_BNC[0].T
    counts_B = torch.bincount(rows_K, minlength=len(keys_BNC))
    rank_K = (
        torch.arange(len(rows_K), device=rows_K.device) - (counts_B.cumsum(0) - counts_B)[rows_K]
    )
    query_BRC = query_KC.new_zeros(len(keys_BNC), int(counts_B.max()), query_KC.shape[1])
    query_BRC = query_BRC.index_put((rows_K, rank_K), query_KC)
    return (query_BRC @ keys_BNC.mT)[rows_K, rank_K]


def matched(ids_KN: Tensor, history_KM: Tensor) -> Tensor:
    """How many tokens in front of each token equal the last ones of the history: [K, N] int64, at most MAX_MATCH."""
    is_same_KN = torch.ones_like(ids_KN, dtype=torch.bool)
    num_KN = torch.zeros_like(ids_KN)
    for m in range(min(MAX_MATCH, history_KM.shape[1])):
        before_KN = functional.pad(ids_KN, (m + 1, 0), value=MASK - 1)[:, : ids_KN.shape[1]]
        is_same_KN = is_same_KN & (before_KN == history_KM[:, m, None])
        num_KN = num_KN + is_same_KN
    return num_KN
