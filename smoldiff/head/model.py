"""The diffusion head: which tokens stand at a template's open positions, all at once.

Shape of DFlash (2026): fused states of a few base layers as keys and values of every layer, the base's embedding and
LM head shared and frozen. On top a low-rank term for the dependence on the token before (DSpark, 2026), a pointer into
what the base has seen (Vinyals et al., 2015; See et al., 2017), and a confidence. NULL and MASK have rows of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from smoldiff.head.config import HeadConfig
from smoldiff.head.inputs import (
    KINDS,
    MAX_INDEX,
    MAX_OFFSET,
    NO_TOKEN,
    NUM_BLOCKS,
    Queries,
)
from smoldiff.head.layers import Groups, HeadLayer, Norm, Rotary
from smoldiff.head.memory import Memory, sees
from smoldiff.head.readings import MAX_MATCH, Readings, Rows, Scores, matched, products
from smoldiff.head.tables import Tables
from smoldiff.head.tool_guess import ToolGuess
from smoldiff.template.template import MASK

# Shapes: B rows, Q queries, N tokens seen, S states of a token, H hidden size of the head, D of the base, L tokens of a
# name, K rows picked out of [B, Q], V vocabulary of the base, M tokens of a history, C width of the pointer.

NUM_GATES = 4
"""Offsets at which the base's own state at the anchor is added to the head's."""
RULED_OUT = -1e4


@dataclass(frozen=True, eq=False)
class Encoded:
    """What the layers make of a batch."""

    h_BQH: Tensor
    memory: Memory
    queries: Queries


class DiffusionHead(nn.Module):
    """A head for one base: `for_base` draws a new one, `from_pretrained` loads one."""

    def __init__(self, cfg: HeadConfig) -> None:
        super().__init__()
        self.config = cfg
        size, base_size = cfg.hidden_size, cfg.base.hidden_size
        self.fuse = nn.Linear(len(cfg.taps) * base_size, size, bias=False)
        self.fuse_norm = Norm(size)
        self.token_in = nn.Linear(base_size, size, bias=False)
        self.name_in = nn.Linear(base_size, size, bias=False)
        self.mask = nn.Parameter(torch.zeros(size))
        self.kinds = nn.Parameter(torch.zeros(len(KINDS), size))
        self.indices = nn.Parameter(torch.zeros(MAX_INDEX, size))
        self.fed = nn.Parameter(torch.zeros(size))
        self.layers = nn.ModuleList(HeadLayer(cfg) for _ in range(cfg.num_layers))
        self.norm = Norm(size)
        self.out = nn.Linear(size, base_size, bias=False)
        self.decision = nn.Linear(size, 1)
        if cfg.has_null_row:
            self.null = nn.Linear(size, 1)
        if cfg.has_slot_positions:
            self.places = nn.Parameter(torch.zeros(MAX_OFFSET, size))
        if cfg.has_anchor:
            self.anchor_in = nn.Linear(size, size, bias=False)
            self.anchor_gates = nn.Parameter(torch.eye(NUM_GATES)[0].clone())
        if cfg.has_markov:
            self.markov_token = nn.Linear(base_size, cfg.markov_rank, bias=False)
            self.markov_state = nn.Linear(size, cfg.markov_rank, bias=False)
            self.markov_out = nn.Linear(cfg.markov_rank, size, bias=False)
        if cfg.has_copy:
            self.copy_query = nn.Linear(size, cfg.copy_dim, bias=False)
            self.copy_key = nn.Linear(size, cfg.copy_dim, bias=False)
            self.copy_bonuses = nn.Parameter(torch.ones(MAX_MATCH))
            self.copy_gate = nn.Linear(size, 1)
        if cfg.has_confidence:
            self.confidence = nn.Linear(size, 1)
        if cfg.has_tool_guess:
            self.tool_guess = ToolGuess(base_size, cfg.base.vocab_size)
        self.rotary = Rotary(cfg.head_dim, cfg.rope_theta)
        self._is_checkpointing = False
        self._reset()

    def _reset(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for layer in self.layers:
            nn.init.zeros_(layer.attention.o_proj.weight)
            nn.init.zeros_(layer.down_proj.weight)
        for table in (self.mask, self.kinds, self.indices, self.fed):
            nn.init.normal_(table, std=0.1)
        if self.config.has_slot_positions:
            nn.init.normal_(self.places, std=0.1)
        nn.init.zeros_(self.out.weight)  # the first guess is the base's own where it has one
        if self.config.has_markov:
            nn.init.zeros_(self.markov_out.weight)
        if self.config.has_copy:
            nn.init.constant_(self.copy_gate.bias, -2.0)

    @classmethod
    def for_base(cls, model: Any, **sizes: Any) -> DiffusionHead:
        """A new head for a `smoldiff.Model`; `sizes` are fields of HeadConfig, the rest follows from the base.

        `num_taps` says how many layers of the base are read (default 5). Raises UnsupportedModel where the base's layout
        is none that a head can read.
        """
        from smoldiff.head.checkpoint import new_config

        return cls(new_config(model, **sizes))

    @classmethod
    def from_pretrained(cls, name: str, *, revision: str | None = None) -> DiffusionHead:
        """The head in a folder, or in a Hugging Face repository. Raises ModelNotFound, ModelError."""
        from smoldiff.head.checkpoint import load_head

        return load_head(cls, name, revision)

    def save_pretrained(self, folder: str | Path, *, dtype: torch.dtype = torch.bfloat16) -> None:
        """Write `head.json` and `head.safetensors`. The base's own weights are not in it."""
        from smoldiff.head.checkpoint import save_head

        save_head(self, Path(folder), dtype)

    def push_to_hub(self, repo_id: str, *, private: bool = False, token: str | None = None) -> str:
        """Upload what `save_pretrained` writes; returns the address of the commit."""
        from smoldiff.head.checkpoint import upload_head

        return upload_head(self, repo_id, private, token)

    def table_parameters(self) -> list[nn.Parameter]:
        """Parameters with one row for each of some things, which an optimiser of matrices must not mix."""
        tables = [self.kinds, self.indices]
        if self.config.has_slot_positions:
            tables.append(self.places)
        if self.config.has_tool_guess:
            tables += [self.tool_guess.query_weights, self.tool_guess.tool_weights]
        return tables

    def gradient_checkpointing_enable(self) -> None:
        """Compute the layers again in the backward pass instead of keeping what they computed."""
        self._is_checkpointing = True

    def remember(
        self,
        ids_BN: Tensor,
        states_BNS: Tensor,
        lengths_B: Tensor,
        start: int = 0,
        *,
        positions_BN: Tensor | None = None,
        fed_in_BN: Tensor | None = None,
    ) -> Memory:
        """What the head keeps of tokens that the base has seen; the first of them is the `start`-th of its row.

        positions_BN, fed_in_BN: where several moments go on behind one prompt, see Memory.
        """
        fused_BNH = self.fuse_norm(self.fuse(states_BNS.to(self.fuse.weight.dtype)))
        if positions_BN is None:
            stop = start + ids_BN.shape[1]
            positions_BN = torch.arange(start, stop, device=ids_BN.device).expand(ids_BN.shape)
        fed_in_BN = torch.zeros_like(ids_BN) if fed_in_BN is None else fed_in_BN
        angles = self.rotary.angles(positions_BN)
        seen = [layer.attention.seen(fused_BNH, angles) for layer in self.layers]
        copy_BNC = self.copy_key(fused_BNH) if self.config.has_copy else fused_BNH[..., :0]
        return Memory(
            ids_BN,
            lengths_B,
            positions_BN,
            fed_in_BN,
            fused_BNH,
            states_BNS[..., -self.config.base.hidden_size :],
            tuple(keys for keys, _ in seen),
            tuple(values for _, values in seen),
            copy_BNC,
        )

    def encode(self, memory: Memory, queries: Queries, tables: Tables) -> Encoded:
        """One denoise step."""
        x_BQH = self._inputs(memory, queries, tables)
        angles_Q = self.rotary.angles(_positions(memory, queries))
        groups = groups_of(memory, queries)
        for layer, keys, values in zip(self.layers, memory.keys, memory.values, strict=True):
            args = (x_BQH, keys, values, angles_Q, groups)
            x_BQH = (
                checkpoint(layer, *args, use_reentrant=False)
                if self._is_checkpointing and self.training
                else layer(*args)
            )
        return Encoded(self.norm(x_BQH), memory, queries)

    def _inputs(self, memory: Memory, queries: Queries, tables: Tables) -> Tensor:
        token_BQ1 = (queries.token_BQ != MASK)[..., None]
        tokens = self.token_in(
            normed(tables.embedding_VH[queries.token_BQ.clamp(min=0)], self.mask)
        )
        x_BQH = torch.where(token_BQ1, tokens, self.mask)
        x_BQH = x_BQH + self.name_in(self._names(queries.names_BQL, tables))
        x_BQH = x_BQH + _rows(self.kinds, queries.kind_BQ) + _rows(self.indices, queries.index_BQ)
        x_BQH = x_BQH + queries.is_fed_BQ[..., None].to(x_BQH.dtype) * self.fed
        if self.config.has_slot_positions:
            x_BQH = x_BQH + _rows(self.places, queries.place_BQ.clamp(max=MAX_OFFSET - 1))
        if self.config.has_anchor:
            anchors_BQ = _kept(queries.anchor_BQ, memory.lengths_B[:, None])
            x_BQH = x_BQH + self.anchor_in(_at(memory.fused_BNH, anchors_BQ))
        return x_BQH

    def _names(self, names_BQL: Tensor, tables: Tables) -> Tensor:
        """The mean of a name's token embeddings."""
        is_token = (names_BQL != NO_TOKEN)[..., None]
        tokens = normed(tables.embedding_VH[names_BQL.clamp(min=0)], self.mask) * is_token
        return tokens.sum(2) / is_token.sum(2).clamp(min=1).to(tokens.dtype)

    def decide(self, encoded: Encoded) -> Tensor:
        """A score for each query that is an option of a question, [B, Q] float32."""
        return self.decision(encoded.h_BQH)[..., 0].float()

    def scores(self, encoded: Encoded, at: Rows, tables: Tables) -> Scores:
        """Scores of the tokens at some positions, given the tokens before them."""
        found = self.readings(encoded, at, tables)
        logits_KV = nn.functional.linear(found.out_KD, tables.lm_head_VH)
        null_K = logits_KV[:, -1] if found.null_K is None else found.null_K
        if found.null_K is None:
            logits_KV = _without_last(logits_KV)
        logits_KV = torch.cat([logits_KV.float(), null_K[:, None].float()], 1)
        return Scores(logits_KV, found.copy_K, found.pointers_KN, found.ids_KN, found.confidence_K)

    def readings(self, encoded: Encoded, at: Rows, tables: Tables) -> Readings:
        """What is read off the states of some positions, given the tokens before them."""
        u_KH = self._behind(encoded.h_BQH[at.rows_K, at.queries_K], at.history_KM, tables)
        out_KD = self.out(u_KH)
        if self.config.has_anchor:
            out_KD = out_KD + self.anchored(encoded, at.rows_K, at.queries_K)
        copy_K, pointers_KN = self._copied(encoded, at, u_KH)
        confidence_K = (
            self.confidence(u_KH)[:, 0].float()
            if self.config.has_confidence
            else copy_K.new_zeros(len(copy_K))
        )
        return Readings(
            out_KD.to(tables.lm_head_VH.dtype),
            self.null(u_KH)[:, 0] if self.config.has_null_row else None,
            copy_K,
            pointers_KN,
            encoded.memory.ids_BN[at.rows_K],
            confidence_K,
        )

    def _behind(self, h_KH: Tensor, history_KM: Tensor, tables: Tables) -> Tensor:
        """The states of positions, moved by the token in front of each."""
        if not self.config.has_markov:
            return h_KH
        before_K = history_KM[:, 0]
        is_token = (before_K != NO_TOKEN)[:, None]
        tokens = normed(tables.embedding_VH[before_K.clamp(min=0)], self.mask) * is_token
        inner = nn.functional.silu(self.markov_token(tokens) + self.markov_state(h_KH))
        return h_KH + self.markov_out(inner)

    def anchored(self, encoded: Encoded, rows_K: Tensor, queries_K: Tensor) -> Tensor:
        """The base's final state at the anchor, as much of it as counts at each offset."""
        anchors_K = encoded.queries.anchor_BQ[rows_K, queries_K]
        anchors_K = _kept(anchors_K, encoded.memory.lengths_B[rows_K])
        offsets_K = encoded.queries.offset_BQ[rows_K, queries_K]
        final_KD = encoded.memory.final_BND[rows_K, anchors_K]
        gates_K = torch.where(
            offsets_K < NUM_GATES, _rows(self.anchor_gates, offsets_K.clamp(max=NUM_GATES - 1)), 0.0
        )
        return gates_K[:, None].to(self.out.weight.dtype) * final_KD.to(self.out.weight.dtype)

    def _copied(self, encoded: Encoded, at: Rows, u_KH: Tensor) -> tuple[Tensor, Tensor]:
        """Whether each token is copied, [K], and from where, [K, N]: float32 probabilities."""
        memory = encoded.memory
        ids_KN = memory.ids_BN[at.rows_K]
        if not self.config.has_copy:
            return u_KH.new_zeros(len(u_KH)).float(), torch.zeros_like(ids_KN, dtype=torch.float32)
        scores_KN = products(self.copy_query(u_KH), memory.copy_BNC, at.rows_K).float()
        matches_KN = matched(ids_KN, at.history_KM)
        scores_KN = scores_KN * self.config.copy_dim**-0.5
        for num, bonus in enumerate(self.copy_bonuses.float(), 1):
            scores_KN = scores_KN + bonus * (matches_KN >= num)
        moment_K = encoded.queries.moment_BQ[at.rows_K, at.queries_K]
        is_seen_KN = memory.is_seen_BN[at.rows_K]
        is_seen_KN = is_seen_KN & sees(moment_K[:, None], memory.fed_in_BN[at.rows_K])[:, 0]
        pointers_KN = scores_KN.masked_fill(~is_seen_KN, -torch.inf).softmax(-1)
        return self.copy_gate(u_KH)[:, 0].float().sigmoid(), pointers_KN


