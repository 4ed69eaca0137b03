"""Slots filled from left to right, all of them side by side, in tensors of fixed shapes: no step asks the host.

The same choices as those of `denoise`, whose steps are the reference: each position takes the best token from which an
accepted text can still be reached in the positions that are left, or ends the slot.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from smoldiff.decode.walk_tables import WalkTables
from smoldiff.head.memory import Memory
from smoldiff.head.model import LEAST_P, MAX_MATCH, DiffusionHead
from smoldiff.head.projected import Plain, Projected
from smoldiff_kernels.low_rank_scoring import low_rank_scoring

# Shapes: N slots, P positions that each may have, Q positions of all, V vocabulary, K tokens seen, M tokens of a history,
# C classes, D edges of a state.

NO_TEXT = -1
"""In `Walked.token_PN`: the slot ended here, or before."""


class Starts(NamedTuple):
    """Where the slots begin, int64."""

    row_N: Tensor
    """The first open position, among all."""
    automaton_N: Tensor
    state_N: Tensor
    """As `WalkTables` count them."""
    left_N: Tensor
    """Positions that are left; 0 for a slot that only fills up the bucket."""
    history_NM: Tensor
    """The tokens in front, the last one first."""


class Walked(NamedTuple):
    token_PN: Tensor
    """int64."""
    chance_PN: Tensor
    """float32: of the token's being right, or of the end's; the chance of nothing behind an end."""
    is_ended_N: Tensor
    """Whether the text ends inside its positions."""


class _Seen(NamedTuple):
    """What is known of the tokens seen before a walk begins."""

    before_MK: Tensor
    """The tokens in front of each, the nearest first."""
    group_NK: Tensor
    """A number that equal tokens share."""
    class_NK: Tensor
    """Of each slot's automaton."""
    table_KR: Tensor
    logits_QK: Tensor


