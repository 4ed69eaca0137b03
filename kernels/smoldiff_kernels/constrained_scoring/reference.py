"""Constrained scoring in plain PyTorch: the specification."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear

from smoldiff_kernels.constrained_scoring.noise import (
    DRAWN_SEGMENT,
    SEGMENT_BIT,
    Noise,
    gumbel_noise,
)
from smoldiff_kernels.constrained_scoring.token_sets import TokenSets

# Shapes: N rows, H hidden size, V vocabulary, W words of a mask, X extra tokens, U tokens that are read and the extra ones,
# C classes of the set that has the most, and X.

_FORBIDDEN = float("-inf")


def constrained_scoring_reference(
    hidden_NH: Tensor,
    lm_head_VH: Tensor,
    mask_NW: Tensor | None,
    sets: TokenSets | None,
    set_N: Tensor | None,
    extra_NX: Tensor | None,
    noise: Noise | None,
) -> tuple[Tensor | None, ...]:
    """The fields of `Scored`. Also takes float64."""
    num_extra = 0 if extra_NX is None else extra_NX.shape[1]
    if sets is None:
        token_U = torch.arange(len(lm_head_VH), device=hidden_NH.device)
        place_U, segment = token_U, DRAWN_SEGMENT
        logits_NU = linear(hidden_NH, lm_head_VH)
    else:
        segment = sets.segment
        token_U, place_U = sets.token_S.long().sort()
        is_token_U = token_U >= 0
        token_U, place_U = token_U[is_token_U], place_U[is_token_U]
        logits_NU = linear(hidden_NH, lm_head_VH[token_U])
    logits_NU = logits_NU.to(torch.promote_types(logits_NU.dtype, torch.float32))
    is_allowed_NU = torch.ones_like(logits_NU, dtype=torch.bool)
    class_NU = None
    if mask_NW is not None:
        is_allowed_NU = allowed(mask_NW, token_U)
    if sets is not None and set_N is not None:
        class_NU = sets.classes_AS()[:, place_U][set_N.long()]
        is_allowed_NU = class_NU >= 0
    if extra_NX is not None:
        extra_X = torch.arange(num_extra, device=token_U.device)
        token_U = torch.cat([token_U, len(lm_head_VH) + extra_X])
        logits_NU = torch.cat([logits_NU, extra_NX.to(logits_NU.dtype)], 1)
        is_allowed_NU = torch.cat([is_allowed_NU, torch.ones_like(extra_NX, dtype=torch.bool)], 1)
        if sets is not None and class_NU is not None:
            own_NX = (sets.num_classes + extra_X).expand_as(extra_NX)
            class_NU = torch.cat([class_NU, own_NX], 1)
    if noise is not None:
        logits_NU = (
            logits_NU / torch.where(noise.temperature_N == 0, 1.0, noise.temperature_N)[:, None]
        )
    allowed_NU = logits_NU.masked_fill(~is_allowed_NU, _FORBIDDEN)
    lse_N = allowed_NU.logsumexp(1)
    all_lse_N = None if mask_NW is not None else logits_NU.logsumexp(1)
    token_NU, score_NU = token_U.expand_as(logits_NU), logits_NU
    if class_NU is None:
        class_NU = torch.where(is_allowed_NU, 0, -1)
    if noise is not None:
        segment_U = place_U // segment
        score_NU, token_NU, logits_NU, class_NU = drawn(
            allowed_NU, token_U, segment_U, class_NU, noise
        )
    whole_NU = class_NU.clamp(max=0)
    token_N1, _, logit_N1 = best_of_classes(score_NU, logits_NU, token_NU, whole_NU, 1)
    token_N, logit_N = token_N1[:, 0], logit_N1[:, 0]
    log_prob_N = torch.where(token_N < 0, _FORBIDDEN, logit_N - lse_N)
    if sets is None:
        return token_N, log_prob_N, lse_N, all_lse_N, None, None, None
    num_classes = sets.num_classes + num_extra
    class_token_NC, class_score_NC, class_logit_NC = best_of_classes(
        score_NU, logits_NU, token_NU, class_NU, num_classes
    )
    return token_N, log_prob_N, lse_N, all_lse_N, class_score_NC, class_token_NC, class_logit_NC


def allowed(mask_NW: Tensor, token_U: Tensor) -> Tensor:
    """[N, U]: the bits of these tokens."""
    word_U = token_U // 32
    words_NU = mask_NW[:, word_U.clamp(max=mask_NW.shape[1] - 1)]
    return (words_NU >> (token_U % 32) & 1).bool() & (word_U < mask_NW.shape[1])


def drawn(
    logits_NU: Tensor, token_U: Tensor, segment_U: Tensor, class_NU: Tensor, noise: Noise
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A token of each segment, and behind them the extra ones: scores, tokens, logits and classes, [N, T + X].

    logits_NU: over the temperature, -inf where a token is not allowed. segment_U: of all but the extra tokens, X in number.
    The score of a segment is its log-sum-exp and noise, in a greedy row its largest logit.
    """
    num, num_segments = len(segment_U), int(segment_U.max()) + 1 if len(segment_U) else 0
    index_NU = segment_U.expand(len(logits_NU), -1)
    own_NU, extra_NX = logits_NU.split([num, len(token_U) - num], 1)
    class_of_NU, extra_class_NX = class_NU.split([num, len(token_U) - num], 1)
    segment_T = torch.arange(num_segments, device=token_U.device)
    token_noise_NU, segment_noise_NT = (
        torch.where(noise.temperature_N[:, None] == 0, 0.0, gumbel_noise(noise.seed_N, number))
        for number in (token_U, SEGMENT_BIT + segment_T)
    )

    shape = (len(logits_NU), num_segments)
    top_NT = own_NU.new_full(shape, _FORBIDDEN).scatter_reduce(1, index_NU, own_NU, "amax")
    over_NU = own_NU - top_NT.clamp(min=torch.finfo(own_NU.dtype).min).gather(1, index_NU)
    total_NT = torch.zeros_like(top_NT).scatter_add(1, index_NU, over_NU.exp())
    lse_NT = torch.where(noise.temperature_N[:, None] == 0, top_NT, top_NT + total_NT.log())
    token_NT, _, logit_NT = best_of_classes(
        own_NU + token_noise_NU[:, :num],
        own_NU,
        token_U[:num].expand_as(own_NU),
        index_NU,
        num_segments,
    )
    class_NT = class_NU.new_full(shape, -1).scatter_reduce(1, index_NU, class_of_NU, "amax")
    return (
        torch.cat([lse_NT + segment_noise_NT, extra_NX + token_noise_NU[:, num:]], 1),
        torch.cat([token_NT, token_U[num:].expand_as(extra_NX)], 1),
        torch.cat([logit_NT, extra_NX], 1),
        torch.cat([class_NT, extra_class_NX], 1),
    )


