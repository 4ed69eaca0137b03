"""Rows with keys and values joined: what the reference and the library kernels work on."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from smoldiff_kernels.head_attention.layout import Layout

# Shapes: B rows, T template positions, C context tokens, K = C + T keys, S positions of all rows, A query heads,
# G key/value heads, E head width.


NO_GROUP = torch.iinfo(torch.int32).min
"""A group that no query is of."""


class Joined(NamedTuple):
    q_BATE: Tensor
    k_BGKE: Tensor
    v_BGKE: Tensor
    sees_BTK: Tensor


def joined(
    q: Tensor, context: tuple[Tensor, Tensor], template: tuple[Tensor, Tensor], layout: Layout
) -> Joined:
    """Everything padded, the context's keys in front of the template's."""
    is_token_BT, is_token_BC = is_token(layout, q.device)
    spread_t, spread_c = _Spread(layout, is_template=True), _Spread(layout, is_template=False)
    is_token_BK = torch.cat([is_token_BC, is_token_BT], 1)
    keys, values = (
        _cleared(
            torch.cat([spread_c(c).transpose(1, 2), spread_t(t).transpose(1, 2)], 2), is_token_BK
        )
        for c, t in zip(context, template, strict=True)
    )
    sees_BTK = is_token_BK[:, None] & is_token_BT[..., None]
    num_context = is_token_BC.shape[1]
    if layout.context_group is not None:
        query_group = layout.template_context_group
        query_BT = torch.zeros_like(is_token_BT, dtype=torch.int32)
        query_BT = query_BT if query_group is None else spread_t(query_group)
        sees_BTK[..., :num_context] &= visible(spread_c(layout.context_group), query_BT)
    if layout.template_group is not None:
        group_BT = spread_t(layout.template_group)
        sees_BTK[..., num_context:] &= visible(group_BT, group_BT)
    return Joined(_cleared(spread_t(q).transpose(1, 2), is_token_BT), keys, values, sees_BTK)


def visible(key_group_BK: Tensor, query_group_BT: Tensor) -> Tensor:
    """[B, T, K]: keys of group 0 are seen by all, others by the queries of their group, negative ones by none."""
    of_none_BK = key_group_BK.masked_fill(key_group_BK < 0, NO_GROUP)
    return (of_none_BK[:, None] == query_group_BT[..., None]) | (key_group_BK == 0)[:, None]


def is_token(layout: Layout, device: torch.device) -> tuple[Tensor, Tensor]:
    """[B, T] and [B, C]: where the padded rows of template and context hold a token."""
    found = []
    for lengths, is_packed, most in (
        (layout.template_lengths, layout.is_template_packed, layout.max_template),
        (layout.context_lengths, layout.is_context_packed, layout.max_context),
    ):
        place_1T = torch.arange(most, device=device)[None]
        if lengths is None:
            found.append(place_1T.expand(layout.num_rows, -1) >= 0)
        else:
            num_B = lengths.diff() if is_packed else lengths
            found.append(place_1T < num_B[:, None])
    return found[0], found[1]


def unjoined(out_BATE: Tensor, like: Tensor, layout: Layout) -> Tensor:
    """The output in the layout of the queries."""
    out_BTAE = out_BATE.transpose(1, 2)
    if not layout.is_template_packed:
        return out_BTAE
    assert layout.template_lengths is not None
    starts = layout.template_lengths.long()
    at_S = torch.arange(len(like), device=like.device)
    row_S = torch.bucketize(at_S, starts[1:], right=True)
    return out_BTAE[row_S, at_S - starts[row_S]]


class _Spread:
    """Gives a packed tensor a dimension of rows; zeros in the padding."""

    def __init__(self, layout: Layout, is_template: bool) -> None:
        self.starts = layout.template_lengths if is_template else layout.context_lengths
        self.is_packed = layout.is_template_packed if is_template else layout.is_context_packed
        self.most = layout.max_template if is_template else layout.max_context

    def __call__(self, x: Tensor) -> Tensor:
        if not self.is_packed:
            return x
        assert self.starts is not None
        starts_B1 = self.starts.long()[:, None]
        at_BT = starts_B1[:-1] + torch.arange(self.most, device=x.device)
        at_BT = torch.where(
            at_BT < starts_B1[1:], at_BT, len(x)
        )  # the padding reads a row of zeros
        return torch.cat([x, x.new_zeros(1, *x.shape[1:])])[at_BT]


def _cleared(x_BGKE: Tensor, is_token_BK: Tensor) -> Tensor:
    """Zeros in the padding, where NaN times a weight of zero would be NaN."""
    if x_BGKE.is_cpu and is_token_BK.all():
        return x_BGKE  # no padding: a copy for nothing
    return x_BGKE.masked_fill(~is_token_BK[:, None, :, None], 0.0)