def walk(
    head: DiffusionHead,
    projected: Projected,
    plain: Plain,
    memory: Memory,
    starts: Starts,
    tables: WalkTables,
    num_positions: int,
    num_classes: int,
    max_edges: int,
) -> Walked:
    """Fill the slots. No automaton among them has more classes, NO_CLASS included, and no state more edges."""
    seen = _seen(projected, plain, memory, starts, tables)
    cfg = head.config
    state_N, left_N, history_NM = starts.state_N, starts.left_N, starts.history_NM
    is_done_N = left_N <= 0
    is_ended_N = torch.zeros_like(is_done_N)
    edge_D = torch.arange(max_edges, device=state_N.device)
    tokens, chances = [], []
    for p in range(num_positions):
        row_N = (starts.row_N + p).clamp(max=len(plain.state_QR) - 1)
        inner_NR = projected.inner(plain, row_N, history_NM[:, 0])
        rest_NX = projected.rest(plain, row_N, inner_NR).float()
        query_NC = rest_NX[:, : cfg.copy_dim]
        gate_N, sure_N, null_N = rest_NX[:, -3], rest_NX[:, -2], rest_NX[:, -1].contiguous()
        # Edges, and the classes whose tokens lead on to an accepted text.
        own_ND = edge_D < tables.num_edges_S[state_N][:, None]
        at_ND = torch.where(own_ND, tables.first_edge_S[state_N][:, None] + edge_D, 0)
        class_ND = torch.where(own_ND, tables.class_E[at_ND], 0).long()
        target_ND = tables.target_E[at_ND].long()
        leads_ND = own_ND & (tables.steps_S[target_ND] < left_N[:, None])
        is_allowed_NC = torch.zeros(
            len(state_N), num_classes, dtype=torch.bool, device=state_N.device
        ).scatter_(1, class_ND, leads_ND)
        best = low_rank_scoring(
            plain.logits_QV,
            row_N,
            inner_NR.to(plain.logits_QV.dtype),
            projected.table_VR,
            is_allowed_NC,
            tables.class_AV,
            starts.automaton_N,
            null_N,
        )
        copy_N = gate_N.sigmoid()
        copied_NK = _copied(head, memory, seen, query_NC, history_NM)
        logits_NK = seen.logits_QK[row_N].float() + inner_NR.float() @ seen.table_KR.float().T
        plain_NK = (logits_NK - best.lse_N[:, None]).exp()
        p_NK = (1 - copy_N[:, None]) * plain_NK + copy_N[:, None] * copied_NK
        p_NK = p_NK.masked_fill(~is_allowed_NC.gather(1, seen.class_NK), -1.0)
        p_copy_N, place_N = p_NK.max(1)
        p_plain_N = (1 - copy_N) * (best.logit_N - best.lse_N).exp()
        # A token that was seen is likelier than its logit says; its copies stand among those of the tokens seen.
        token_N = torch.where(p_copy_N >= p_plain_N, memory.ids_BN[0][place_N], best.token_N)
        p_token_N = torch.maximum(p_copy_N, p_plain_N).clamp(min=LEAST_P)
        p_null_N = ((1 - copy_N) * (null_N - best.lse_N).exp()).clamp(min=LEAST_P)
        has_token_N = leads_ND.any(1)
        ends_N = tables.accepts_S[state_N] & ((p_null_N >= p_token_N) | ~has_token_N)
        chance_N = sure_N.sigmoid()
        if not cfg.has_confidence:
            chance_N = torch.where(ends_N, p_null_N, p_token_N)
        tokens.append(torch.where(is_done_N | ends_N, NO_TEXT, token_N))
        chances.append(chance_N)
        # Step on.
        class_N = tables.class_AV[starts.automaton_N, token_N.clamp(min=0)].long()
        state_N = (target_ND * (leads_ND & (class_ND == class_N[:, None]))).sum(1)
        left_N = left_N - 1
        is_full_N = (left_N <= 0) & ~ends_N
        now_ended_N = ends_N | (is_full_N & (tables.num_edges_S[state_N] == 0))
        is_ended_N = torch.where(is_done_N, is_ended_N, now_ended_N)
        is_done_N = is_done_N | ends_N | is_full_N
        history_NM = torch.cat([token_N[:, None], history_NM[:, :-1]], 1)
    return Walked(torch.stack(tokens), torch.stack(chances), is_ended_N)


def _seen(
    projected: Projected, plain: Plain, memory: Memory, starts: Starts, tables: WalkTables
) -> _Seen:
    ids_K = memory.ids_BN[0]
    before = [
        torch.nn.functional.pad(ids_K, (m + 1, 0), value=-2)[: len(ids_K)] for m in range(MAX_MATCH)
    ]
    group_K = torch.searchsorted(ids_K.sort().values, ids_K)
    return _Seen(
        torch.stack(before),
        group_K.expand(len(starts.row_N), -1),
        tables.class_AV[starts.automaton_N[:, None], ids_K].long(),
        projected.table_VR[ids_K],
        plain.logits_QV[:, ids_K],
    )


def _copied(
    head: DiffusionHead, memory: Memory, seen: _Seen, query_NC: Tensor, history_NM: Tensor
) -> Tensor:
    """[N, K]: how much each token that was seen is pointed at, at all the places where it stands."""
    keys_KC = memory.copy_BNC[0]
    scores_NK = (query_NC.to(keys_KC.dtype) @ keys_KC.T).float()
    scores_NK = scores_NK * head.config.copy_dim**-0.5
    is_same_NK = memory.is_seen_BN
    for before_K, token_N, bonus in zip(
        seen.before_MK, history_NM.unbind(1), head.copy_bonuses.float(), strict=True
    ):
        is_same_NK = is_same_NK & (before_K == token_N[:, None])
        scores_NK = scores_NK + bonus * is_same_NK
    pointers_NK = scores_NK.masked_fill(~memory.is_seen_BN, -torch.inf).softmax(-1)
    sums_NK = torch.zeros_like(pointers_NK).scatter_add_(1, seen.group_NK, pointers_NK)
    return sums_NK.gather(1, seen.group_NK)
