"""Gumbel noise that depends on a seed and a number alone: Philox2x32-7 (Salmon et al., 2011), the fewest rounds that
passed all their tests.

A draw is made from above (Maddison et al., 2014): a segment of tokens by its log-sum-exp and noise of its own, then a token of
it by its logit and noise. So the many tokens of an LM head need none, but for those of one segment.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# Shapes: N rows, U tokens.

MULTIPLIER = 0xD256D193
KEY_STEP = 0x9E3779B9
NUM_ROUNDS = 7
SEGMENT_BIT = 1 << 31
"""Of the numbers of segments; token ids are below."""
DRAWN_SEGMENT = 16
"""Tokens of a segment, where no sets have segments of their own: what one warp of a tensor core's tile holds. Token t is of
segment t // 16, whatever the tiles."""
MAX_UNIFORM = 1 - 2**-24
"""The largest float32 below 1: with it the least noise is finite, and a lone allowed token is always drawn."""
_WORD = 0xFFFFFFFF


class Noise(NamedTuple):
    """How each row draws. Device tensors: a CUDA graph reads what stands in them when it runs."""

    seed_N: Tensor
    """int64: rows with the same seed have the same noise, so every row and every step wants another."""
    temperature_N: Tensor
    """float32, 0 or more; 0 takes the best token without noise."""


def random_words(seed_N: Tensor, number_U: Tensor) -> Tensor:
    """32 random bits for each row and number below 2^32, [N, U] int64: the first word of the block with counter (number, high
    half of the seed) and key low half of the seed."""
    first_NU = number_U.expand(len(seed_N), -1)
    second_NU = (seed_N >> 32 & _WORD)[:, None]
    key_N1 = (seed_N & _WORD)[:, None]
    for _ in range(NUM_ROUNDS):
        product_NU = (
            first_NU * MULTIPLIER
        )  # modulo 2^64: all 64 bits are right, as one signed number
        first_NU = (product_NU >> 32 & _WORD) ^ key_N1 ^ second_NU
        second_NU = product_NU & _WORD
        key_N1 = key_N1 + KEY_STEP & _WORD
    return first_NU


def gumbel_noise(seed_N: Tensor, number_U: Tensor) -> Tensor:
    """[N, U] float32. -log(-log(1 - u)): u near 0, where the large noise is, keeps all its bits."""
    uniform_NU = (random_words(seed_N, number_U).double() + 0.5) * 2**-32
    exponential_NU = -torch.log1p(-uniform_NU.clamp(max=MAX_UNIFORM))
    return -exponential_NU.log().float()
