"""Cases of constrained scoring: rows of hidden states against an LM head, under masks, sets and noise."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from kernel_timing.case import OURS, Case, Target
from kernel_timing.clock import Work, taking_turns
from smoldiff_kernels.constrained_scoring import Noise, constrained_scoring, token_sets

# Shapes: N rows, H hidden size, V vocabulary, W words of a mask.

OP = "constrained_scoring"
MATMUL = "matmul"
NUM_CLASSES = 25
"""Classes of tokens of an unbounded string's automaton."""
SMALL_SETS = (12, 60, 250)
"""Tokens of numbers and dates, of an enumeration, of a larger one."""
NUM_INPUTS = 4


def cases(is_small: bool) -> list[Case]:
    sizes = [(3, 16, 70)] if is_small else [(n, 2048, 128_256) for n in (16, 64, 128, 512)]
    found = []
    for size in sizes:
        n, h, v = size
        is_bounded = n <= 128
        target = [Target(MATMUL, 1.15)] if is_bounded else []
        small = [Target(MATMUL, 0.1)] if is_bounded else []
        whole = (2.0 * n * v * h, 2.0 * v * h)
        kinds = ("mask", "mask, sampled", "classes", "classes, sampled")
        for kind in kinds:
            found.append(
                Case(
                    OP,
                    _shape(size, kind),
                    *whole,
                    partial(_make, size, kind, 0),
                    target,
                    NUM_INPUTS,
                )
            )
        for num in SMALL_SETS if not is_small else (5,):
            kind = f"{num} tokens"
            counts = (2.0 * n * num * h, 2.0 * (num * h + n * h))
            found.append(
                Case(
                    OP,
                    _shape(size, kind),
                    *counts,
                    partial(_make, size, kind, num),
                    small,
                    NUM_INPUTS,
                )
            )
    return found


def _shape(size: tuple[int, int, int], kind: str) -> str:
    return f"{size[0]} rows, {size[1]} x {size[2]}, {kind}"


def _make(
    size: tuple[int, int, int], kind: str, num_tokens: int, device: torch.device
) -> Mapping[str, Work | None]:
    n, h, v = size
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    hidden = [torch.randn(n, h, device=device).to(dtype) for _ in range(NUM_INPUTS)]
    lm_head_VH = (torch.randn(v, h, device=device) * h**-0.5).to(dtype)
    noise = None
    if "sampled" in kind:
        seed_N = torch.arange(n, device=device)
        noise = Noise(seed_N, torch.ones(n, device=device))
    if kind.startswith("mask"):
        mask_NW = torch.randint(-(2**31), 2**31 - 1, (n, -(-v // 32)), device=device).int()
        ours = [
            partial(constrained_scoring, x, lm_head_VH, mask_NW=mask_NW, noise=noise)
            for x in hidden
        ]
    else:
        set_N = torch.zeros(n, dtype=torch.int32, device=device)
        all_sets = [_sets(v, num_tokens, seed, device) for seed in range(NUM_INPUTS)]
        ours = [
            partial(constrained_scoring, x, lm_head_VH, sets=one, set_N=set_N, noise=noise)
            for x, one in zip(hidden, all_sets, strict=True)
        ]
    found: dict[str, Work | None] = {
        OURS: taking_turns(ours),
        MATMUL: taking_turns([partial(_matmul, x, lm_head_VH) for x in hidden]),
    }
    if kind == "mask":
        is_allowed_NV = torch.rand(n, v, device=device) < 0.5
        compiled = torch.compile(_masked) if device.type == "cuda" else None
        found |= {
            "matmul + argmax": taking_turns([partial(_argmax, x, lm_head_VH) for x in hidden]),
            "mask + logsumexp + argmax": taking_turns(
                [partial(_masked, x, lm_head_VH, is_allowed_NV) for x in hidden]
            ),
            "the same, torch.compile": compiled
            and taking_turns([partial(compiled, x, lm_head_VH, is_allowed_NV) for x in hidden]),
        }
    return found


def _sets(num_vocab: int, num_tokens: int, seed: int, device: torch.device) -> object:
    generator = torch.Generator().manual_seed(seed)
    if num_tokens:
        ids = torch.randperm(num_vocab, generator=generator)[:num_tokens]
        return token_sets([ids], [torch.arange(num_tokens)], device=device)
    classes = torch.randint(0, NUM_CLASSES, (num_vocab,), generator=generator)
    return token_sets([torch.arange(num_vocab)], [classes], vocab_size=num_vocab, device=device)


def _matmul(x_NH: Tensor, table_VH: Tensor) -> Tensor:
    return x_NH @ table_VH.T


def _argmax(x_NH: Tensor, table_VH: Tensor) -> Tensor:
    return (x_NH @ table_VH.T).argmax(1)


def _masked(x_NH: Tensor, table_VH: Tensor, is_allowed_NV: Tensor) -> tuple[Tensor, Tensor]:
    logits_NV = (x_NH @ table_VH.T).float().masked_fill(~is_allowed_NV, -torch.inf)
    best_N = logits_NV.argmax(1)
    return best_N, logits_NV.gather(1, best_N[:, None])[:, 0] - logits_NV.logsumexp(1)
