"""A base that keeps the best tokens of every position it is asked about.

The logits by which a batch is decoded are the ones that a teacher-forced pass over prompt and answer would compute
again, so they are taken down while they are there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smoldiff.decode.base import Base, Passes

# Shapes: N positions of one row in one pass, T positions of an answer, K best tokens of each, V vocabulary.

Ids = np.ndarray[Any, np.dtype[np.int32]]
LogProbs = np.ndarray[Any, np.dtype[np.float16]]


class RecordingBase:
    """`base` for one batch. After decoding, `best` has what it said at an answer's positions."""

    def __init__(self, base: Base, prompt_lengths: Sequence[int], top_k: int) -> None:
        self._base = base
        self._top_k = top_k
        self._prompt_lengths = list(prompt_lengths)
        self._ids_TK: list[Ids] = [np.zeros((0, top_k), np.int32) for _ in prompt_lengths]
        self._logp_TK: list[LogProbs] = [np.zeros((0, top_k), np.float16) for _ in prompt_lengths]

    @property
    def max_context(self) -> int:
        return self._base.max_context

    @property
    def eos_ids(self) -> tuple[int, ...]:
        return self._base.eos_ids

    @property
    def tie_tolerance(self) -> float:
        return self._base.tie_tolerance

    def open(self, taps: Sequence[int] = ()) -> RecordingPasses:
        return RecordingPasses(self, self._base.open(taps), len(self._prompt_lengths))

    def best(self, row: int, num_tokens: int) -> tuple[Ids, LogProbs]:
        """The best tokens of an answer's first positions, best first, and their log-probabilities: both [T, K]."""
        return self._ids_TK[row][:num_tokens], self._logp_TK[row][:num_tokens]

    def take_down(
        self, rows: Sequence[int], lengths: Sequence[int], logits: Sequence[Tensor]
    ) -> None:
        """Keep the best of `logits[i]` [N, V], which are those of the last positions before `lengths[i]`."""
        logp, ids = best_of(logits, self._top_k)
        end = 0
        for row, length, logits_NV in zip(rows, lengths, logits, strict=True):
            start, end = end, end + len(logits_NV)
            # position p of prompt and answer says what comes at p + 1
            first = length - len(logits_NV) + 1 - self._prompt_lengths[row]
            self._ids_TK[row] = np.concatenate([self._ids_TK[row][:first], ids[start:end]])
            self._logp_TK[row] = np.concatenate([self._logp_TK[row][:first], logp[start:end]])


def best_of(logits: Sequence[Tensor], top_k: int) -> tuple[LogProbs, Ids]:
    """The largest log-probabilities of all rows of `logits`, one tensor behind the other, and their tokens: both [N, K]."""
    best = [logits_NV.topk(top_k, dim=-1) for logits_NV in logits]
    norms = [logits_NV.logsumexp(-1, keepdim=True) for logits_NV in logits]
    ids_NK = torch.cat([one.indices for one in best])
    logp_NK = torch.cat([one.values for one in best]) - torch.cat(norms)
    return logp_NK.half().cpu().numpy(), ids_NK.int().cpu().numpy()


class RecordingPasses:
    """`passes` whose logits are taken down; keeps track of which row is which answer, and how long each is."""

    def __init__(self, owner: RecordingBase, passes: Passes, num_rows: int) -> None:
        self._owner = owner
        self._passes = passes
        self._rows = list(range(num_rows))
        self._lengths = [0] * num_rows

    @torch.inference_mode()
    def forward(self, feeds: Sequence[Sequence[int]], num_logits: Sequence[int]) -> list[Tensor]:
        logits = self._passes.forward(feeds, num_logits)
        lengths = [n + len(feed) for n, feed in zip(self._lengths, feeds, strict=True)]
        self._owner.take_down(self._rows, lengths, logits)
        return logits

    def states(self) -> list[Tensor | None]:
        return self._passes.states()

    def cut(self, lengths: Sequence[int]) -> None:
        self._passes.cut(lengths)
        self._lengths = list(lengths)

    def keep_rows(self, rows: Sequence[int]) -> None:
        self._passes.keep_rows(rows)
        self._rows = [self._rows[b] for b in rows]
        self._lengths = [self._lengths[b] for b in rows]
