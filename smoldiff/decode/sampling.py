"""How the base's next token is chosen from its logits, under the grammar.

Sampling draws by inverse transform with one uniform number a position. A draft is a point mass, so "accept it with
the target's probability, else draw from the rest" (speculative rejection sampling: Leviathan et al., 2023; Chen et
al., 2023) is the same as drawing the token and comparing: the distribution is the target's, and with the same seed
the draws are those of decoding without a draft.
"""

import hashlib
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from smoldiff.decode.grammar import Matcher

# Shapes: T positions of one row, V logits.


@dataclass(frozen=True, slots=True)
class Sampling:
    """temperature 0 is greedy. top_k 0 and top_p 1 are off. They apply after the grammar, in that order."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int | None = None

    def chooser(self, row: int, tie_tolerance: float) -> "Chooser":
        """A fresh chooser for the answer in this row of a batch."""
        if self.temperature == 0:
            return Greedy(tie_tolerance)
        return Sampler(self, row)


class Chooser(Protocol):
    """Chooses the tokens of one answer, position after position."""

    near_ties: int

    def look(self, logits_TV: Tensor) -> None:
        """Take the logits of the positions that follow, in order."""

    def choose(self, t: int, position: int, matcher: Matcher) -> int:
        """The token for row `t` of the logits, at this position of the answer; the matcher advances over it."""

    def rewind(self, position: int) -> None:
        """The tokens from this position on were refused and are chosen anew."""


class Greedy:
    """The allowed token with the largest logit; the lowest id among equals.

    `near_ties` counts positions whose two best allowed logits are closer than the tolerance: there a pass of another
    width may round to the other token, and only there can `verified` differ from `ar`.
    """

    def __init__(self, tie_tolerance: float) -> None:
        self.near_ties = 0
        self._tie_tolerance = tie_tolerance

    def look(self, logits_TV: Tensor) -> None:
        self._logits_TV = logits_TV
        best = logits_TV.topk(2, dim=-1)
        self._ids = best.indices.tolist()
        self._values = best.values.tolist()

    def choose(self, t: int, position: int, matcher: Matcher) -> int:
        first, second = self._values[t]
        token_id = int(self._ids[t][0])
        if first - second <= self._tie_tolerance or not matcher.allows(token_id):
            token_id = self._choose_masked(t, matcher)
        matcher.advance(token_id)
        return token_id

    def rewind(self, position: int) -> None:
        """A largest logit depends on nothing before it."""

    def _choose_masked(self, t: int, matcher: Matcher) -> int:
        logits_V = self._logits_TV[t]
        allowed_V = matcher.allowed(logits_V.numel()).to(logits_V.device)
        logits_V = logits_V.masked_fill(~allowed_V, float("-inf"))
        (first, second), _ = logits_V.topk(2)
        self.near_ties += int(first - second <= self._tie_tolerance)
        return int((logits_V == first).nonzero()[0])


class Sampler:
    """Draws from softmax(logits / temperature) over the allowed tokens, cut by top-k, then by top-p."""

    def __init__(self, sampling: Sampling, row: int) -> None:
        self.near_ties = 0
        self._sampling = sampling
        self._row = row
        self._num_rewinds = 0
        self._generator = torch.Generator()
        self._generator.seed()
        self._seed(str(row))
        self._uniforms: list[float] = []

    def _seed(self, place: str) -> None:
        if self._sampling.seed is not None:
            digest = hashlib.sha256(f"{self._sampling.seed}/{place}".encode()).digest()
            self._generator.manual_seed(int.from_bytes(digest[:7], "big"))

    def look(self, logits_TV: Tensor) -> None:
        self._logits_TV = logits_TV

    def choose(self, t: int, position: int, matcher: Matcher) -> int:
        logits_V = self._logits_TV[t].cpu()
        allowed_V = matcher.allowed(logits_V.numel())
        p_N, ids_N = truncated(logits_V.masked_fill(~allowed_V, float("-inf")), self._sampling)
        drawn = int(torch.searchsorted(p_N.cumsum(0), self._uniform(position) * float(p_N.sum())))
        token_id = int(ids_N[min(drawn, len(ids_N) - 1)])
        matcher.advance(token_id)
        return token_id

    def rewind(self, position: int) -> None:
        """Draw anew from here on: a number that chose a refused token would favour its neighbours."""
        self._uniform(position)
        del self._uniforms[position:]
        self._num_rewinds += 1
        self._seed(f"{self._row}/{self._num_rewinds}")

    def _uniform(self, position: int) -> float:
        while len(self._uniforms) <= position:
            self._uniforms.append(
                float(torch.rand((), generator=self._generator, dtype=torch.float64))
            )
        return self._uniforms[position]


def truncated(logits_V: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """Unnormalised probabilities [N] (float64, falling) and token ids [N] of the tokens that remain."""
    p_V = (logits_V.double() / sampling.temperature).softmax(-1)
    p_N, ids_N = p_V.sort(descending=True, stable=True)
    num_kept = int((p_N > 0).sum())
    if sampling.top_k:
        num_kept = min(num_kept, sampling.top_k)
    p_N, ids_N = p_N[:num_kept], ids_N[:num_kept]
    before_N = p_N.cumsum(0) / p_N.sum() - p_N / p_N.sum()
    is_kept_N = before_N < sampling.top_p
    is_kept_N[0] = True
    return p_N[is_kept_N], ids_N[is_kept_N]
