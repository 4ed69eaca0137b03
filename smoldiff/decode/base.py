"""The base model's passes and their KV cache. The one contact with transformers' models and cache classes.

Every layer keeps all its keys and values, also a sliding-window one: only then can a rejected draft be cut off again.
Windows and positions stay right because each row is contiguous in the cache, ends at its last column, and carries its
own position ids; a layer without positions needs nothing more.
"""

import inspect
from collections.abc import Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

from smoldiff.errors import UnsupportedModel
from smoldiff.head.taps import Taps

# Shapes: B rows, T tokens fed in one pass, C cached columns, V logits, H heads, D head width.


class Passes(Protocol):
    """A running batch on a base: what its cache holds, row by row."""

    def forward(self, feeds: Sequence[Sequence[int]], num_logits: Sequence[int]) -> list[Tensor]:
        """Append `feeds[b]` to each row b; return its last `num_logits[b]` logits, [num_logits[b], V] float."""

    def states(self) -> list[Tensor | None]:
        """For each row of the last pass the states that were asked for, [len(feed), S]; None where none were."""

    def cut(self, lengths: Sequence[int]) -> None:
        """Keep only the first `lengths[b]` tokens of each row."""

    def keep_rows(self, rows: Sequence[int]) -> None:
        """Drop every row not listed."""


class Base(Protocol):
    """A causal language model that can be run forward and cut back."""

    @property
    def max_context(self) -> int:
        """Most tokens of prompt and answer together."""

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """Tokens that end an answer, as far as the model itself says."""

    @property
    def tie_tolerance(self) -> float:
        """Two logits closer than this may swap when the same tokens are computed in a pass of another width."""

    def open(self, taps: Sequence[int] = ()) -> Passes:
        """Start a batch with an empty cache; its passes also give the states behind the layers `taps`."""


class HFBase:
    """A transformers causal LM."""

    def __init__(self, model: Any) -> None:
        self.model = model
        if getattr(model, "_is_stateful", False):
            raise UnsupportedModel(
                f"{type(model).__name__} keeps a recurrent state that cannot be cut back after a rejected draft; "
                "use a model whose layers all are attention"
            )

    @cached_property
    def max_context(self) -> int:
        config = self.model.config.get_text_config()
        return int(getattr(config, "max_position_embeddings", None) or 1 << 30)

    @cached_property
    def eos_ids(self) -> tuple[int, ...]:
        eos = getattr(self.model.generation_config, "eos_token_id", None)
        return tuple(eos) if isinstance(eos, (list, tuple)) else (eos,) if eos is not None else ()

    @cached_property
    def tie_tolerance(self) -> float:
        """By dtype: 1e-4 covers what was seen in float32 (benchmarks/bench_calls.py --rounding prints the largest); a 16-bit model rounds
        logits of about 16 to steps of 2**-6 (float16) and 2**-3 (bfloat16).
        """
        return {torch.float32: 1e-4, torch.float64: 1e-10, torch.float16: 2.0**-5}.get(
            self.model.dtype, 2.0**-2
        )

    @cached_property
    def _parameters(self) -> frozenset[str]:
        return frozenset(inspect.signature(self.model.forward).parameters)

    @property
    def takes_logits_to_keep(self) -> bool:
        return "logits_to_keep" in self._parameters

    @property
    def cache_name(self) -> str:
        """The argument that takes the cache: newer releases of transformers call it "cache", model by model."""
        return "cache" if "cache" in self._parameters else "past_key_values"

    def open(self, taps: Sequence[int] = ()) -> "HFPasses":
        return HFPasses(self, taps)


