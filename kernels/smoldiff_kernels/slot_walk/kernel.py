"""The walk in Triton: at each step the best of each block of tokens for all slots, then one program a slot."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
from torch import Tensor

from smoldiff_kernels.chained import can_chain, chained
from smoldiff_kernels.slot_walk.blocks import blocks
from smoldiff_kernels.slot_walk.choose import choose, start
from smoldiff_kernels.slot_walk.operands import (
    NO_TEXT,
    Automata,
    Context,
    Plain,
    Starts,
    Walked,
    Weights,
)
from smoldiff_kernels.slot_walk.reference import LEAST_P

# Shapes as in `operands`; T blocks of the vocabulary, U of the context.


@dataclass(frozen=True, slots=True)
class Tiles:
    """How the work is cut. Every choice gives the same result, to float32 rounding."""

    block_tokens: int
    """Of the vocabulary."""
    block_context: int
    block_rank: int
    num_warps: int
    num_stages: int
    is_turning: bool
    """Every other step goes through the vocabulary from its end on: what was read last may still stand in the cache."""
    merged_tokens: int
    """Of the context, that a slot's program looks at together."""
    choose_warps: int
    is_chained: bool
    """Where the GPU can, a launch begins while the one in front of it still runs (programmatic dependent launch)."""


# The fastest on one H200 of one knob after the other, at 16 slots, 128,256 tokens and 256 numbers; 1 to 5% between most.
TILES = Tiles(128, 64, 128, 4, 2, True, 2048, 8, True)
FLOAT32_TILES = Tiles(64, 32, 32, 4, 2, True, 2048, 8, True)
MERGED_BLOCKS = 1024
"""Blocks of the vocabulary that a slot's program looks at together."""
EDGES = 64
"""Edges of a state that it looks at together."""


