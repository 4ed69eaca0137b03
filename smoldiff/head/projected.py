"""A head's scores as a part of each position alone and a low-rank part of the token in front of it.

What the head reads off a position is linear in its state, and the token in front moves that state by a vector of
`markov_rank` numbers (DSpark, 2026). So the LM head is read once for all positions; what follows a token costs [V, R].
"""

from __future__ import annotations

import torch
from torch.nn import functional

from smoldiff.head.beside import Beside
from smoldiff.head.config import HeadConfig
from smoldiff.head.fused import Passed
from smoldiff.head.model import DiffusionHead, normed
from smoldiff.head.tables import Tables
from smoldiff_kernels.slot_walk import Plain, Weights

# Shapes: Q positions of one row, V vocabulary, R rank, D hidden size of the base, C width of the pointer, X = C + 3 numbers:
# the pointer's query, the logits of copying, of the confidence and of NULL. Y = R + X, filled up.

CHUNK = 8192
"""Rows of the vocabulary that are projected at once."""
ALIGNED = 16
"""Columns of a product are a multiple of it."""


def can_be_projected(cfg: HeadConfig) -> bool:
    """Whether the head has the parts that make its scores what they are here."""
    return cfg.has_markov and cfg.has_copy and cfg.has_null_row


class Projected:
    """Tables made of a head and its base: 2 * V * R numbers. The head must not be trained on afterwards.

    The head itself is not kept: it is passed with each call.
    """

    @torch.no_grad()
    def __init__(self, head: DiffusionHead, tables: Tables) -> None:
        self.tables = tables
        behind_HR = head.markov_out.weight
        out_DR = (head.out.weight.float() @ behind_HR.float()).to(tables.lm_head_VH.dtype)
        self.table_VR = torch.cat([rows @ out_DR for rows in tables.lm_head_VH.split(CHUNK)])
        before = [
            head.markov_token(normed(rows, head.mask)) for rows in tables.embedding_VH.split(CHUNK)
        ]
        nothing_1R = before[0].new_zeros(1, before[0].shape[1])
        self.before_VR = torch.cat([*before, nothing_1R])
        """The last row, -1, is of no token."""
        sure = head.confidence if head.config.has_confidence else head.null  # not read then
        readers = [head.copy_query, head.copy_gate, sure, head.null]
        weight_XH = torch.cat([reader.weight for reader in readers])
        self.weight_XR = (weight_XH.float() @ behind_HR.float()).to(weight_XH.dtype)
        self._num_readers = len(weight_XH)
        # All that is read off a state, in one product; filled up, since products of odd sizes are slow.
        weights = [head.markov_state.weight, weight_XH]
        num_rows = sum(map(len, weights))
        filling = weight_XH.new_zeros(-num_rows % ALIGNED, weight_XH.shape[1])
        self._weight_YH = torch.cat([*weights, filling])
        self._bias_Y = weight_XH.new_zeros(len(self._weight_YH))
        at = len(head.markov_state.weight)
        for reader in readers:
            if reader.bias is not None:
                self._bias_Y[at : at + len(reader.bias)] = reader.bias
            at += len(reader.weight)

    def plain(self, head: DiffusionHead, passed: Passed) -> Plain:
        h_QH, lm_head_VH = passed.h_QH, self.tables.lm_head_VH
        rank = self.table_VR.shape[1]
        with Beside(h_QH.device) as beside:
            read_QY = functional.linear(h_QH, self._weight_YH, self._bias_Y)
        state_QR, rest_QX = read_QY[:, :rank], read_QY[:, rank : rank + self._num_readers]
        out_DH = head.out.weight.T
        if passed.anchored_QD is None:
            out_QD = h_QH @ out_DH
        else:
            out_QD = torch.addmm(passed.anchored_QD, h_QH, out_DH)
        logits_QV = functional.linear(out_QD.to(lm_head_VH.dtype), lm_head_VH)
        beside.join()
        return Plain(logits_QV, state_QR, rest_QX)

    def weights(self, head: DiffusionHead) -> Weights:
        """What a walk reads at every step."""
        return Weights(self.before_VR, self.table_VR, self.weight_XR, head.copy_bonuses)
