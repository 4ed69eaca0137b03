"""A mend for vLLM's build for CPUs, where verified drafts are sampled at a wrong temperature."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# Shapes: B rows of a batch, T draft tokens of all rows.


def mend_expansion() -> bool:
    """Replace `expand_batch_to_tokens` where it does not do what it says; returns whether it was replaced.

    In 0.26 and 0.32 its CPU kernel writes temperatures, top-k and top-p into a copy and leaves the result unset.
    """
    from vllm.platforms import current_platform
    from vllm.v1.sample import rejection_sampler

    if not current_platform.is_cpu() or _is_right(rejection_sampler.expand_batch_to_tokens):
        return False
    rejection_sampler.expand_batch_to_tokens = expand_batch_to_tokens
    return True


def _is_right(expand: Any) -> bool:
    try:
        found = expand(torch.tensor([0.5, 0.0]), torch.tensor([2, 3], dtype=torch.int32), 3, 0, 1)
    except TypeError:  # the kernel of 0.26 can be called only once the runner is made
        return False
    return bool(found.tolist() == [0.5, 0.5, 1.0])


def expand_batch_to_tokens(
    x_B: Tensor, ends_B: Tensor, num_tokens: int, replace_from: int = 0, replace_to: int = 0
) -> Tensor:
    """Each row's value at each of its tokens, [T]; `ends_B` is where the rows' tokens end."""
    counts_B = ends_B.diff(prepend=ends_B.new_zeros(1))
    x_T = x_B.repeat_interleave(counts_B, output_size=num_tokens)
    return torch.where(x_T == replace_from, torch.full_like(x_T, replace_to), x_T)
