"""What tests of kernels share: where Triton runs here, and how wrong a kernel may be.

Without a GPU, Triton's interpreter runs the kernels on the CPU. It must be chosen before Triton is imported, so this
module is imported first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

HAS_GPU = torch.cuda.is_available()
DEVICE = "cuda" if HAS_GPU else "cpu"
if not HAS_GPU:
    os.environ.setdefault("TRITON_INTERPRET", "1")


def assert_within_budget(ours: Tensor, eager: Tensor, exact: Tensor, slack: float) -> None:
    """Ours may be as far from the exact result as plain PyTorch in the same dtype, plus `slack` of the largest value.

    exact: in float32 or float64. Values that are not finite must be equal.
    """
    assert ours.shape == exact.shape == eager.shape
    exact = exact.double()
    is_finite = exact.isfinite()
    assert torch.equal(ours.double()[~is_finite], exact[~is_finite])
    if not is_finite.any():
        return
    ours, eager, exact = (t.double()[is_finite] for t in (ours, eager, exact))
    allowed = (eager - exact).abs().max() + slack * exact.abs().max().clamp(min=1e-6)
    worst = (ours - exact).abs().max()
    assert worst <= allowed, f"off by {worst:.3g}, allowed {allowed:.3g}"


@contextmanager
def poisoned_memory() -> Iterator[None]:
    """Fresh tensors of floats hold NaN, those of integers their largest value: what is not written shows."""
    plain: dict[str, Any] = {name: getattr(torch, name) for name in ("empty", "empty_like")}

    def poisoned(name: str) -> Any:
        def make(*args: Any, **options: Any) -> Tensor:
            made: Tensor = plain[name](*args, **options)
            if made.is_floating_point():
                return made.fill_(float("nan"))
            return made if made.dtype == torch.bool else made.fill_(torch.iinfo(made.dtype).max)

        return make

    for name in plain:
        setattr(torch, name, poisoned(name))
    try:
        yield
    finally:
        for name, function in plain.items():
            setattr(torch, name, function)
