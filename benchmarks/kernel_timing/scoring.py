"""Cases of constrained scoring: rows of hidden states against an LM head, under masks, sets and noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from kernel_timing.case import OURS, Case, Target
from kernel_timing.clock import Work, inputs_beyond_cache, taking_turns
from smoldiff_kernels.constrained_scoring import (
    Noise,
    TokenSets,
    constrained_scoring,
    token_sets,
)

# Shapes: N rows, H hidden size, V vocabulary, W words of a mask.

OP = "constrained_scoring"
MATMUL = "matmul"
NUM_CLASSES = 25
"""Classes of tokens of an unbounded string's automaton."""
SMALL_SETS = (12, 60, 250)
"""Tokens of numbers and dates, of an enumeration, of a larger one."""
REAL = (2048, 128_256)
NUM_ROWS = (16, 64, 128, 512)


def cases(is_small: bool) -> list[Case]:
    sizes = [(3, 16, 70)] if is_small else [(n, *REAL) for n in NUM_ROWS]
    found = []
    for size in sizes:
        n, h, v = size
        for kind, num_tokens in kinds(is_small).items():
            num_read = num_tokens or v
            num_bytes = 2.0 * h * (num_read + n)
            num = 2 if is_small else inputs_beyond_cache(num_bytes)
            shape, make = f"{n} rows, {h} x {v}, {kind}", partial(_make, size, kind, num)
            bound = 0.1 if num_tokens else 1.15
            targets = [Target(MATMUL, bound)] if n <= 128 else []
            counts = (2.0 * n * num_read * h, num_bytes)
            found.append(Case(OP, shape, *counts, make, targets, num))
    return found


def kinds(is_small: bool) -> dict[str, int]:
    """What a row may take, and how many tokens a small set has; 0 where all are read."""
    small = {f"{num} tokens": num for num in ((5,) if is_small else SMALL_SETS)}
    return dict.fromkeys(("mask", "mask, sampled", "classes", "classes, sampled"), 0) | small


def operands(
    size: tuple[int, int, int], kind: str, num: int, device: torch.device
) -> list[dict[str, Any]]:
    """Of `constrained_scoring`. Hidden states and sets differ; the LM head is one, larger than any cache."""
    n, h, v = size
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    given: dict[str, Any] = {"lm_head_VH": (torch.randn(v, h, device=device) * h**-0.5).to(dtype)}
    if "sampled" in kind:
        given["noise"] = Noise(torch.arange(n, device=device), torch.ones(n, device=device))
    each: list[dict[str, Any]] = [{} for _ in range(num)]
    if kind.startswith("mask"):
        words_NW = torch.randint(-(2**31), 2**31 - 1, (n, -(-v // 32)), device=device)
        given["mask_NW"] = words_NW.int()
    elif kind.startswith("classes"):
        classes_V = torch.randint(0, NUM_CLASSES, (v,))
        given["sets"] = token_sets([torch.arange(v)], [classes_V], vocab_size=v, device=device)
    else:
        num_tokens = int(kind.split()[0])
        ids = torch.arange(num_tokens)
        sets = token_sets([ids], [ids], device=device)
        each = [{"sets": _with_other_ids(sets, v)} for _ in range(num)]
    if not kind.startswith("mask"):
        given["set_N"] = torch.zeros(n, dtype=torch.int32, device=device)
    hidden = [torch.randn(n, h, device=device).to(dtype) for _ in range(num)]
    return [{"hidden_NH": x, **given, **own} for x, own in zip(hidden, each, strict=True)]


def _with_other_ids(sets: TokenSets, num_vocab: int) -> TokenSets:
    token_S = sets.token_S.clone()
    is_token_S = token_S >= 0
    ids = torch.randperm(num_vocab)[: int(is_token_S.sum())].sort().values
    token_S[is_token_S] = ids.int().to(token_S.device)
    return replace(sets, token_S=token_S, num_ids=num_vocab)


def _make(
    size: tuple[int, int, int], kind: str, num: int, device: torch.device
) -> Mapping[str, Work | None]:
    inputs = operands(size, kind, num, device)
    plain = [(one["hidden_NH"], one["lm_head_VH"]) for one in inputs]
    found: dict[str, Work | None] = {
        OURS: taking_turns([partial(constrained_scoring, **one) for one in inputs]),
        MATMUL: taking_turns([partial(_matmul, *one) for one in plain]),
    }
    if kind == "mask":
        is_allowed_NV = torch.rand(size[0], size[2], device=device) < 0.5
        compiled = torch.compile(_masked) if device.type == "cuda" else None
        masked = [(*one, is_allowed_NV) for one in plain]
        found |= {
            "matmul + argmax": taking_turns([partial(_argmax, *one) for one in plain]),
            "mask + logsumexp + argmax": taking_turns([partial(_masked, *one) for one in masked]),
            "the same, torch.compile": compiled
            and taking_turns([partial(compiled, *one) for one in masked]),
        }
    return found


def _matmul(x_NH: Tensor, table_VH: Tensor) -> Tensor:
    return x_NH @ table_VH.T


def _argmax(x_NH: Tensor, table_VH: Tensor) -> Tensor:
    return (x_NH @ table_VH.T).argmax(1)


def _masked(x_NH: Tensor, table_VH: Tensor, is_allowed_NV: Tensor) -> tuple[Tensor, Tensor]:
    logits_NV = (x_NH @ table_VH.T).float().masked_fill(~is_allowed_NV, -torch.inf)
    best_N = logits_NV.argmax(1)
    return best_N, logits_NV.gather(1, best_N[:, None])[:, 0] - logits_NV.logsumexp(1)
