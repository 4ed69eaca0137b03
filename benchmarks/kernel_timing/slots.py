"""Cases of slot decoding, and of the scores of token classes that it takes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kernel_timing.case import OURS, Case, Target
from kernel_timing.clock import Work, inputs_beyond_cache, taking_turns
from smoldiff.decode.flat import flat_automata
from smoldiff.template.automaton import TokenAutomaton
from smoldiff.template.vocabulary import Vocabulary
from smoldiff_kernels.class_scores import TokenClasses, class_scores
from smoldiff_kernels.slot_decoding import slot_decoding
from smoldiff_kernels.slot_walk import Automata, Context, Plain, Starts, Weights

# Shapes: N slots, P positions of each, S states, E edges of each, C classes, R rows, U tokens.

DECODING, CLASSES = "slot_decoding", "class_scores"
DECODING_SIZES = [(16, 16, 64, 16), (64, 32, 64, 16), (4, 16, 2000, 16)]
CLASS_SIZES = [(16, 147_449), (256, 147_449), (256, 11)]
NUM_CLASSES = 40
NUM_STRING_CLASSES = 25
"""Of the automaton of a string without bounds."""
NUM_INPUTS = 4
"""Of slot decoding: what it reads stays in the L2 cache, as it does after the scoring in front of it."""


def decoding_cases(is_small: bool) -> list[Case]:
    sizes = [(2, 3, 5, 3)] if is_small else DECODING_SIZES
    found = []
    for n, p, s, e in sizes:
        # One addition and one comparison an edge; edges and scores read once, tokens written.
        num_flops = 2.0 * n * p * s * e
        num_bytes = 8.0 * 3 * s * e + n * p * NUM_CLASSES * 8.0 + n * p * 8.0
        targets = [Target("us", 50)] if (n, p, s) == (16, 16, 64) else []
        shape, make = (
            f"{n} slots x {p} positions, {s} states, {e} edges each",
            partial(_decoding, n, p, s, e),
        )
        found.append(Case(DECODING, shape, num_flops, num_bytes, make, targets, NUM_INPUTS))
    return found


def class_cases(is_small: bool) -> list[Case]:
    sizes = [(4, 50)] if is_small else CLASS_SIZES
    found = []
    for r, u in sizes:
        shape = f"{r} rows, {u} tokens in {NUM_STRING_CLASSES} classes"
        num_bytes = 4.0 * r * u + 8.0 * u
        num = 2 if is_small else inputs_beyond_cache(num_bytes)
        make = partial(_classes, r, u, num)
        found.append(Case(CLASSES, shape, 1.0 * r * u, num_bytes, make, (), num))
    return found


def decoding_operands(
    n: int, p: int, s: int, e: int, num: int, device: torch.device
) -> list[tuple[Any, ...]]:
    """Of `slot_decoding`, all but `max_positions`."""
    automata = flat_automata([_grown(s, e, seed) for seed in range(3)], device)
    first_row_N = torch.arange(0, n * p + 1, p, dtype=torch.int32, device=device)
    automaton_N = (torch.arange(n, device=device) % 3).int()
    return [
        (
            torch.randn(n * p, NUM_CLASSES, device=device),
            torch.randint(0, 1000, (n * p, NUM_CLASSES), device=device).int(),
            torch.randn(n * p, device=device),
            first_row_N,
            automaton_N,
            automata,
        )
        for _ in range(num)
    ]


def _decoding(n: int, p: int, s: int, e: int, device: torch.device) -> Mapping[str, Work | None]:
    inputs = decoding_operands(n, p, s, e, NUM_INPUTS, device)
    return {OURS: taking_turns([partial(slot_decoding, *one, max_positions=p) for one in inputs])}


def _grown(num_states: int, num_edges: int, seed: int) -> TokenAutomaton:
    """An automaton of random edges, one token a class."""
    generator = np.random.default_rng(seed)
    classes = [
        np.sort(generator.choice(NUM_CLASSES, num_edges, replace=False)) for _ in range(num_states)
    ]
    return TokenAutomaton(
        Vocabulary(tuple(b"%d" % i for i in range(3 * NUM_CLASSES)), {}, "made", None),
        token_ids=np.arange(NUM_CLASSES, dtype=np.int32) * 3,
        classes=generator.permutation(NUM_CLASSES).astype(np.int32),
        accepts=generator.random(num_states) < 0.2,
        source=np.repeat(np.arange(num_states, dtype=np.int32), num_edges),
        cls=np.concatenate(classes).astype(np.int32),
        target=generator.integers(0, num_states, num_states * num_edges).astype(np.int32),
        min_tokens=1,
    )


def class_operands(
    r: int, u: int, num: int, device: torch.device
) -> list[tuple[Tensor, Tensor, Tensor, TokenClasses]]:
    """Of `class_scores`; only the scores differ."""
    classes = TokenClasses(
        first_token_A=torch.tensor([0, u], dtype=torch.int32, device=device),
        token_U=torch.arange(u, dtype=torch.int32, device=device),
        column_U=torch.arange(u, dtype=torch.int32, device=device),
        class_U=torch.randint(0, NUM_STRING_CLASSES, (u,)).sort().values.int().to(device),
        max_tokens=u,
        max_classes=NUM_STRING_CLASSES,
    )
    automaton_R = torch.zeros(r, dtype=torch.int32, device=device)
    null_R = torch.randn(r, device=device)
    return [(torch.randn(r, u, device=device), null_R, automaton_R, classes) for _ in range(num)]


def _classes(r: int, u: int, num: int, device: torch.device) -> Mapping[str, Work | None]:
    inputs = class_operands(r, u, num, device)
    index_RU = inputs[0][3].class_U.long().expand(r, u)

    def best(score_RU: Tensor) -> Tensor:
        lowest_RC = score_RU.new_full((r, NUM_STRING_CLASSES), -torch.inf)
        return lowest_RC.scatter_reduce(1, index_RU, score_RU, "amax")

    return {
        OURS: taking_turns([partial(class_scores, *one) for one in inputs]),
        "scatter_reduce, scores only": taking_turns([partial(best, one[0]) for one in inputs]),
    }


def walk_operands(is_small: bool, device: torch.device) -> tuple[Any, ...]:
    """A draft of 16 slots of 8 positions at the shape of SmolLM3-3B: operands, number of positions, of classes."""
    n, p, v, r, c, k = (2, 2, 40, 8, 8, 20) if is_small else (16, 8, 128_256, 256, 128, 2048)
    num_states, degree, num_classes = 9, 10, NUM_STRING_CLASSES
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, device=device).to(dtype)

    def below(most: int, *shape: int) -> Tensor:
        return torch.randint(most, shape, device=device)

    state_S = torch.arange(num_states, device=device)
    class_E = torch.arange(1, degree + 1, device=device).repeat(num_states)
    edges = torch.stack([class_E, below(num_states, len(class_E)), below(2, len(class_E))], 1)
    states = torch.stack([state_S * degree, torch.full_like(state_S, degree), state_S % 2], 1)
    number_N = torch.arange(n, device=device)
    return (
        Plain(drawn(n * p, v), drawn(n * p, r), drawn(n * p, c + 3)),
        Weights(drawn(v + 1, r), drawn(v, r) * r**-0.5, drawn(c + 3, r) * r**-0.5, drawn(3)),
        Context(below(v, k), drawn(k, c), torch.full((1,), k, device=device)),
        Automata(below(num_classes, 4, v).to(torch.int16), states, edges),
        Starts(number_N * p, number_N % 4, number_N * 0, number_N * 0 + p, below(v, n, 3)),
        p,
        num_classes,
    )