class HFPasses:
    """Rows are padded on the left of the cache; a pass after the first pads its feeds on the right."""

    def __init__(self, base: HFBase, taps: Sequence[int] = ()) -> None:
        self._base = base
        self._cache = DynamicCache()
        self._lengths: list[int] = []
        self._taps = Taps(taps) if taps else None
        self._states: list[Tensor | None] = []

    @torch.inference_mode()
    def forward(self, feeds: Sequence[Sequence[int]], num_logits: Sequence[int]) -> list[Tensor]:
        is_first = not self._lengths
        if is_first:
            self._lengths = [0] * len(feeds)
        width = max(map(len, feeds))
        shift = [width - len(feed) if is_first else 0 for feed in feeds]
        rows = [
            [0] * s + list(f) + [0] * (width - len(f) - s)
            for s, f in zip(shift, feeds, strict=True)
        ]
        positions = [
            [max(0, n - s + t) for t in range(width)]
            for n, s in zip(self._lengths, shift, strict=True)
        ]
        first_logit = min(s + len(f) - n for s, f, n in zip(shift, feeds, num_logits, strict=True))
        with self._taps.reading(self._base.model) if self._taps else nullcontext():
            logits_BTV = self._call(
                rows, positions, self._attention(feeds, shift, width), width - first_logit
            )
        self._states = [None] * len(feeds)
        if self._taps:
            states_BTS = self._taps.states_BTS()
            self._states = [
                states_BTS[b, s : s + len(f)]
                for b, (s, f) in enumerate(zip(shift, feeds, strict=True))
            ]
        out = [
            logits_BTV[b, s + len(f) - n - first_logit : s + len(f) - first_logit]
            for b, (s, f, n) in enumerate(zip(shift, feeds, num_logits, strict=True))
        ]
        self._end_columns = [s + len(f) for s, f in zip(shift, feeds, strict=True)]
        self._columns_before = self._columns() - width
        self._lengths = [n + len(f) for n, f in zip(self._lengths, feeds, strict=True)]
        return out

    def states(self) -> list[Tensor | None]:
        return self._states

    def _call(
        self, rows: list[list[int]], positions: list[list[int]], mask: Tensor | None, keep: int
    ) -> Tensor:
        model = self._base.model
        options: dict[str, Any] = {self._base.cache_name: self._cache}
        if self._base.takes_logits_to_keep:
            options["logits_to_keep"] = keep
        logits_BTV = model(
            input_ids=torch.tensor(rows, device=model.device),
            position_ids=torch.tensor(positions, device=model.device),
            attention_mask=mask,
            use_cache=True,
            **options,
        ).logits
        logits_BTV = logits_BTV[:, -keep:].float()
        if (
            logits_BTV.is_cuda
        ):  # the logits are read at once anyway; waiting here keeps the stages' times apart
            torch.cuda.synchronize(logits_BTV.device)
        return logits_BTV

    def _attention(
        self, feeds: Sequence[Sequence[int]], shift: Sequence[int], width: int
    ) -> Tensor | None:
        """[B, C + T], 1 where a column holds a token of its row; None for a single row, which has no padding."""
        if len(feeds) == 1:
            return None
        columns = self._columns()
        mask = torch.zeros(len(feeds), columns + width, dtype=torch.long)
        for b, (feed, s) in enumerate(zip(feeds, shift, strict=True)):
            mask[b, columns - self._lengths[b] : columns] = 1
            mask[b, columns + s : columns + s + len(feed)] = 1
        return mask.to(self._base.model.device)

    def _columns(self) -> int:
        return int(self._cache.get_seq_length())

    def cut(self, lengths: Sequence[int]) -> None:
        if len(lengths) == 1:
            for layer in self._layers():
                layer.keys = layer.keys[:, :, : lengths[0]]
                layer.values = layer.values[:, :, : lengths[0]]
        else:
            self._realign(lengths)
        self._lengths = list(lengths)

    def _layers(self) -> list[DynamicLayer]:
        """The layers that hold keys and values; a layer that shares another's holds none."""
        for layer in self._cache.layers:
            if type(layer) is not DynamicLayer:
                raise UnsupportedModel(
                    f"{type(self._base.model).__name__} replaced a cache layer by {type(layer).__name__}, "
                    "which cannot be cut back after a rejected draft"
                )
        return [layer for layer in self._cache.layers if layer.keys is not None]

    @torch.inference_mode()
    def _realign(self, lengths: Sequence[int]) -> None:
        """Move the rows so that each ends in the last column again."""
        columns = max(lengths)
        first = [
            self._columns_before + end - held
            for end, held in zip(self._end_columns, self._lengths, strict=True)
        ]
        offset_B = torch.tensor([f - (columns - n) for f, n in zip(first, lengths, strict=True)])
        source_BC = (offset_B[:, None] + torch.arange(columns)).clamp(min=0)
        for layer in self._layers():
            for name in ("keys", "values"):
                held_BHCD = getattr(layer, name)
                index = source_BC.to(held_BHCD.device)[:, None, :, None]
                index = index.expand(-1, held_BHCD.shape[1], -1, held_BHCD.shape[3])
                setattr(layer, name, held_BHCD.gather(2, index))

    def keep_rows(self, rows: Sequence[int]) -> None:
        if list(rows) == list(range(len(self._lengths))):
            return
        self._lengths = [self._lengths[b] for b in rows]
        columns = max(
            self._lengths
        )  # rows end in the last column: what stands before the longest is padding
        for layer in self._layers():
            index = torch.tensor(rows, device=layer.keys.device)
            layer.keys = layer.keys[index][:, :, -columns:]
            layer.values = layer.values[index][:, :, -columns:]
