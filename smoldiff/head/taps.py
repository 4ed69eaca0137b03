"""Reading hidden states of a base while it runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from smoldiff.head.tables import decoder_layers

# Shapes: B rows, T tokens of a pass, H hidden size of the base, S = taps * H.


class Taps:
    """The states of one pass; filled while `reading` is open."""

    def __init__(self, layers: Sequence[int]) -> None:
        self.layers = tuple(layers)
        self._states: dict[int, Tensor] = {}

    def states_BTS(self) -> Tensor:
        """The states of all taps side by side, the last one behind the final norm."""
        return torch.cat([self._states[layer] for layer in self.layers], -1)

    @contextmanager
    def reading(self, model: Any) -> Iterator[Taps]:
        """Read what `model` computes inside the block."""
        layers, norm = decoder_layers(model)
        modules = {n: norm if n == len(layers) else layers[n - 1] for n in self.layers}
        hooks = [module.register_forward_hook(self._keep(n)) for n, module in modules.items()]
        try:
            yield self
        finally:
            for hook in hooks:
                hook.remove()

    def _keep(self, layer: int) -> Any:
        def hook(_module: Any, _inputs: Any, output: Any) -> None:
            self._states[layer] = (output[0] if isinstance(output, tuple) else output).detach()

        return hook
