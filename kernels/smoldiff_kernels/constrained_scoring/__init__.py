"""The best allowed tokens of hidden states under a frozen LM head, with no [rows, vocabulary] tensor."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from smoldiff_kernels.constrained_scoring.noise import Noise
from smoldiff_kernels.constrained_scoring.reference import constrained_scoring_reference
from smoldiff_kernels.constrained_scoring.token_sets import TokenSets, token_sets

__all__ = ["Impl", "Noise", "Scored", "TokenSets", "constrained_scoring", "token_sets"]

# Shapes: N rows, H hidden size, V vocabulary, W words of a mask, X extra tokens, C classes of the set that has the most.

Impl = Literal["auto", "reference", "triton"]

_FLOATS = (torch.float32, torch.bfloat16, torch.float16)


class Scored(NamedTuple):
    """What `constrained_scoring` finds. Logarithms are natural; with noise, logits are those over the temperature."""

    token_N: Tensor
    """int64: the best allowed token; -1 where none is allowed."""
    log_prob_N: Tensor
    """float32: its log-probability among the allowed tokens; -inf where none is allowed."""
    lse_N: Tensor
    """float32: log-sum-exp of the logits of the *allowed* tokens, the extra ones included."""
    all_lse_N: Tensor | None
    """float32: that of *all* tokens that were read, allowed or not. None with a mask."""
    class_score_NC: Tensor | None
    """float32 [N, C + X]: the best score in each class of the row's set, -inf where it has no such class. The last X
    columns are the extra tokens, each a class of its own. None without sets."""
    class_token_NC: Tensor | None
    """int64: which token has that score; -1 where none."""
    class_logit_NC: Tensor | None
    """float32: that token's logit. Without noise it is the score."""


def constrained_scoring(
    hidden_NH: Tensor,
    lm_head_VH: Tensor,
    *,
    mask_NW: Tensor | None = None,
    sets: TokenSets | None = None,
    set_N: Tensor | None = None,
    extra_NX: Tensor | None = None,
    noise: Noise | None = None,
    impl: Impl = "auto",
) -> Scored:
    """The best allowed token of each row, its log-probability, and the best token of each class of the row's set.

    hidden_NH: [N, H] float32, bfloat16 or float16. lm_head_VH: [V, H] of the same dtype, its rows contiguous.

    What a row may take, one of three:
    nothing given: all V tokens.
    mask_NW: [N, W] int32, bit t % 32 of word t // 32 is set where token t is allowed (llguidance, xgrammar). Tokens behind
    the last word are forbidden, bits behind V are not read.
    sets, set_N: row n may take the tokens of set set_N[n] ([N] int32; all 0 if left out). A set is what may stand in a
    slot, split in classes; `token_sets` makes them. Only LM head rows of tokens that stand in some set are read, so small
    sets cost little; made with vocab_size, the sets have all V tokens read, for `all_lse_N`.

    extra_NX: [N, X] floating: logits of X tokens beyond the vocabulary, V, V + 1, ..., such as NULL. They come from
    elsewhere (the head's own rows) and are always allowed; -inf forbids.

    noise: draws instead of taking the best, in each row by its own temperature and seed: token_N is an exact sample of the
    softmax of logit / temperature over the allowed tokens. A draw is made from above (Maddison et al., 2014): a segment of
    tokens by its log-sum-exp plus Gumbel noise, then a token of it, so that noise is made for few of them. The score of a
    class is the best of its segments', or of extra tokens their logit / temperature plus noise: the best score among some
    classes is one of the softmax over those. What a row draws depends on its own operands alone: not on its place in the
    batch, the tiles or `impl`. Segments are 16 token ids in turn, or those of the sets. Temperature 0 is greedy, and its
    scores are logits.

    Of equal scores the lowest token id wins. NaN and +inf are not allowed. Products are summed in float32; "triton" keeps
    them so, "reference" rounds logits to the dtype of its inputs as a matrix product does, which may make other tokens
    equal: both are within the error of a plain matrix product. "triton" is two launches (a third fills in set_N where it
    is left out) without host synchronisation, so a CUDA graph can hold it; it reads a tensor for everything that changes from call to call.

    Floor: one read of the R LM head rows (R = V, or the tokens of the sets), R * H * size of the dtype in bytes, and 2 * N *
    R * H operations. Partial results are written and read: 24 * N * R / segment bytes; without sets and noise a segment is a
    tile of 128 or 256 LM head rows.

    Raises TypeError and ValueError for dtypes, devices and shapes that do not fit together. Set numbers are not looked at.
    """
    _check(hidden_NH, lm_head_VH, mask_NW, sets, set_N, extra_NX, noise)
    if impl == "auto":
        impl = "triton" if hidden_NH.is_cuda else "reference"
    if sets is not None and set_N is None:
        set_N = torch.zeros(len(hidden_NH), dtype=torch.int32, device=hidden_NH.device)
    operands = (hidden_NH, lm_head_VH, mask_NW, sets, set_N, extra_NX, noise)
    if impl == "reference":
        return Scored(*constrained_scoring_reference(*operands))
    if impl == "triton":
        from smoldiff_kernels.constrained_scoring.launch import constrained_scoring_triton

        return Scored(*constrained_scoring_triton(*operands))
    raise ValueError(f'impl must be "auto", "reference" or "triton", not {impl!r}')


