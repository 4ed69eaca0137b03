"""The best text of each of many slots, by dynamic programming over (position, state)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from smoldiff_kernels.slot_decoding.automata import QUAD, Automata
from smoldiff_kernels.slot_decoding.reference import slot_decoding_reference

__all__ = ["QUAD", "Automata", "Impl", "slot_decoding"]

# Shapes: N slots, R rows (the positions of all slots), C classes of the automaton that has the most, P positions.

Impl = Literal["auto", "reference", "triton"]


def slot_decoding(
    score_RC: Tensor,
    token_RC: Tensor,
    null_R: Tensor,
    first_row_N: Tensor,
    automaton_N: Tensor,
    automata: Automata,
    *,
    max_positions: int,
    impl: Impl = "auto",
) -> tuple[Tensor, Tensor]:
    """The accepted token string with the highest score for each slot: Viterbi's algorithm (1967), as in DINGO (2025).

    score_RC float32/bfloat16/float16 and token_RC int32/int64 are each position's best token of each class, as
    `class_scores` and `constrained_scoring` make them; the classes are those of the slot's automaton, further columns are
    not read. null_R, of any of these floats, is the score of leaving a position unused. Scores are additive
    (log-probabilities); -inf forbids; NaN and +inf are not allowed. So a decided position has one way left.
    first_row_N [N + 1] int32: slot n stands at rows first_row_N[n]:first_row_N[n + 1], at most `max_positions` of them
    (what is beyond is left out), perhaps none. automaton_N [N] int32 is its automaton.

    Returns the tokens [N, max_positions] int64, NULL behind the text, and the sums of all scores taken, NULLs included,
    [N] float32; -inf and NULL throughout where no text fits.

    Sums of tokens are float32, from the end to the start; those of NULLs are float64, rounded to float32. Of equally good
    fillings the shorter is taken, then the lowest token id, position by position. Every `impl` returns the same bits.
    "triton" is one launch without host synchronisation, so that a CUDA graph can hold it. "reference" reads the offsets
    back to the host.
    """
    _check(score_RC, token_RC, null_R, first_row_N, automaton_N, automata, max_positions)
    if impl == "auto":
        impl = "triton" if score_RC.is_cuda else "reference"
    operands = (score_RC, token_RC, null_R, first_row_N, automaton_N, automata, max_positions)
    if impl == "reference":
        return slot_decoding_reference(*operands)
    if impl == "triton":
        from smoldiff_kernels.slot_decoding.kernel import slot_decoding_triton

        return slot_decoding_triton(*operands)
    raise ValueError(f'impl must be "auto", "reference" or "triton", not {impl!r}')


def _check(
    score_RC: Tensor,
    token_RC: Tensor,
    null_R: Tensor,
    first_row_N: Tensor,
    automaton_N: Tensor,
    automata: Automata,
    max_positions: int,
) -> None:
    floats = (torch.float32, torch.bfloat16, torch.float16)
    for name, tensor, dtypes in (
        ("score_RC", score_RC, floats),
        ("token_RC", token_RC, (torch.int32, torch.int64)),
        ("null_R", null_R, floats),
        ("first_row_N", first_row_N, (torch.int32,)),
        ("automaton_N", automaton_N, (torch.int32,)),
    ):
        if tensor.dtype not in dtypes:
            allowed = " or ".join(str(dtype) for dtype in dtypes)
            raise TypeError(f"{name} is {tensor.dtype}; convert it to {allowed}")
        if tensor.device != automata.start_A.device:
            at = automata.start_A.device
            raise ValueError(f"{name} is on {tensor.device}, the automata on {at}; move one")
    if score_RC.dim() != 2 or token_RC.shape != score_RC.shape:
        found = f"{tuple(score_RC.shape)} and {tuple(token_RC.shape)}"
        raise ValueError(f"score_RC and token_RC must both be [rows, classes], not {found}")
    if score_RC.shape[1] < automata.max_classes:
        raise ValueError(
            f"score_RC has {score_RC.shape[1]} classes, automata {automata.max_classes}"
        )
    if null_R.shape != score_RC.shape[:1]:
        raise ValueError(f"null_R must be [{len(score_RC)}], not {tuple(null_R.shape)}")
    if automaton_N.dim() != 1 or first_row_N.shape != (len(automaton_N) + 1,):
        found = f"{tuple(automaton_N.shape)} and {tuple(first_row_N.shape)}"
        raise ValueError(f"automaton_N and first_row_N must be [N] and [N + 1], not {found}")
    if max_positions < 0:
        raise ValueError(f"max_positions must not be negative, but is {max_positions}")
