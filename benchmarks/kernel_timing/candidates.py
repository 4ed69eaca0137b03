"""What is tried in the place of each op's tiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import torch

from kernel_timing import attention, scoring, slots
from kernel_timing.clock import Work, inputs_beyond_cache, taking_turns
from kernel_timing.sweep import Knobs, Sweep, Sweeps, around

# Triton is imported where an op is asked for: without a GPU its interpreter must be chosen before.

MAX_SHARED_BYTES = 227 * 1024
"""Of a multiprocessor and of a program, on Hopper. A GPU with less says which candidates do not fit."""
SWEPT_KINDS = ("mask", "mask, sampled", "classes")
"""Of constrained scoring, and of the small sets the second or only one."""
WALK = "slot_walk"


def _by_knobs(
    run: Callable[..., Any], inputs: Sequence[Any], tiles: Callable[..., Any]
) -> Callable[[Knobs], Work]:
    """`run` on one input after the other, with the tiles of some knobs behind."""
    return lambda knobs: taking_turns([partial(run, *one, tiles(**knobs)) for one in inputs])


def class_scores(is_small: bool, device: torch.device, limit: int) -> list[Sweep]:
    from smoldiff_kernels.class_scores.kernel import TILES, Tiles, class_scores_triton

    choices = {
        "block_tokens": (256, 512, 1024, 2048, 4096),
        "block_classes": (64, 256),
        "num_warps": (2, 4, 8),
    }
    knobs = around(asdict(TILES), choices, lambda _: True, limit)

    def make(r: int, u: int, num: int, device: torch.device) -> Callable[[Knobs], Work]:
        inputs = [(*one, None) for one in slots.class_operands(r, u, num, device)]
        return _by_knobs(class_scores_triton, inputs, Tiles)

    return [
        Sweep(
            slots.CLASSES,
            f"{r} rows, {u} tokens",
            knobs,
            partial(make, r, u),
            2 if is_small else inputs_beyond_cache(4.0 * r * u),
        )
        for r, u in ([(2, 20)] if is_small else slots.CLASS_SIZES)
    ]


def slot_decoding(is_small: bool, device: torch.device, limit: int) -> list[Sweep]:
    from smoldiff_kernels.slot_decoding.kernel import Tiles, slot_decoding_triton, tiles_for

    choices = {
        "block_states": (16, 32, 64, 128),
        "block_edges": (4, 8, 16, 32),
        "num_warps": (1, 2, 4, 8),
    }

    def make(size: Sequence[int], num: int, device: torch.device) -> Callable[[Knobs], Work]:
        inputs = [(*one, size[1]) for one in slots.decoding_operands(*size, num, device)]
        return _by_knobs(slot_decoding_triton, inputs, Tiles)

    return [
        Sweep(
            slots.DECODING,
            f"{size[0]} slots x {size[1]} positions, {size[2]} states, {size[3]} edges each",
            around(asdict(tiles_for(size[2])), choices, lambda _: True, limit),
            partial(make, size),
            slots.NUM_INPUTS,
        )
        for size in ([(2, 3, 5, 3)] if is_small else slots.DECODING_SIZES)
    ]


def constrained_scoring(is_small: bool, device: torch.device, limit: int) -> list[Sweep]:
    from smoldiff_kernels.constrained_scoring.launch import (
        Tiles,
        constrained_scoring_triton,
        tiles_for,
    )

    names = ("hidden_NH", "lm_head_VH", "mask_NW", "sets", "set_N", "extra_NX", "noise")
    num_element_bytes = 2 if device.type == "cuda" else 4

    def fits(most_rows: int, knobs: Knobs) -> bool:
        shared_bytes = Tiles(**knobs).shared_bytes(num_element_bytes) * knobs["programs_per_sm"]
        return 16 <= knobs["block_rows"] <= most_rows and shared_bytes <= MAX_SHARED_BYTES

    def make(size: Any, kind: str, num: int, device: torch.device) -> Callable[[Knobs], Work]:
        operands = scoring.operands(size, kind, num, device)
        inputs = [tuple(map(one.get, names)) for one in operands]
        return _by_knobs(constrained_scoring_triton, inputs, Tiles)

    found = []
    for size in [(3, 16, 70)] if is_small else [(n, *scoring.REAL) for n in (16, 64, 128)]:
        kinds = scoring.kinds(is_small)
        small = [kind for kind, num_tokens in kinds.items() if num_tokens]
        for kind in (*SWEPT_KINDS, small[len(small) // 2]):
            num_tokens = kinds[kind]
            sets = scoring.operands((1, 1, size[2]), kind, 1, torch.device("cpu"))[0].get("sets")
            num_places = size[2] if sets is None else len(sets.token_S)
            segment = None if sets is None else sets.segment
            own = tiles_for(size[0], num_places, segment, num_element_bytes)
            is_few, most_rows = num_tokens > 0, max(16, min(128, size[0]))
            choices = {
                "block_places": (32, 64) if is_few else (64, 128, 256),
                # With less than half of the rows in a tile, the LM head is read too often.
                "block_rows": (16, 32, 64) if is_few else (most_rows // 2, most_rows),
                "block_hidden": (128, 256, 512) if is_few else (64, 128),
                "num_warps": (4, 8) if is_few else (4, 8, 16),
                "num_stages": (2, 3, 4, 5),
                "programs_per_sm": (1, 2),
                "merge_block": (own.merge_block,),
                "drawn_merge_block": (own.drawn_merge_block,),
            }
            knobs = around(asdict(own), choices, partial(fits, most_rows), limit)
            num = 2 if is_small else inputs_beyond_cache(2.0 * size[1] * (num_tokens or size[2]))
            shape = f"{size[0]} rows, {size[1]} x {size[2]}, {kind}"
            found.append(Sweep(scoring.OP, shape, knobs, partial(make, size, kind), num))
    return found


def head_attention(is_small: bool, device: torch.device, limit: int) -> list[Sweep]:
    found = []
    for size in [(1, 3, 5)] if is_small else attention.REAL:
        found.append(_attention_forward(size, is_small, device, limit))
    for size in [(1, 3, 5)] if is_small else attention.REAL[2:]:
        found += [_attention_backward(size, of, is_small, device, limit) for of in (0, 1)]
    return found


def _attention_inputs(size: tuple[int, int, int], num: int, device: torch.device) -> list[Any]:
    """Tensors, and what else a call is made of."""
    from smoldiff_kernels.head_attention.layout import checked_layout

    inputs = []
    for _ in range(num):
        tensors = attention.operands(*size, device)
        pairs = (tensors[1:3], tensors[3:5])
        nothing = (None, None)
        layout = checked_layout(tensors[0], *pairs, nothing, nothing, nothing, (None,) * 3, None)
        inputs.append((tensors, layout))
    return inputs


def _attention_forward(
    size: tuple[int, int, int], is_small: bool, device: torch.device, limit: int
) -> Sweep:
    from smoldiff_kernels.head_attention.configs import Tiles, device_of, forward_plan
    from smoldiff_kernels.head_attention.kernel import forward, work_of

    b, t, c = size
    work = work_of(*_attention_inputs(size, 1, device)[0])
    tiles, tiles_per_split = forward_plan(work, device_of(device))

    splits = work.num_splits(tiles.block_n, tiles_per_split)
    own = {**tiles._asdict(), "num_splits": splits}
    near = {splits, splits + 1, splits + 2, 1, splits // 2, splits * 2, splits * 3} - {0}

    def run(tensors: Any, layout: Any, plan: Any) -> Any:
        return forward(tensors, layout, False, plan)[0]

    def plan(num_splits: int, **knobs: Any) -> Any:
        return Tiles(**knobs), work.tiles_per_split(knobs["block_n"], num_splits)

    def make(num: int, device: torch.device) -> Callable[[Knobs], Work]:
        return _by_knobs(run, _attention_inputs(size, num, device), plan)

    choices = {
        **_attention_choices(own),
        "num_splits": sorted(near),
        "is_chained": (False, True),
    }
    num = 2 if is_small else inputs_beyond_cache(attention.counts(*size)[1])
    knobs = around(own, choices, _fits_attention, limit)
    return Sweep(attention.OP, f"B {b}, T {t}, C {c}", knobs, make, num)


def _attention_backward(
    size: tuple[int, int, int], of: int, is_small: bool, device: torch.device, limit: int
) -> Sweep:
    """of: 0 the gradient of the queries, 1 that of keys and values, whose time has the other one's in it."""
    from smoldiff_kernels.head_attention.configs import Tiles, device_of, gradient_plan
    from smoldiff_kernels.head_attention.kernel import backward, forward, work_of

    b, t, c = size
    work = work_of(*_attention_inputs(size, 1, device)[0])
    table = gradient_plan(work, device_of(device))
    own: Knobs = (table.for_queries, table.for_keys)[of]._asdict()

    def plan(num_splits: int = 1, **knobs: Any) -> Any:
        if of == 1:
            return table._replace(for_keys=Tiles(**knobs))
        per_split = work.tiles_per_split(knobs["block_n"], num_splits)
        return table._replace(for_queries=Tiles(**knobs), tiles_per_split=per_split)

    def run(*arguments: Any) -> Any:
        *arguments, plan = arguments
        return tuple(x for x in backward(*arguments, of == 1, plan) if x is not None)

    def make(num: int, device: torch.device) -> Callable[[Knobs], Work]:
        inputs = []
        for tensors, layout in _attention_inputs(size, num, device):
            out, lse = forward(tensors, layout, True)
            inputs.append((tensors, out, lse, torch.randn_like(out), layout))
        return _by_knobs(run, inputs, plan)

    choices: dict[str, Sequence[Any]] = {**_attention_choices(own), "has_descriptors": (False,)}
    if of == 0:
        splits = work.num_splits(own["block_n"], table.tiles_per_split)
        own["num_splits"] = splits
        choices["num_splits"] = sorted({1, max(1, splits // 2), splits, 2 * splits})
    what = "gradient of queries" if of == 0 else "gradients of queries, keys, values"
    num = 2 if is_small else inputs_beyond_cache(3.0 * attention.counts(*size)[1])
    knobs = around(own, choices, _fits_attention, limit)
    return Sweep(attention.OP, f"B {b}, T {t}, C {c}, {what}", knobs, make, num)


def _attention_choices(own: Knobs) -> dict[str, Sequence[Any]]:
    return {
        "block_m": (32, 64, 128),
        "block_n": (32, 64, 128),
        "num_warps": (4, 8),
        "num_stages": (1, 2, 3, 4),
        "has_descriptors": (False, True),
        "is_chained": (own["is_chained"],),
    }


def _fits_attention(knobs: Knobs) -> bool:
    """Queries once, keys and values in each stage, 16 bits each."""
    rows = knobs["block_m"] + 2 * knobs["block_n"] * knobs["num_stages"]
    return bool(2 * attention.HEAD_DIM * rows <= MAX_SHARED_BYTES)


def slot_walk(is_small: bool, device: torch.device, limit: int) -> list[Sweep]:
    from smoldiff_kernels.slot_walk.kernel import FLOAT32_TILES, TILES, Tiles, slot_walk_triton

    choices = {
        "block_tokens": (32, 64, 128, 256),
        "block_context": (16, 32, 64, 128),
        "block_rank": (32, 64, 128, 256),
        "num_warps": (4, 8),
        "num_stages": (2, 3, 4),
        "is_turning": (False, True),
        "merged_tokens": (512, 1024, 2048),
        "choose_warps": (4, 8, 16),
        "is_chained": (False, True),
    }

    def fits(knobs: Knobs) -> bool:
        rows = (max(knobs["block_tokens"], knobs["block_context"]) + 16) * knobs["num_stages"]
        return bool(2 * knobs["block_rank"] * rows <= MAX_SHARED_BYTES)

    def make(num: int, device: torch.device) -> Callable[[Knobs], Work]:
        inputs = [(*slots.walk_operands(is_small, device), True) for _ in range(num)]
        return _by_knobs(slot_walk_triton, inputs, Tiles)

    own = TILES if device.type == "cuda" else FLOAT32_TILES
    knobs = around(asdict(own), choices, fits, limit)
    # A walk reads its table at every step: what is left of it in the cache belongs to it.
    return [Sweep(WALK, "16 slots of 8 positions", knobs, make, 2)]


SWEEPS: dict[str, Sweeps] = {
    slots.CLASSES: class_scores,
    slots.DECODING: slot_decoding,
    WALK: slot_walk,
    scoring.OP: constrained_scoring,
    attention.OP: head_attention,
}
