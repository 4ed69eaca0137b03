"""Cases of slot decoding, and of the scores of token classes that it takes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import torch

from kernel_timing.case import OURS, Case, Target
from kernel_timing.clock import Work, taking_turns
from smoldiff.decode.flat import flat_automata
from smoldiff.template.automaton import TokenAutomaton
from smoldiff.template.vocabulary import Vocabulary
from smoldiff_kernels.class_scores import TokenClasses, class_scores
from smoldiff_kernels.slot_decoding import slot_decoding

# Shapes: N slots, P positions of each, S states, E edges of each, C classes, R rows, U tokens.

DECODING, CLASSES = "slot_decoding", "class_scores"
NUM_CLASSES = 40
NUM_INPUTS = 4


def decoding_cases(is_small: bool) -> list[Case]:
    sizes = [(2, 3, 5, 3)] if is_small else [(16, 16, 64, 16), (64, 32, 64, 16), (4, 16, 2000, 16)]
    found = []
    for n, p, s, e in sizes:
        # One addition and one comparison an edge; edges and scores read once, tokens written.
        num_flops = 2.0 * n * p * s * e
        num_bytes = 8.0 * 3 * s * e + n * p * NUM_CLASSES * 8.0 + n * p * 8.0
        targets = [Target("us", 50)] if (n, p, s) == (16, 16, 64) else []
        shape = f"{n} slots x {p} positions, {s} states, {e} edges each"
        found.append(
            Case(
                DECODING,
                shape,
                num_flops,
                num_bytes,
                partial(_decoding, n, p, s, e),
                targets,
                NUM_INPUTS,
            )
        )
    return found


def class_cases(is_small: bool) -> list[Case]:
    sizes = [(4, 50)] if is_small else [(16, 147_449), (256, 147_449), (256, 11)]
    found = []
    for r, u in sizes:
        shape = f"{r} rows, {u} tokens in 25 classes"
        found.append(
            Case(
                CLASSES,
                shape,
                1.0 * r * u,
                4.0 * r * u + 8.0 * u,
                partial(_classes, r, u),
                (),
                NUM_INPUTS,
            )
        )
    return found


def _decoding(n: int, p: int, s: int, e: int, device: torch.device) -> Mapping[str, Work | None]:
    automata = flat_automata([_grown(s, e, seed) for seed in range(3)], device)
    first_row_N = torch.arange(0, n * p + 1, p, dtype=torch.int32, device=device)
    automaton_N = (torch.arange(n, device=device) % 3).int()

    def operands() -> tuple[torch.Tensor, ...]:
        score_RC = torch.randn(n * p, NUM_CLASSES, device=device)
        token_RC = torch.randint(0, 1000, (n * p, NUM_CLASSES), device=device).int()
        return score_RC, token_RC, torch.randn(n * p, device=device)

    return {
        OURS: taking_turns(
            [
                partial(
                    slot_decoding, *operands(), first_row_N, automaton_N, automata, max_positions=p
                )
                for _ in range(NUM_INPUTS)
            ]
        )
    }


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


def _classes(r: int, u: int, device: torch.device) -> Mapping[str, Work | None]:
    class_U = torch.randint(0, 25, (u,)).sort().values
    classes = TokenClasses(
        first_token_A=torch.tensor([0, u], dtype=torch.int32, device=device),
        token_U=torch.arange(u, dtype=torch.int32, device=device),
        column_U=torch.arange(u, dtype=torch.int32, device=device),
        class_U=class_U.int().to(device),
        max_tokens=u,
        max_classes=25,
    )
    automaton_R = torch.zeros(r, dtype=torch.int32, device=device)
    index_RU = class_U.to(device).expand(r, u)
    scores = [torch.randn(r, u, device=device) for _ in range(NUM_INPUTS)]
    null_R = torch.randn(r, device=device)
    return {
        OURS: taking_turns(
            [partial(class_scores, one, null_R, automaton_R, classes) for one in scores]
        ),
        "scatter_reduce, scores only": taking_turns(
            [
                partial(one.new_full((r, 25), -torch.inf).scatter_reduce, 1, index_RU, one, "amax")
                for one in scores
            ]
        ),
    }