def _without_last(logits_KV: Tensor) -> Tensor:
    """The logits with the last token ruled out: its row stands for NULL, and may not count twice."""
    return torch.cat([logits_KV[:, :-1], torch.full_like(logits_KV[:, :1], RULED_OUT)], 1)


def _positions(memory: Memory, queries: Queries) -> Tensor:
    """[B, Q]: where the queries stand, also behind an anchor that is not remembered."""
    last = memory.num_tokens - 1
    kept_BQ = queries.anchor_BQ.clamp(max=last)
    anchors_BQ = memory.positions_BN.gather(1, kept_BQ) + (queries.anchor_BQ - kept_BQ)
    return anchors_BQ + 1 + queries.offset_BQ


def groups_of(memory: Memory, queries: Queries) -> Groups:
    """Queries see what was seen, and the queries of the same block and moment; padding sees padding."""
    template_BQ = 1 + queries.block_BQ + NUM_BLOCKS * queries.moment_BQ
    return {
        "context_lengths": memory.lengths_B.int(),
        "context_group": memory.fed_in_BN.int().contiguous(),
        "template_context_group": queries.moment_BQ.int().contiguous(),
        "template_group": template_BQ.int().contiguous(),
    }


def _kept(anchors: Tensor, lengths: Tensor) -> Tensor:
    """The anchors, or the last token that is remembered: without the template's states that is the prompt's."""
    return torch.minimum(anchors, lengths - 1)


def _rows(table_RH: Tensor, index_BQ: Tensor) -> Tensor:
    """Rows of a small table. As a product: the backward pass of an indexing takes equal indices one by one."""
    return nn.functional.one_hot(index_BQ, len(table_RH)).to(table_RH.dtype) @ table_RH


def _at(x_BNH: Tensor, index_BQ: Tensor) -> Tensor:
    return x_BNH.gather(1, index_BQ[..., None].expand(-1, -1, x_BNH.shape[2]))


def normed(embedded: Tensor, like: Tensor) -> Tensor:
    """Token embeddings of length 1 a dimension: their scale differs from base to base."""
    return nn.functional.rms_norm(embedded.float(), embedded.shape[-1:], eps=1e-6).to(like.dtype)