def best_of_classes(
    score_NU: Tensor, logits_NU: Tensor, token_NU: Tensor, class_NU: Tensor, num_classes: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The best token of each class, its score and its logit, [N, num_classes]; -1 and -inf where a class has none."""
    num_rows, none = len(score_NU), torch.iinfo(torch.long).max
    index_NU = torch.where(
        class_NU < 0, num_classes, class_NU
    )  # one more column takes what is in no class
    score_NC = score_NU.new_full((num_rows, num_classes + 1), _FORBIDDEN)
    score_NC = score_NC.scatter_reduce(1, index_NU, score_NU, "amax")
    is_best_NU = (score_NU == score_NC.gather(1, index_NU)) & (score_NU > _FORBIDDEN)
    candidate_NU = torch.where(is_best_NU, token_NU, none)
    token_NC = token_NU.new_full((num_rows, num_classes + 1), none)
    token_NC = token_NC.scatter_reduce(1, index_NU, candidate_NU, "amin")  # the lowest of equals
    is_best_NU = token_NU == token_NC.gather(1, index_NU)
    logit_NC = torch.full_like(score_NC, _FORBIDDEN)
    logit_NC = logit_NC.scatter_reduce(
        1, index_NU, logits_NU.masked_fill(~is_best_NU, _FORBIDDEN), "amax"
    )
    token_NC = token_NC.masked_fill(token_NC == none, -1)
    return token_NC[:, :-1], score_NC[:, :-1], logit_NC[:, :-1]
