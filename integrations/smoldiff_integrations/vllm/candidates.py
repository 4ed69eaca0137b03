"""What the model would have said at the tokens of a step's drafts: the best tokens of each place, read from its logits."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import overload

from torch import Tensor

# Shapes: R rows of a step's logits, V vocabulary.


class Ranking:
    """Of one step, for all drafts at once: the device is asked twice, however many there are, and not before the first question."""

    def __init__(self, logits_RV: Tensor, drafted: Sequence[int | None], num_best: int) -> None:
        """drafted: of each row the draft token that it judges, None for none."""
        self._logits_RV, self._drafted, self._num_best = logits_RV, drafted, num_best

    def of(self, first: int, stop: int) -> Candidates:
        """Those of a draft whose logits are these rows."""
        return Candidates(self, first, stop)

    def at(self, row: int) -> Sequence[int]:
        """The best tokens, best first; the best alone where it was drafted."""
        found = self._ranked.get(row)
        return (self._best[row],) if found is None else found

    @functools.cached_property
    def _best(self) -> list[int]:
        best: list[int] = self._logits_RV.argmax(-1).tolist()
        return best

    @functools.cached_property
    def _ranked(self) -> dict[int, list[int]]:
        """The rows whose draft token is not the best one."""
        pairs = enumerate(zip(self._drafted, self._best, strict=True))
        rows = [i for i, (drafted, best) in pairs if drafted is not None and drafted != best]
        if not rows:
            return {}
        best = self._logits_RV[rows].topk(self._num_best).indices.tolist()
        return dict(zip(rows, best, strict=True))


class Candidates(Sequence[Sequence[int]]):
    """The best tokens, best first, at each token of a draft."""

    def __init__(self, ranking: Ranking, first: int, stop: int) -> None:
        self._ranking, self._rows = ranking, range(first, stop)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, t: int) -> Sequence[int]: ...

    @overload
    def __getitem__(self, t: slice) -> Sequence[Sequence[int]]: ...

    def __getitem__(self, t: int | slice) -> Sequence[int] | Sequence[Sequence[int]]:
        if isinstance(t, slice):
            return [self._ranking.at(row) for row in self._rows[t]]
        return self._ranking.at(self._rows[t])

    def __iter__(self) -> Iterator[Sequence[int]]:
        return (self._ranking.at(row) for row in self._rows)
