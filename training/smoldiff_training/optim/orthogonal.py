"""Newton-Schulz: matrices with their singular values pushed to about 1, those of one shape in one product.

One by one, the matrices of each layer cost thousands of small launches a step.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

# Shapes: B matrices of one shape, M by N.

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # those of torch.optim.Muon
NUM_STEPS = 5


def orthogonal(update_BMN: Tensor) -> Tensor:
    """Each matrix of the batch with its singular values pushed to about 1, in bfloat16 on a GPU."""
    a, b, c = COEFFICIENTS
    x = update_BMN.to(torch.bfloat16) if update_BMN.is_cuda else update_BMN
    is_tall = x.shape[1] > x.shape[2]
    x = x.mT if is_tall else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(NUM_STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if is_tall else x


def orthogonal_each(updates: Sequence[Tensor]) -> list[Tensor]:
    """The same of matrices of any shapes, in their order."""
    done: dict[int, Tensor] = {}
    for group in by_shape([u.shape for u in updates]):
        batch_BMN = orthogonal(torch.stack([updates[i] for i in group]))
        done.update(zip(group, batch_BMN.unbind(0), strict=True))
    return [done[i] for i in range(len(updates))]


def by_shape(shapes: Sequence[torch.Size]) -> list[list[int]]:
    """Where each shape stands, the shapes in the order of their first place."""
    places: dict[torch.Size, list[int]] = defaultdict(list)
    for i, shape in enumerate(shapes):
        places[shape].append(i)
    return list(places.values())
