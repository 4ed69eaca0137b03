"""Where each row's tokens lie and who sees whom: the part of a call that is no query, key or value."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# Shapes: B rows, T template positions of each, S of all rows, C context tokens of each, N of all rows, A query heads,
# G key/value heads, E head width.

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class Layout(NamedTuple):
    """The arguments of `head_attention` behind the five tensors, checked."""

    template_lengths: Tensor | None
    """[B + 1] starts of the rows where the template is packed; else [B] lengths, None where all are full."""
    context_lengths: Tensor | None
    context_group: Tensor | None
    template_context_group: Tensor | None
    template_group: Tensor | None
    is_template_packed: bool
    is_context_packed: bool
    num_rows: int
    max_template: int
    max_context: int
    scale: float

    @property
    def has_lengths(self) -> bool:
        """Whether rows may differ in length."""
        return self.template_lengths is not None or self.context_lengths is not None

    @property
    def has_groups(self) -> bool:
        return self.context_group is not None or self.template_group is not None


def needs_gradient(tensors: tuple[Tensor, ...]) -> bool:
    """Whether a backward pass may follow."""
    return torch.is_grad_enabled() and any(x.requires_grad for x in tensors)


def checked_layout(
    q: Tensor,
    context: tuple[Tensor, Tensor],
    template: tuple[Tensor, Tensor],
    cu_seqlens: tuple[Tensor | None, Tensor | None],
    max_tokens: tuple[int | None, int | None],
    lengths: tuple[Tensor | None, Tensor | None],
    groups: tuple[Tensor | None, Tensor | None, Tensor | None],
    scale: float | None,
) -> Layout:
    """Pairs are of the template and of the context. Raises ValueError, TypeError."""
    _check_values(q, context, template)
    rows_t, max_t = _rows("template", q, cu_seqlens[0], max_tokens[0], lengths[0])
    rows_c, max_c = _rows("context", context[0], cu_seqlens[1], max_tokens[1], lengths[1])
    if rows_t != rows_c:
        raise ValueError(f"{rows_t} rows of template, but {rows_c} of context")
    if groups[1] is not None and groups[0] is None:
        raise ValueError("template_context_group without context_group: nothing to compare it with")
    for name, group, like in zip(
        ("context_group", "template_context_group", "template_group"),
        groups,
        (context[0], q, q),
        strict=True,
    ):
        if group is not None:
            _check_integers(name, group, like.shape[:-2], like)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    if scale <= 0:
        raise ValueError(f"scale must be positive, not {scale}")
    lengths_t = lengths[0] if cu_seqlens[0] is None else cu_seqlens[0]
    lengths_c = lengths[1] if cu_seqlens[1] is None else cu_seqlens[1]
    packed = (q.dim() == 3, context[0].dim() == 3)
    return Layout(lengths_t, lengths_c, *groups, *packed, rows_t, max_t, max_c, scale)


def _check_values(
    q: Tensor, context: tuple[Tensor, Tensor], template: tuple[Tensor, Tensor]
) -> None:
    if q.dtype not in DTYPES and q.dtype != torch.float64:
        raise TypeError(f"q is {q.dtype}; cast to float32, bfloat16 or float16")
    names = ("k_context", "v_context", "k_template", "v_template")
    for name, x in zip(names, context + template, strict=True):
        if x.dtype != q.dtype or x.device != q.device:
            raise TypeError(f"{name} is {x.dtype} on {x.device}, q {q.dtype} on {q.device}")
        if x.dim() not in (3, 4) or x.shape[-1] != q.shape[-1]:
            raise ValueError(
                f"{name} {tuple(x.shape)} has not the head width of q {tuple(q.shape)}"
            )
        if x.shape[-2] != template[0].shape[-2]:
            raise ValueError(f"{name} has {x.shape[-2]} heads, k_template {template[0].shape[-2]}")
    if q.dim() not in (3, 4):
        raise ValueError(f"q {tuple(q.shape)} is neither [B, T, A, E] nor [S, A, E]")
    if template[0].shape[:-2] != q.shape[:-2] or template[1].shape != template[0].shape:
        raise ValueError("k_template and v_template must hold one key for each position of q")
    if context[1].shape != context[0].shape:
        raise ValueError(
            f"v_context {tuple(context[1].shape)} differs from k_context {tuple(context[0].shape)}"
        )
    if q.shape[-2] % template[0].shape[-2]:
        raise ValueError(f"{q.shape[-2]} query heads are no multiple of {template[0].shape[-2]}")


def _rows(
    name: str,
    x: Tensor,
    cu_seqlens: Tensor | None,
    max_tokens: int | None,
    lengths: Tensor | None,
) -> tuple[int, int]:
    """The number of rows, and the most tokens that one may have."""
    if x.dim() == 4:
        if cu_seqlens is not None or max_tokens is not None:
            raise ValueError(f"the {name} has a dimension of rows: give {name}_lengths instead")
        if lengths is not None:
            _check_integers(f"{name}_lengths", lengths, x.shape[:1], x)
        return x.shape[0], x.shape[1]
    if cu_seqlens is None or max_tokens is None or lengths is not None:
        raise ValueError(
            f"the {name} is packed: give cu_seqlens_{name} and max_{name}, and no {name}_lengths"
        )
    _check_integers(f"cu_seqlens_{name}", cu_seqlens, cu_seqlens.shape[:1], x)
    return len(cu_seqlens) - 1, max_tokens


def _check_integers(name: str, x: Tensor, shape: torch.Size, like: Tensor) -> None:
    if x.dtype != torch.int32 or x.device != like.device:
        raise TypeError(f"{name} is {x.dtype} on {x.device}; it must be int32 on {like.device}")
    if x.shape != shape or not x.is_contiguous():
        raise ValueError(f"{name} {tuple(x.shape)} must be contiguous, {tuple(shape)}")