def slot_walk_triton(
    plain: Plain,
    weights: Weights,
    context: Context,
    automata: Automata,
    starts: Starts,
    num_positions: int,
    num_classes: int,
    has_confidence: bool,
    tiles: Tiles | None = None,
) -> Walked:
    if not plain.logits_QV.is_cuda and isinstance(blocks, triton.JITFunction):
        raise ValueError(
            "impl='triton' needs tensors on a GPU; without one set TRITON_INTERPRET=1 before triton is imported"
        )
    if tiles is None:
        tiles = FLOAT32_TILES if plain.logits_QV.element_size() == 4 else TILES
    device, num_slots = plain.logits_QV.device, len(starts.row_N)
    found = Walked(torch.empty(2 * num_positions + 1, num_slots, dtype=torch.int32, device=device))
    if num_slots == 0:
        return found
    (num_rows, num_vocab), (num_readers, rank) = plain.logits_QV.shape, weights.weight_XR.shape
    num_tokens, max_match = len(context.ids_K), len(weights.bonus_M)
    num_blocks = triton.cdiv(num_vocab, tiles.block_tokens)
    num_context_blocks = triton.cdiv(num_tokens, tiles.block_context)

    plain = Plain(plain.logits_QV.contiguous(), *map(_with_rows, plain[1:]))
    weights = Weights(*(t.contiguous() for t in weights))
    automata = Automata(*(t.contiguous() for t in automata))
    row_N, automaton_N, first_state_N, left_N, first_history_NM = (t.contiguous() for t in starts)
    ids_K, key_KC = context.ids_K.contiguous(), _with_rows(context.key_KC)
    # Equal tokens stand next to each other.
    sorted_K, order_K = ids_K.sort() if context.by_id is None else context.by_id

    def floats(*shape: int) -> Tensor:
        return torch.empty(shape, device=device)

    # What a step leaves for the next one.
    state_N, history_NM = torch.empty_like(first_state_N), torch.empty_like(first_history_NM)
    inner_NR = torch.empty(num_slots, rank, dtype=plain.logits_QV.dtype, device=device)
    gates_N3 = floats(num_slots, 3)
    is_allowed_NC = torch.empty(num_slots, num_classes, dtype=torch.uint8, device=device)
    # What its blocks leave for its choice.
    best_NT, top_NT, total_NT = (floats(num_slots, num_blocks) for _ in range(3))
    token_NT = torch.empty(num_slots, num_blocks, dtype=torch.int32, device=device)
    score_NK, logit_NK = (floats(num_slots, num_tokens) for _ in range(2))
    top_NU, total_NU = (floats(num_slots, num_context_blocks) for _ in range(2))

    slots = (automaton_N, state_N, row_N, left_N, history_NM, found.packed_XN[-1])
    ready = (
        inner_NR,
        gates_N3,
        is_allowed_NC,
        plain.state_QR,
        plain.rest_QX,
        plain.state_QR.stride(0),
        plain.rest_QX.stride(0),
        weights.before_VR,
        weights.weight_XR,
        automata.state_SX,
        automata.edge_EX,
        num_rows,
        num_vocab,
        num_classes,
    )
    sizes = {
        "RANK": rank,
        "NUM_READERS": num_readers,
        "MAX_MATCH": max_match,
    }
    cuts = {
        "BLOCK_R": triton.next_power_of_2(rank),
        "BLOCK_D": EDGES,
        "BLOCK_C": min(1024, triton.next_power_of_2(num_classes)),
    }
    launch = chained(tiles.is_chained and can_chain(device))
    with torch.cuda.device_of(plain.logits_QV):
        start[(num_slots,)](
            *slots,
            first_state_N,
            first_history_NM,
            *ready,
            **sizes,
            **cuts,
            num_warps=tiles.choose_warps,
        )
        for place in range(num_positions):
            blocks[(num_context_blocks + num_blocks,)](
                plain.logits_QV,
                row_N,
                inner_NR,
                weights.table_VR,
                is_allowed_NC,
                automata.class_AV,
                automaton_N,
                best_NT,
                token_NT,
                top_NT,
                total_NT,
                ids_K,
                sorted_K,
                order_K,
                key_KC,
                key_KC.stride(0),
                context.num_seen_1,
                plain.rest_QX,
                plain.rest_QX.stride(0),
                weights.weight_XR,
                history_NM,
                weights.bonus_M,
                score_NK,
                logit_NK,
                top_NU,
                total_NU,
                place,
                num_rows,
                num_slots,
                num_vocab,
                num_classes,
                num_blocks,
                num_tokens,
                num_context_blocks,
                (num_readers - 3) ** -0.5,
                **sizes,
                BLOCK_TOKENS=tiles.block_tokens,
                BLOCK_CONTEXT=tiles.block_context,
                BLOCK_SLOTS=max(16, triton.next_power_of_2(num_slots)),
                BLOCK_RANK=tiles.block_rank,
                IS_TURNING=tiles.is_turning,
                **launch,
                num_warps=tiles.num_warps,
                num_stages=tiles.num_stages,
            )
            choose[(num_slots,)](
                *slots,
                best_NT,
                token_NT,
                top_NT,
                total_NT,
                sorted_K,
                score_NK,
                logit_NK,
                top_NU,
                total_NU,
                automata.class_AV,
                found.token_PN,
                found.chance_PN,
                place,
                num_slots,
                num_blocks,
                num_tokens,
                num_context_blocks,
                *ready,
                **sizes,
                **cuts,
                BLOCK_M=triton.next_power_of_2(max_match),
                NO_TEXT=NO_TEXT,
                LEAST_P=LEAST_P,
                HAS_CONFIDENCE=has_confidence,
                BLOCK_T=min(MERGED_BLOCKS, triton.next_power_of_2(num_blocks)),
                BLOCK_U=triton.next_power_of_2(num_context_blocks),
                BLOCK_K=min(tiles.merged_tokens, triton.next_power_of_2(num_tokens)),
                **launch,
                num_warps=tiles.choose_warps,
            )
    return found


def _with_rows(x_QX: Tensor) -> Tensor:
    """Each row contiguous; the rows at any distance, as columns of a wider product are."""
    return x_QX if x_QX.stride(1) == 1 else x_QX.contiguous()
