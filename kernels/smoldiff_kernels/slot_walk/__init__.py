"""Slots filled from left to right, side by side, each along its automaton."""

from __future__ import annotations

from typing import Literal

from smoldiff_kernels.slot_walk.operands import (
    NO_TEXT,
    Automata,
    Context,
    Plain,
    Starts,
    Walked,
    Weights,
    check,
)
from smoldiff_kernels.slot_walk.reference import slot_walk_reference

__all__ = [
    "NO_TEXT",
    "Automata",
    "Context",
    "Impl",
    "Plain",
    "Starts",
    "Walked",
    "Weights",
    "slot_walk",
]

Impl = Literal["auto", "reference", "triton"]


def slot_walk(
    plain: Plain,
    weights: Weights,
    context: Context,
    automata: Automata,
    starts: Starts,
    *,
    num_positions: int,
    num_classes: int,
    has_confidence: bool,
    impl: Impl = "auto",
) -> Walked:
    """Each position takes the best token from which an accepted text can still be reached, or ends the slot.

    A position's logits are `logits_QV[row] + inner @ table_VR.T`, where inner follows from the token in
    front (the semi-autoregressive term of DSpark, 2026); so a step costs [V, R] instead of the whole LM
    head. The likelihood of a token is mixed of their softmax and of a pointer's over the context (pointer
    networks, 2015), where its copies are summed. Of equally likely tokens the lowest id is taken. No
    automaton has more than `num_classes` classes, 0 included.
    has_confidence: `Walked.chance_PN` is the head's own, else the likelihood of what was chosen.

    logits_QV and table_VR are of one dtype, what comes of the head of one, each float32, bfloat16 or
    float16; sums are float32. "triton" agrees with "reference" to float32 rounding. It sorts the context,
    then makes one launch and two more for each position, without host synchronisation, so that a CUDA
    graph can hold it.

    Floor of a step: one read of `table_VR`, of N rows of logits and of classes: V * (R * size + N * (size +
    2)) bytes. V = 128,256, R = 256, N = 16 in bfloat16: 74 MB, 17 us at 4.27 TB/s.

    Raises TypeError and ValueError for dtypes and shapes that do not fit together.
    """
    check(plain, weights, context, automata, starts)
    if impl == "auto":
        impl = "triton" if plain.logits_QV.is_cuda else "reference"
    operands = (plain, weights, context, automata, starts, num_positions, num_classes)
    if impl == "reference":
        return slot_walk_reference(*operands, has_confidence)
    if impl == "triton":
        from smoldiff_kernels.slot_walk.kernel import slot_walk_triton

        return slot_walk_triton(*operands, has_confidence)
    raise ValueError(f'impl must be "auto", "reference" or "triton", not {impl!r}')
