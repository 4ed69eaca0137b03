"""What the kernels share: where a row's tokens lie, which of its keys a query sees, how tiles of keys are read."""

# mypy: allow-untyped-defs, allow-incomplete-defs
# Triton gives parameters their types when it compiles.

from __future__ import annotations

import triton
import triton.language as tl

# Shapes: T template positions and C context tokens of a row, E head width, N keys of a tile.


@triton.jit
def span(lengths_ptr, b, max_length, IS_PACKED: tl.constexpr):
    """The first token of row b in its tensor, and how many it has."""
    if IS_PACKED:
        first = tl.load(lengths_ptr + b)
        num = tl.load(lengths_ptr + b + 1) - first
    else:
        first = b * 0
        num = first + max_length if lengths_ptr is None else tl.load(lengths_ptr + b)
    return first.to(tl.int64), tl.minimum(num, max_length)


@triton.jit
def longest_first(
    place,
    num_rows,
    template_lengths_ptr,
    context_lengths_ptr,
    max_template,
    max_context,
    IS_TEMPLATE_PACKED: tl.constexpr,
    IS_CONTEXT_PACKED: tl.constexpr,
    BLOCK_B: tl.constexpr,
):
    """The row at a place in the order of falling numbers of keys; of equal ones the first comes first."""
    b_B = tl.arange(0, BLOCK_B)
    is_row_B = b_B < num_rows
    of_template_B = lengths_of(
        template_lengths_ptr, b_B, is_row_B, max_template, IS_TEMPLATE_PACKED
    )
    of_context_B = lengths_of(context_lengths_ptr, b_B, is_row_B, max_context, IS_CONTEXT_PACKED)
    num_B = tl.where(is_row_B, of_template_B + of_context_B, -1)
    is_longer = num_B[None, :] > num_B[:, None]
    is_before = is_longer | ((num_B[None, :] == num_B[:, None]) & (b_B[None, :] < b_B[:, None]))
    place_B = tl.sum(is_before.to(tl.int32), 1)
    return tl.sum(tl.where(place_B == place, b_B, 0), 0)


@triton.jit
def lengths_of(lengths_ptr, b_B, is_row_B, max_length, IS_PACKED: tl.constexpr):
    """[B]: how many tokens rows have."""
    if lengths_ptr is None:
        num_B = b_B * 0 + max_length
    else:
        num_B = tl.load(lengths_ptr + b_B + IS_PACKED, mask=is_row_B, other=0)
        if IS_PACKED:
            num_B -= tl.load(lengths_ptr + b_B, mask=is_row_B, other=0)
    return tl.minimum(num_B, max_length)


@triton.jit
def flat_first(first, b, max_length, IS_PACKED: tl.constexpr):
    """The first token of row b in a contiguous tensor in which rows follow each other."""
    return first if IS_PACKED else b.to(tl.int64) * max_length


@triton.jit
def tile_at(i, num_context_tiles, C, T, BLOCK_N: tl.constexpr):
    """Tile i of a row's keys: whether it is of the context, its first key there, and the end of the keys there."""
    is_context = i < num_context_tiles
    at = tl.where(is_context, i, i - num_context_tiles) * BLOCK_N
    return is_context, at, tl.where(is_context, C, T)


@triton.jit
def rows_of(base, num, stride, E: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_E: tl.constexpr):
    """Keys or values of a row and head, as the copy engine reads them in tiles; behind their end are zeros."""
    return tl.make_tensor_descriptor(
        base,
        shape=[tl.maximum(num, 1), E],
        strides=[stride.to(tl.int64), 1],
        block_shape=[BLOCK_N, BLOCK_E],
    )


@triton.jit
def load_tile(
    is_context,
    at,
    is_key_N,
    context_base,
    context_stride,
    template_base,
    template_stride,
    E: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_E: tl.constexpr,
):
    """Keys or values of a tile, [N, E]; zeros behind their end."""
    n_N, e_E = tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_E)
    stride = tl.where(is_context, context_stride, template_stride)
    base = tl.where(is_context, context_base, template_base) + at.to(tl.int64) * stride
    mask = is_key_N[:, None] & (e_E < E)[None, :]
    return tl.load(base + n_N[:, None] * stride + e_E[None, :], mask=mask, other=0.0)


@triton.jit
def query_group(group_ptr, flat, t_M, is_row_M):
    """The groups of queries; 0 where there are none. As a query, a negative group is like 0."""
    if group_ptr is None:
        group_M = tl.zeros_like(t_M)
    else:
        group_M = tl.maximum(tl.load(group_ptr + flat + t_M, mask=is_row_M, other=0), 0)
    return group_M


@triton.jit
def key_group(context_group_ptr, template_group_ptr, is_context, flat_c, flat_t, n_N, limit):
    """The groups of keys n_N of a place; 0 where it has no groups, and -1 behind the end."""
    if template_group_ptr is None:
        at, end = context_group_ptr + flat_c, tl.where(is_context, limit, 0)
    elif context_group_ptr is None:
        at, end = template_group_ptr + flat_t, tl.where(is_context, 0, limit)
    else:
        at = tl.where(is_context, context_group_ptr + flat_c, template_group_ptr + flat_t)
        end = limit
    group_N = tl.load(at + n_N, mask=n_N < end, other=0)
    return tl.where(n_N < limit, group_N, -1)


@triton.jit
def sees(group_N, own_M):
    """[M, N]: keys of group 0 are seen by all, others by the queries of their group, negative ones by none."""
    return (group_N == 0)[None, :] | (group_N[None, :] == own_M[:, None])