def _check(
    hidden_NH: Tensor,
    lm_head_VH: Tensor,
    mask_NW: Tensor | None,
    sets: TokenSets | None,
    set_N: Tensor | None,
    extra_NX: Tensor | None,
    noise: Noise | None,
) -> None:
    if hidden_NH.dtype not in _FLOATS or lm_head_VH.dtype != hidden_NH.dtype:
        raise TypeError(
            f"hidden_NH is {hidden_NH.dtype}, lm_head_VH {lm_head_VH.dtype}; "
            "convert both to one of float32, bfloat16, float16"
        )
    if hidden_NH.dim() != 2 or lm_head_VH.dim() != 2 or hidden_NH.shape[1] != lm_head_VH.shape[1]:
        found = f"{tuple(hidden_NH.shape)} and {tuple(lm_head_VH.shape)}"
        raise ValueError(f"hidden_NH and lm_head_VH must be [N, H] and [V, H], not {found}")
    if 0 in lm_head_VH.shape:
        raise ValueError(f"lm_head_VH must not be empty, but is {tuple(lm_head_VH.shape)}")
    if lm_head_VH.stride(1) != 1:
        raise ValueError("the rows of lm_head_VH must be contiguous; call .contiguous() once")
    if mask_NW is not None and sets is not None:
        raise ValueError(
            "mask_NW and sets: pass one; a set without the forbidden tokens needs no mask"
        )
    if set_N is not None and sets is None:
        raise ValueError("set_N says which of `sets` a row has; pass sets too")
    if sets is not None and sets.num_ids > len(lm_head_VH):
        raise ValueError(
            f"sets has tokens up to {sets.num_ids - 1}, lm_head_VH only {len(lm_head_VH)} rows"
        )
    num_rows, integers = len(hidden_NH), (torch.int32,)
    _check_rows("mask_NW", mask_NW, integers, (num_rows, None), hidden_NH.device)
    _check_rows("set_N", set_N, integers, (num_rows,), hidden_NH.device)
    _check_rows("extra_NX", extra_NX, _FLOATS, (num_rows, None), hidden_NH.device)
    if noise is not None:
        _check_rows("noise.seed_N", noise.seed_N, (torch.int64,), (num_rows,), hidden_NH.device)
        _check_rows(
            "noise.temperature_N",
            noise.temperature_N,
            (torch.float32,),
            (num_rows,),
            hidden_NH.device,
        )
    for name, device in (("lm_head_VH", lm_head_VH.device), ("sets", sets and sets.token_S.device)):
        if device is not None and device != hidden_NH.device:
            raise ValueError(f"{name} is on {device}, hidden_NH on {hidden_NH.device}; move one")


def _check_rows(
    name: str,
    tensor: Tensor | None,
    dtypes: tuple[torch.dtype, ...],
    shape: tuple[int | None, ...],
    device: torch.device,
) -> None:
    """Raises where a tensor with one entry for each row is none; a size of None may be any but 0."""
    if tensor is None:
        return
    if tensor.dtype not in dtypes:
        allowed = " or ".join(str(dtype) for dtype in dtypes)
        raise TypeError(f"{name} is {tensor.dtype}; convert it to {allowed}")
    fits = len(tensor.shape) == len(shape) and all(
        found == wanted or (wanted is None and found > 0)
        for found, wanted in zip(tensor.shape, shape, strict=True)
    )
    if not fits:
        wanted_shape = ", ".join("at least 1" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} must be [{wanted_shape}], not {list(tensor.shape)}")
    if tensor.device != device:
        raise ValueError(f"{name} is on {tensor.device}, hidden_NH on {device}; move one")
