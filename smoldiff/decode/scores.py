"""What fills a template without the base: scores for every open choice and for every position of a slot."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smoldiff.errors import RequestError
from smoldiff.scaffold.cursor import Decision
from smoldiff.scaffold.remainder import member_value
from smoldiff.schema.pointers import escape
from smoldiff.template.template import Run, Template

# Shapes: B slots, P positions of each, U tokens that may stand in them.


class Ask(Enum):
    """What a question is about."""

    KEY = "key"
    """Whether an optional key is there: 0 no, 1 yes."""
    MEMBERS = "members"
    """How many members an open object has besides those that the schema names."""
    MEMBER = "member"
    """Which kind of unnamed member one is, by its place in `Keys.others`."""
    LENGTH = "length"
    """How many items an array has above the fewest; at "", how many calls above one."""
    BRANCH = "branch"
    """Which option of a union, or which tool."""
    KIND = "kind"
    """What kind of value stands where any may, by its place in `scaffold.anything`."""


RANKS = {Ask.BRANCH: 0, Ask.KIND: 1}
"""What is decided at one pointer, from the outside in: which branch, which kind of value, then what is in it."""
MAX_RANK = 2


@dataclass(frozen=True, slots=True)
class Question:
    """One open choice among `num_options`; `name` is the key, or the number of the member, that is asked about."""

    decision: Decision
    ask: Ask
    name: str
    num_options: int
    num_slots: int = 0
    """The slots, at least, that an answer has more for each step above option 0."""

    @property
    def pointer(self) -> str:
        return self.decision.pointer

    @property
    def scope(self) -> str:
        """The pointer of all that the answer decides on."""
        if self.ask is Ask.KEY:
            return f"{self.pointer}/{escape(self.name)}"
        return (
            member_value(self.pointer, int(self.name)) if self.ask is Ask.MEMBER else self.pointer
        )

    @property
    def rank(self) -> int:
        return RANKS.get(self.ask, MAX_RANK)


class Decider(Protocol):
    """What settles decisions; how it knows what it is asked about is its own affair."""

    def decide(self, template: Any, questions: Sequence[Question]) -> list[Tensor]:
        """For each question, a score for each option: float32 [num_options]."""


class Scorer(Protocol):
    """Scores are log-probabilities, or anything else that may be added up; the highest sum wins.

    NaN is refused. What scores -inf is taken last, but taken where nothing else is left (asking.MAX_SCORE).
    """

    def decide(self, template: Template, questions: Sequence[Question]) -> list[Tensor]:
        """For each question, a score for each option: float32 [num_options]."""

    def fill(
        self, template: Template, runs: Sequence[Run], token_ids: NDArray[np.int32]
    ) -> tuple[Tensor, Tensor]:
        """For slots of equal length: float32 [B, P, U] for the tokens `token_ids`, and [B, P] for NULL."""


class RandomScores:
    """Scores that mean nothing, drawn from a seed: the worst head there can be. Its output is valid all the same.

    The scores of a position are a window, at a random place, of one long row of noise: drawing 150,000 numbers for
    every position would cost more than all of the decoding.
    """

    _NUM_WINDOWS = 1 << 16

    def __init__(self, seed: int = 0) -> None:
        if not isinstance(seed, int) or isinstance(seed, bool):
            raise RequestError(f"seed={seed!r}: expected a whole number")
        self._generator = torch.Generator().manual_seed(seed)
        self._noise = torch.empty(0)

    def decide(self, template: Template, questions: Sequence[Question]) -> list[Tensor]:
        return [torch.randn(one.num_options, generator=self._generator) for one in questions]

    def fill(
        self, template: Template, runs: Sequence[Run], token_ids: NDArray[np.int32]
    ) -> tuple[Tensor, Tensor]:
        num_slots, num_positions = len(runs), runs[0].stop - runs[0].start
        num_needed = len(token_ids) + self._NUM_WINDOWS
        if len(self._noise) < num_needed:
            self._noise = torch.randn(num_needed, generator=self._generator)
        windows = self._noise.unfold(0, max(1, len(token_ids)), 1)
        starts = torch.randint(
            self._NUM_WINDOWS, (num_slots * num_positions,), generator=self._generator
        )
        scores = windows[starts][:, : len(token_ids)]
        return scores.view(num_slots, num_positions, -1), self._null(num_slots, num_positions)

    def _null(self, num_slots: int, num_positions: int) -> Tensor:
        """NULL wins from a random position on, so that slots of all lengths come out."""
        lengths = torch.randint(num_positions + 1, (num_slots, 1), generator=self._generator)
        return torch.where(torch.arange(num_positions) < lengths, -10.0, 10.0)
