"""The walk in plain PyTorch: the specification."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from smoldiff_kernels.marks import NULL
from smoldiff_kernels.slot_walk.operands import (
    NO_TEXT,
    Automata,
    Context,
    Plain,
    Starts,
    Walked,
    Weights,
)

# Shapes as in `operands`; C also classes, D edges of a state.

LEAST_P = torch.finfo(torch.float32).tiny
"""A likelihood is no smaller."""


def slot_walk_reference(
    plain: Plain,
    weights: Weights,
    context: Context,
    automata: Automata,
    starts: Starts,
    num_positions: int,
    num_classes: int,
    has_confidence: bool,
) -> Walked:
    """Slots that are done go on, and what they say then is left out at the end."""
    ids_K, key_KC = context.ids_K, context.key_KC
    automaton_N, state_N, history_NM = starts.automaton_N, starts.state_N, starts.history_NM
    place_P1 = torch.arange(num_positions, device=ids_K.device)[:, None]
    left_PN = starts.left_N - place_P1
    row_PN = (starts.row_N + place_P1).clamp(max=len(plain.state_QR) - 1)
    edge_D = torch.arange(int(automata.state_SX[:, 1].max()), device=ids_K.device)
    class_NV = automata.class_AV[automaton_N].long()
    table_RV = weights.table_VR.float().T
    steps = []
    for row_N, left_N in zip(row_PN, left_PN, strict=True):
        inner_NR = functional.silu(weights.before_VR[history_NM[:, 0]] + plain.state_QR[row_N])
        inner_NR = inner_NR.to(plain.logits_QV.dtype).float()
        rest_NX = plain.rest_QX[row_N].float() + inner_NR @ weights.weight_XR.float().T
        copy_N1, null_N = rest_NX[:, -3:-2].sigmoid(), rest_NX[:, -1]
        # The classes whose tokens lead on to an accepted text.
        first_N, num_edges_N, accepts_N = automata.state_SX[state_N].unbind(1)
        is_edge_ND = edge_D < num_edges_N[:, None]
        edge_ND = (first_N[:, None] + edge_D) * is_edge_ND
        class_ND, target_ND, steps_ND = automata.edge_EX[edge_ND].unbind(2)
        is_way_ND = is_edge_ND & (steps_ND < left_N[:, None])
        is_allowed_NC = torch.zeros_like(class_ND[:, :1], dtype=torch.bool).repeat(1, num_classes)
        is_allowed_NC.scatter_(1, class_ND * is_way_ND, is_way_ND)
        is_allowed_NC[:, 0] = False  # of no edge, and what is no way was written there
        is_allowed_NV = is_allowed_NC.gather(1, class_NV)
        # Of all tokens, the best logit. One that was seen is likelier than its logit says, and stands among the copies.
        logits_NV = plain.logits_QV[row_N].float() + inner_NR @ table_RV
        lse_N = torch.cat([logits_NV, null_N[:, None]], 1).logsumexp(1)
        logit_N, token_N = logits_NV.masked_fill(~is_allowed_NV, -torch.inf).max(1)
        token_N = torch.where(logit_N > -torch.inf, token_N, NULL)
        p_2N = (torch.stack([logit_N, null_N]) - lse_N).exp() * (1 - copy_N1[:, 0])
        p_plain_N, p_null_N = p_2N
        # Of a token that was seen, all copies count.
        query_NC = rest_NX[:, :-3].to(key_KC.dtype).float()
        copied_NK = _copied(context, query_NC, history_NM, weights.bonus_M.float())
        p_NK = (logits_NV[:, ids_K] - lse_N[:, None]).exp() * (1 - copy_N1) + copied_NK * copy_N1
        p_NK = p_NK * is_allowed_NV[:, ids_K]
        p_copied_N = p_NK.amax(1)
        last = torch.iinfo(torch.long).max
        copied_N = torch.where(p_NK == p_copied_N[:, None], ids_K, last).amin(1)
        token_N = torch.where(p_copied_N > p_plain_N, copied_N, token_N)
        p_token_N = torch.maximum(p_copied_N, p_plain_N).clamp(min=LEAST_P)
        ends_N = (p_null_N.clamp(min=LEAST_P) >= p_token_N) & (accepts_N != 0)
        chance_N = torch.where(ends_N, p_null_N, p_token_N)
        if has_confidence:
            chance_N = rest_NX[:, -2].sigmoid()
        # Step on.
        class_N = class_NV.gather(1, token_N.clamp(min=0)[:, None])[:, 0] * (token_N != NULL)
        state_N = (target_ND * is_edge_ND * (class_ND == class_N[:, None])).sum(1)
        history_NM = torch.cat([token_N[:, None], history_NM[:, :-1]], 1)
        steps.append((token_N, chance_N, ends_N, state_N))
    token_PN, chance_PN, ends_PN, state_PN = map(torch.stack, zip(*steps, strict=True))
    has_ended_PN = (ends_PN & (left_PN > 0)).cumsum(0) > 0
    is_text_PN = (left_PN > 0) & ~has_ended_PN
    # A full slot has ended too where nothing may follow.
    is_stuck_PN = is_text_PN & (left_PN == 1) & (automata.state_SX[state_PN, 1] == 0)
    is_ended_N = has_ended_PN[-1] | is_stuck_PN.any(0)
    token_PN = torch.where(is_text_PN, token_PN, NO_TEXT)
    chance_bits_PN = chance_PN.float().view(torch.int32)
    return Walked(torch.cat([token_PN.int(), chance_bits_PN, is_ended_N[None].int()]))


def _copied(context: Context, query_NC: Tensor, history_NM: Tensor, bonus_M: Tensor) -> Tensor:
    """[N, K]: how much each token of the context is pointed at, at all the places where it stands."""
    ids_K, key_KC = context.ids_K, context.key_KC.float()
    before = [
        functional.pad(ids_K, (m + 1, 0), value=-2)[: len(ids_K)] for m in range(len(bonus_M))
    ]
    is_same_NMK = torch.stack(before) == history_NM[..., None]
    matches_NMK = is_same_NMK.cumprod(1, dtype=torch.float32)  # with all tokens nearer than it
    scores_NK = query_NC @ key_KC.T * key_KC.shape[1] ** -0.5
    scores_NK = scores_NK + (bonus_M[:, None] * matches_NMK).sum(1)
    is_seen_K = torch.arange(len(ids_K), device=ids_K.device) < context.num_seen_1
    pointers_NK = scores_NK.masked_fill(~is_seen_K, -torch.inf).softmax(-1)
    group_NK = torch.searchsorted(ids_K.sort().values, ids_K).expand_as(pointers_NK)
    sums_NK = torch.zeros_like(pointers_NK).scatter_add_(1, group_NK, pointers_NK)
    return sums_NK.gather(1, group_NK)
