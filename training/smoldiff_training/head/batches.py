"""Which examples a step trains on: a pure function of the seed, the step and the process.

So where a run stands in its data is its step number, and a run that goes on after a crash sees the same batches.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from smoldiff.decode.request import MAX_CALLS
from smoldiff.scaffold.answer import CallStyle
from smoldiff.scaffold.compile import compile_schema
from smoldiff.scaffold.scaffold import Scaffold
from smoldiff.template.vocabulary import Vocabulary
from smoldiff_training.data.targets import Target
from smoldiff_training.head.collate import Batch, collate
from smoldiff_training.head.config import NoiseConfig
from smoldiff_training.head.examples import Example, ExampleMaker, joined

# Shapes: E targets in one epoch, W targets of a window.

BATCHES_A_WINDOW = 32
"""Batches that are sorted by length together; the order of the batches is then shuffled again."""
MAX_TRIES = 256
STRIDE = 7919
"""To a target that is unlike: neighbours may be rows of one kind."""
MAX_SCAFFOLDS = 2048


@dataclass(eq=False)
class Scaffolds:
    """Compiled tools of one call style, the ones asked for lately."""

    call_style: CallStyle

    def __post_init__(self) -> None:
        self._known: OrderedDict[str, Scaffold] = OrderedDict()

    def __call__(self, tools: list[dict[str, Any]]) -> Scaffold:
        key = json.dumps(tools)
        if key not in self._known:
            can_repeat = self.call_style.can_repeat
            self._known[key] = compile_schema(
                tools, call_style=self.call_style, max_calls=MAX_CALLS if can_repeat else 1
            )
            if len(self._known) > MAX_SCAFFOLDS:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]


@dataclass(eq=False)
class HeadBatches:
    """Batches over a store of targets. `lengths` is what each takes, so that a batch holds similar ones."""

    targets: Sequence[Target]
    lengths: NDArray[np.int64]
    batch_examples: int
    vocabulary: Vocabulary
    call_style: CallStyle
    noise: NoiseConfig
    max_positions: int
    seed: int
    moments: int = 1
    """Moments of each answer that share one pass over its prompt."""

    def batch(self, step: int, rank: int = 0, num_ranks: int = 1) -> Batch:
        """This process's part of a step's batch."""
        made = [
            self._example(int(number), step, place)
            for place, number in list(enumerate(self._numbers(step)))[rank::num_ranks]
        ]
        return collate([example for example, _ in made], [target for _, target in made])

    def _numbers(self, step: int) -> NDArray[np.int64]:
        """The targets of a step."""
        window, idx = divmod(step, BATCHES_A_WINDOW)
        size = self.batch_examples * BATCHES_A_WINDOW
        numbers_W = self._stream(window * size, size)
        numbers_W = numbers_W[np.argsort(self.lengths[numbers_W], kind="stable")]
        order = np.random.default_rng((self.seed, 1, window)).permutation(BATCHES_A_WINDOW)
        start = int(order[idx]) * self.batch_examples
        return numbers_W[start : start + self.batch_examples]

    def _stream(self, start: int, count: int) -> NDArray[np.int64]:
        """Epoch after epoch, each in an order of its own."""
        num = len(self.targets)
        epochs = range(start // num, (start + count - 1) // num + 1)
        orders = [np.random.default_rng((self.seed, 0, e)).permutation(num) for e in epochs]
        first = start - epochs[0] * num
        return np.concatenate(orders)[first : first + count]

    def _example(self, number: int, step: int, place: int) -> tuple[Example, Target]:
        """An example of the target, or of one after it where it has nothing to ask."""
        for attempt in range(MAX_TRIES):
            target = self.targets[(number + STRIDE * (attempt // 2)) % len(self.targets)]
            rng = Random(f"{self.seed}/{step}/{number}/{place}/{attempt}")
            example = self._maker.make(target, rng)
            if example is not None:
                more = (self._maker.make(target, rng) for _ in range(self.moments - 1))
                return joined([example, *(one for one in more if one is not None)]), target
        raise ValueError(
            f"targets {number} and those behind it give no example: their answers hold no slot and no decision; "
            "train on tools that have arguments"
        )

    @cached_property
    def _maker(self) -> ExampleMaker:
        return ExampleMaker(
            self.vocabulary, self.noise, self.max_positions, Scaffolds(self.call_style)
        )


class Steps(torch.utils.data.Dataset[Batch]):
    """The batches of one process by step, for a DataLoader."""

    def __init__(self, batches: HeadBatches, rank: int, num_ranks: int) -> None:
        self._batches, self._rank, self._num_ranks = batches, rank, num_ranks

    def __getitem__(self, step: int) -> Batch:
        return self._batches.batch(step, self._rank, self._num_ranks)


class From(torch.utils.data.Sampler[int]):
    """Step numbers from one on, without an end."""

    def __init__(self, first: int) -> None:
        self._first = first

    def __iter__(self) -> Iterator[int]:
        step = self._first
        while True:
            yield step
            step += 1


def loader(
    batches: HeadBatches, first_step: int, rank: int, num_ranks: int, num_workers: int
) -> Iterator[Batch]:
    """Batches from a step on, made ahead in `num_workers` processes."""
    data = torch.utils.data.DataLoader(
        Steps(batches, rank, num_ranks),
        batch_size=None,
        sampler=From(first_step),
        num_workers=num_workers,
        prefetch_factor=4 if num_workers else None,
        multiprocessing_context="fork" if num_workers else None,
        pin_memory=torch.cuda.is_available(),
    )
    return iter(data)
