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
    """What is known of the tokens seen before a walk begins. Small tensors are float32: no step converts them."""

    before_MK: Tensor
    """The tokens in front of each, the nearest first."""
    group_NK: Tensor
    """A number that equal tokens share."""
    class_NK: Tensor
    """Of each slot's automaton."""
    table_RK: Tensor
    logits_QK: Tensor
    keys_CK: Tensor
    hidden_1K: Tensor
    """-inf at the tokens that were not seen, else 0."""


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
    """Fill the slots. No automaton among them has more classes, NO_CLASS included, and no state more edges.

    A GPU takes about as long for a launch as for a step's small tensors, so steps are written in few of them; slots that
    are done go on, and what they say then is left out at the end.
    """
    seen = _seen(head, projected, plain, memory, starts, tables)
    cfg, ids_K, num_slots = head.config, memory.ids_BN[0], len(starts.row_N)
    state_N, history_NM = starts.state_N, starts.history_NM
    place_P1 = torch.arange(num_positions, device=ids_K.device)[:, None]
    left_PN = starts.left_N - place_P1
    row_PN = (starts.row_N + place_P1).clamp(max=len(plain.state_QR) - 1)
    edge_D = torch.arange(max_edges, device=ids_K.device)
    bonus_M1 = head.copy_bonuses.float()[:, None]
    steps = []
    for row_N, left_N in zip(row_PN, left_PN, strict=True):
        inner_NR = projected.inner(plain, row_N, history_NM[:, 0])
        rest_NX = projected.rest(plain, row_N, inner_NR).float()
        copy_N1, null_N = rest_NX[:, -3:-2].sigmoid(), rest_NX[:, -1].contiguous()
        # The classes whose tokens lead on to an accepted text.
        first_N, num_edges_N, accepts_N = tables.state_SX[state_N].unbind(1)
        edge_ND = (first_N[:, None] + edge_D) * (edge_D < num_edges_N[:, None])  # or NO_EDGE
        class_ND, target_ND, steps_ND = tables.edge_EX[edge_ND].unbind(2)
        is_allowed_NC = torch.zeros(num_slots, num_classes, dtype=torch.bool, device=ids_K.device)
        is_allowed_NC.scatter_(1, class_ND, steps_ND < left_N[:, None])
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
        # Of a token that was seen, all copies count.
        copied_NK = _copied(seen, rest_NX[:, : cfg.copy_dim], history_NM, bonus_M1)
        logits_NK = torch.addmm(seen.logits_QK[row_N], inner_NR.float(), seen.table_RK)
        p_NK = torch.lerp((logits_NK - best.lse_N[:, None]).exp(), copied_NK, copy_N1)
        p_copied_N, at_N = (p_NK * is_allowed_NC.gather(1, seen.class_NK)).max(1)
        # Of all tokens, the best logit. One that was seen is likelier than its logit says, and stands among the copies.
        p_2N = torch.stack([best.logit_N, null_N]).sub_(best.lse_N).exp_() * (1 - copy_N1[:, 0])
        p_plain_N, p_null_N = p_2N
        token_N = torch.where(p_copied_N > p_plain_N, ids_K[at_N], best.token_N)
        p_token_N = torch.maximum(p_copied_N, p_plain_N).clamp(min=LEAST_P)
        ends_N = (p_null_N.clamp(min=LEAST_P) >= p_token_N) * accepts_N
        chance_N = rest_NX[:, -2]
        if not cfg.has_confidence:
            chance_N = torch.where(ends_N > 0, p_null_N, p_token_N).logit()
        # Step on.
        class_N = tables.class_AV[starts.automaton_N, token_N]
        state_N = (target_ND * (class_ND == class_N[:, None])).sum(1)
        history_NM = torch.cat([token_N[:, None], history_NM[:, :-1]], 1)
        steps.append((token_N, chance_N, ends_N, state_N))
    token_PN, chance_PN, ends_PN, state_PN = map(torch.stack, zip(*steps, strict=True))
    has_ended_PN = (ends_PN * (left_PN > 0)).cumsum(0) > 0
    is_text_PN = (left_PN > 0) & ~has_ended_PN
    # A full slot has ended too where nothing may follow.
    is_stuck_PN = is_text_PN & (left_PN == 1) & (tables.state_SX[state_PN, 1] == 0)
    is_ended_N = has_ended_PN[-1] | is_stuck_PN.any(0)
    return Walked(torch.where(is_text_PN, token_PN, NO_TEXT), chance_PN.sigmoid(), is_ended_N)


def _seen(
    head: DiffusionHead,
    projected: Projected,
    plain: Plain,
    memory: Memory,
    starts: Starts,
    tables: WalkTables,
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
        projected.table_VR[ids_K].float().T.contiguous(),
        plain.logits_QV[:, ids_K].float(),
        (memory.copy_BNC[0].float() * head.config.copy_dim**-0.5).T.contiguous(),
        torch.where(memory.is_seen_BN, 0.0, -torch.inf),
    )


def _copied(seen: _Seen, query_NC: Tensor, history_NM: Tensor, bonus_M1: Tensor) -> Tensor:
    """[N, K]: how much each token that was seen is pointed at, at all the places where it stands."""
    scores_NK = torch.addmm(seen.hidden_1K, query_NC, seen.keys_CK)
    is_same_NMK = seen.before_MK == history_NM[..., None]
    matches_NMK = is_same_NMK.cumprod(1, dtype=torch.float32)  # with all tokens nearer than it
    pointers_NK = (scores_NK + (bonus_M1 * matches_NMK).sum(1)).softmax(-1)
    sums_NK = torch.zeros_like(pointers_NK).scatter_add_(1, seen.group_NK, pointers_NK)
    return sums_NK.gather(1, seen.group_NK)
