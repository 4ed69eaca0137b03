"""A head's pass over the queries of one row, for drafts: products that read the same rows are one, what stands between them
is one launch each (`smoldiff_kernels.head_pass`). The same numbers as `DiffusionHead.encode`, to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from smoldiff.head.inputs import NUM_BLOCKS, Queries
from smoldiff.head.layers import HeadLayer
from smoldiff.head.memory import Memory
from smoldiff.head.model import DiffusionHead
from smoldiff.head.packed import PackedMemory, Packing
from smoldiff.head.tables import Tables
from smoldiff_kernels.head_attention import head_attention
from smoldiff_kernels.head_pass import Asked, Rows, Seen, add_norm, gated, inputs, norm_rotary

# Shapes: Q queries, H hidden size of the head, D of the base, A query heads, G key/value heads, E head width.


class Passed(NamedTuple):
    """What the layers make of the queries."""

    h_QH: Tensor
    anchored_QD: Tensor | None
    """The base's final state at the anchors, as much of it as counts; None for a head without anchors."""


class FusedLayer:
    """Weights of a layer, joined."""

    def __init__(self, layer: HeadLayer) -> None:
        attention = layer.attention
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        self.qkv_OH = torch.cat([one.weight for one in projections])
        self.out_HO = attention.o_proj.weight.detach()
        self.gate_up_IH = torch.cat([layer.gate_proj.weight, layer.up_proj.weight])
        self.down_HI = layer.down_proj.weight.detach()
        q_AE = attention.q_norm.weight.expand(attention.num_heads, -1)
        k_GE = attention.k_norm.weight.expand(attention.num_kv_heads, -1)
        self.norm_AE = torch.cat([q_AE, k_GE])
        self.attention_norm_H = layer.attention_norm.weight.detach()
        self.mlp_norm_H = layer.mlp_norm.weight.detach()


class FusedHead:
    """Made of a head, which must not be trained on afterwards."""

    @torch.no_grad()
    def __init__(self, head: DiffusionHead, tables: Tables) -> None:
        cfg = head.config
        self._num_heads, self._num_turned = cfg.num_heads, cfg.num_heads + cfg.num_kv_heads
        self._head_dim = cfg.head_dim
        readers = [head.token_in, head.name_in, *([head.anchor_in] if cfg.has_anchor else [])]
        self._in_HX = torch.cat([one.weight for one in readers], 1)
        self._rows = Rows(
            head.mask.detach(),
            head.kinds.detach(),
            head.indices.detach(),
            head.fed.detach(),
            head.places.detach() if cfg.has_slot_positions else None,
            head.anchor_gates.detach() if cfg.has_anchor else None,
        )
        self._layers = [FusedLayer(layer) for layer in head.layers]
        self._norm_H = head.norm.weight.detach()
        self._fuse_HS = head.fuse.weight.detach()
        self._fuse_norm_H = head.fuse_norm.weight.detach()
        attentions = [layer.attention for layer in head.layers]
        seen = [*(one.k_proj for one in attentions), *(one.v_proj for one in attentions)]
        seen += [head.copy_key] if cfg.has_copy else []
        self._seen_OH = torch.cat([one.weight for one in seen])
        norms = [one.k_norm.weight.expand(cfg.num_kv_heads, -1) for one in attentions]
        self._key_norm_AE = torch.cat(norms)
        self._decision = head.decision
        self._embedding_VD = tables.embedding_VH
        self._frequency_F = head.rotary.frequencies(self._embedding_VD.device)
        self.packing = Packing(cfg, self._embedding_VD.device)

    def remember(self, ids: Sequence[int], states_TS: Tensor, start: int) -> PackedMemory:
        """What the head keeps of tokens that the base has just seen, the `start`-th of their row first.

        Its positions and its length are those of a row that begins here, as for the part of a memory they do not count.
        """
        states_TS = states_TS.to(self._fuse_HS.dtype)
        _, fused_TH = add_norm(functional.linear(states_TS, self._fuse_HS), None, self._fuse_norm_H)
        seen_TO = functional.linear(fused_TH, self._seen_OH)
        num_keys = self._key_norm_AE.numel()
        turned_TAE = norm_rotary(
            seen_TO[:, :num_keys].unflatten(1, self._key_norm_AE.shape),
            self._key_norm_AE,
            self.packing.counts(start, start + len(ids)),
            self._frequency_F,
        )
        final_TD = states_TS[:, -self._embedding_VD.shape[1] :]
        parts = [fused_TH, final_TD, turned_TAE.flatten(1), seen_TO[:, num_keys:]]
        ids_1T = torch.tensor([ids], device=states_TS.device)
        return self.packing.memory(ids_1T, torch.cat(parts, 1))

    def decide(self, memory: Memory, queries: Queries) -> Tensor:
        """[Q] float32: a score for each query that is an option of a question."""
        scores_Q1: Tensor = self._decision(self.encode(memory, queries).h_QH)
        return scores_Q1[:, 0].float()

    def encode(self, memory: Memory, queries: Queries) -> Passed:
        """One pass. The memory's tokens stand at positions 0, 1, ... and were fed in one moment."""
        asked = Asked(
            queries.block_BQ[0],
            queries.kind_BQ[0],
            queries.anchor_BQ[0],
            queries.offset_BQ[0],
            queries.place_BQ[0],
            queries.index_BQ[0],
            queries.is_fed_BQ[0],
            queries.token_BQ[0],
            queries.moment_BQ[0],
            queries.names_BQL[0],
        )
        seen = Seen(self._embedding_VD, memory.fused_BNH[0], memory.final_BND[0], memory.lengths_B)
        made = inputs(asked, seen, self._rows, num_blocks=NUM_BLOCKS)
        x_QH, more_QH = made.base_QH, functional.linear(made.x_QX, self._in_HX)
        groups = {
            "context_lengths": made.num_seen_1,
            "template_group": made.group_Q[None],
        }
        for layer, keys, values in zip(self._layers, memory.keys, memory.values, strict=True):
            x_QH, normed_QH = add_norm(x_QH, more_QH, layer.attention_norm_H)
            qkv_QO = functional.linear(normed_QH, layer.qkv_OH)
            qkv_QAE = qkv_QO.view(len(qkv_QO), -1, self._head_dim)
            turned_QAE = norm_rotary(
                qkv_QAE[:, : self._num_turned], layer.norm_AE, made.position_Q, self._frequency_F
            )
            attended = head_attention(
                turned_QAE[None, :, : self._num_heads],
                keys.transpose(1, 2),
                values.transpose(1, 2),
                turned_QAE[None, :, self._num_heads :],
                qkv_QAE[None, :, self._num_turned :],
                **groups,
            )
            more_QH = functional.linear(attended[0].flatten(1), layer.out_HO)
            x_QH, normed_QH = add_norm(x_QH, more_QH, layer.mlp_norm_H)
            inner_QI = gated(functional.linear(normed_QH, layer.gate_up_IH))
            more_QH = functional.linear(inner_QI, layer.down_HI)
        return Passed(add_norm(x_QH, more_QH, self._norm_H)[1], made.anchored_QD)
