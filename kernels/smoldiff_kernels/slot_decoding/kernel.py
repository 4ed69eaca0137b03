"""Slot decoding in Triton: one program a slot, all of it in one launch."""

# mypy: allow-untyped-defs, allow-incomplete-defs
# Triton gives parameters their types when it compiles.

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from smoldiff_kernels.marks import NULL
from smoldiff_kernels.slot_decoding.automata import QUAD, Automata

# Shapes: N slots, P positions. In the kernel: S states of a block, D edges of each.


@dataclass(frozen=True, slots=True)
class Tiles:
    """How the work is cut. Every choice gives the same result."""

    block_states: int
    block_edges: int
    """Edges of each of these states that are looked at together."""
    num_warps: int


def tiles_for(max_states: int) -> Tiles:
    """By counts, not yet by times: of a slot over a 151,936-token vocabulary most states have up to 16 edges.

    A tile then holds the edges of a small automaton, with four to eight of them a thread. Measured values belong here.
    """
    if max_states <= 16:
        return Tiles(16, 16, 2)
    if max_states <= 64:
        return Tiles(64, 16, 4)
    return Tiles(128, 16, 8)


def slot_decoding_triton(
    score_RC: Tensor,
    token_RC: Tensor,
    null_R: Tensor,
    first_row_N: Tensor,
    automaton_N: Tensor,
    automata: Automata,
    max_positions: int,
    tiles: Tiles | None = None,
) -> tuple[Tensor, Tensor]:
    if not score_RC.is_cuda and isinstance(_decode, triton.JITFunction):
        raise ValueError(
            "impl='triton' needs tensors on a GPU; without one set TRITON_INTERPRET=1 before triton is imported"
        )
    num_slots, device = len(automaton_N), score_RC.device
    tokens_NP = torch.empty((num_slots, max_positions), dtype=torch.long, device=device)
    best_N = torch.empty((num_slots,), dtype=torch.float32, device=device)
    if num_slots == 0:
        return tokens_NP, best_N
    tiles = tiles or tiles_for(automata.max_states)
    # The values of the position at hand and of the next one.
    values = torch.empty((num_slots, 2, automata.max_states), dtype=torch.float32, device=device)
    backs = torch.empty(
        (num_slots, max_positions, automata.max_states), dtype=torch.long, device=device
    )
    score_RC, token_RC = (t if t.stride(1) == 1 else t.contiguous() for t in (score_RC, token_RC))
    with torch.cuda.device_of(score_RC):
        _decode[(num_slots,)](
            score_RC,
            token_RC,
            null_R.contiguous(),
            first_row_N.contiguous(),
            automaton_N.contiguous(),
            automata.first_state_A,
            automata.start_A,
            automata.accepts_S,
            automata.first_quad_S,
            automata.num_edges_S,
            automata.class_E,
            automata.target_E,
            values,
            backs,
            tokens_NP,
            best_N,
            score_RC.stride(0),
            token_RC.stride(0),
            max_positions,
            automata.max_states,
            NULL=NULL,
            QUAD=QUAD,
            BLOCK_S=tiles.block_states,
            BLOCK_D=tiles.block_edges,
            num_warps=tiles.num_warps,
            # Loads must stay behind the barrier of the position before, so none is moved across turns of a loop.
            num_stages=1,
        )
    return tokens_NP, best_N


@triton.jit(do_not_specialize=["score_stride", "token_stride", "max_positions", "max_states"])
def _decode(
    score_ptr,
    token_ptr,
    null_ptr,
    first_row_ptr,
    automaton_ptr,
    first_state_ptr,
    start_ptr,
    accepts_ptr,
    first_quad_ptr,
    num_edges_ptr,
    class_ptr,
    target_ptr,
    value_ptr,
    back_ptr,
    tokens_ptr,
    best_ptr,
    score_stride,
    token_stride,
    max_positions,
    max_states,
    NULL: tl.constexpr,
    QUAD: tl.constexpr,
    BLOCK_S: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    slot = tl.program_id(0).to(tl.int64)
    first_row = tl.load(first_row_ptr + slot).to(tl.int64)
    num_rows = tl.load(first_row_ptr + slot + 1) - first_row
    num_positions = tl.minimum(num_rows, max_positions).to(tl.int32)
    automaton = tl.load(automaton_ptr + slot).to(tl.int64)
    first_state = tl.load(first_state_ptr + automaton).to(tl.int64)
    num_states = (tl.load(first_state_ptr + automaton + 1) - first_state).to(tl.int32)
    accepts_ptr += first_state
    first_quad_ptr += first_state
    num_edges_ptr += first_state
    value_ptr += slot * 2 * max_states
    back_ptr += slot * max_positions * max_states

    # Position p has its values at value_ptr + (p % 2) * max_states.
    end_ptr = value_ptr + (num_positions % 2) * max_states
    for block in range(0, num_states, BLOCK_S):
        state_S = block + tl.arange(0, BLOCK_S)
        is_state_S = state_S < num_states
        accepts_S = tl.load(accepts_ptr + state_S, mask=is_state_S, other=0) != 0
        tl.store(end_ptr + state_S, tl.where(accepts_S, 0.0, float("-inf")), mask=is_state_S)
    tl.debug_barrier()

    rest = tl.full((), 0.0, tl.float64)  # NULL from the position on
    for turn in range(num_positions):
        p = num_positions - 1 - turn
        row = first_row + p
        rest += tl.load(null_ptr + row).to(tl.float64)
        _position(
            score_ptr + row * score_stride,
            token_ptr + row * token_stride,
            rest.to(tl.float32),
            accepts_ptr,
            first_quad_ptr,
            num_edges_ptr,
            class_ptr,
            target_ptr,
            value_ptr + ((p + 1) % 2) * max_states,
            value_ptr + (p % 2) * max_states,
            back_ptr + p.to(tl.int64) * max_states,
            num_states,
            QUAD,
            BLOCK_S,
            BLOCK_D,
        )
        tl.debug_barrier()

    state = tl.load(start_ptr + automaton).to(tl.int64)
    best = tl.load(value_ptr + state)
    tl.store(best_ptr + slot, best)
    is_open = best > float("-inf")
    for p in range(max_positions):
        is_open = is_open & (p < num_positions)
        # -1 also where the text ends
        back = tl.load(back_ptr + state, mask=is_open, other=-1)
        is_open = back >= 0
        tl.store(tokens_ptr + slot * max_positions + p, tl.where(is_open, back >> 32, NULL))
        state = tl.where(is_open, back & 0xFFFFFFFF, state)
        back_ptr += max_states


@triton.jit
def _position(
    score_ptr,
    token_ptr,
    rest,
    accepts_ptr,
    first_quad_ptr,
    num_edges_ptr,
    class_ptr,
    target_ptr,
    next_ptr,
    value_ptr,
    back_ptr,
    num_states,
    QUAD: tl.constexpr,
    BLOCK_S: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Values and back-pointers of one position. A back-pointer is the token, then the next state in 32 bits; -1 ends."""
    NONE: tl.constexpr = 0x7FFFFFFFFFFFFFFF
    for block in range(0, num_states, BLOCK_S):
        state_S = block + tl.arange(0, BLOCK_S)
        is_state_S = state_S < num_states
        accepts_S = tl.load(accepts_ptr + state_S, mask=is_state_S, other=0) != 0
        quad_S = tl.load(first_quad_ptr + state_S, mask=is_state_S, other=0)
        num_edges_S = tl.load(num_edges_ptr + state_S, mask=is_state_S, other=0)
        best_SD = tl.full((BLOCK_S, BLOCK_D), float("-inf"), tl.float32)
        back_SD = tl.full((BLOCK_S, BLOCK_D), NONE, tl.int64)
        for d in range(0, tl.load(num_edges_ptr + block), BLOCK_D):
            own_D = d + tl.arange(0, BLOCK_D)
            edge_SD = (quad_S * QUAD)[:, None] + own_D[None, :]
            # whole quads, so that one thread loads all four at once
            is_loaded_SD = (own_D // QUAD * QUAD)[None, :] < num_edges_S[:, None]
            class_SD = tl.load(class_ptr + edge_SD, mask=is_loaded_SD, other=0)
            target_SD = tl.load(target_ptr + edge_SD, mask=is_loaded_SD, other=0)
            is_edge_SD = own_D[None, :] < num_edges_S[:, None]
            score_SD = tl.load(score_ptr + class_SD, mask=is_edge_SD, other=float("-inf"))
            token_SD = tl.load(token_ptr + class_SD, mask=is_edge_SD, other=0)
            ahead_SD = tl.load(next_ptr + target_SD, mask=is_edge_SD, other=float("-inf"))
            way_SD = score_SD.to(tl.float32) + ahead_SD
            way_back_SD = (token_SD.to(tl.int64) << 32) | target_SD
            is_lower_SD = (way_SD == best_SD) & (way_back_SD < back_SD)
            back_SD = tl.where((way_SD > best_SD) | is_lower_SD, way_back_SD, back_SD)
            best_SD = tl.maximum(best_SD, way_SD)
        best_S = tl.max(best_SD, axis=1)
        back_S = tl.min(tl.where(best_SD == best_S[:, None], back_SD, NONE), axis=1)
        ends_S = accepts_S & (rest >= best_S)
        tl.store(value_ptr + state_S, tl.where(ends_S, rest, best_S), mask=is_state_S)
        tl.store(back_ptr + state_S, tl.where(ends_S, -1, back_S), mask=is_state_S)
