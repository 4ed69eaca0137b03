"""Which rows targets are made of: rows as they are, the same rows as they could also have been, and synthetic ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any, overload

import numpy as np

from smoldiff_training.config import ConfigError
from smoldiff_training.data.aliases import collect_wordings
from smoldiff_training.data.augment import Corpus
from smoldiff_training.data.augment import augment as new_version
from smoldiff_training.data.entities import collect_pool
from smoldiff_training.data.render import dumps
from smoldiff_training.data.rows import Json, Row, read_json_lines
from smoldiff_training.data.synthesize import Seeds, make_seeds, synthesize

SYNTHETIC = -1
FEWEST_TOOLS = 5
"""Tools that a synthetic row may have."""
MAX_JOINED_CALLS = 3
NUM_PROBES = 16

Ints = np.ndarray[Any, np.dtype[np.int32]]

# Shapes: N rows drawn.


@dataclass(frozen=True, eq=False)
class DrawnRows(Sequence[Row]):
    """Rows that are made when they are asked for, each from its number alone, so that processes can share the work."""

    rows: list[Row]
    seed: int
    picks_N: Ints
    """Which of `rows`; SYNTHETIC for none of them."""
    is_again_N: np.ndarray[Any, np.dtype[np.bool_]]
    """Whether the row was drawn before; then it comes in another version."""
    corpus: Corpus | None
    seeds: Seeds | None

    def __len__(self) -> int:
        return len(self.picks_N)

    @overload
    def __getitem__(self, at: int) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Row]: ...
    def __getitem__(self, at: int | slice) -> Row | Sequence[Row]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        pick = int(self.picks_N[at])
        rng = Random(f"{self.seed}/{range(len(self))[at]}")
        if pick == SYNTHETIC:
            assert self.seeds is not None  # synthetic rows are drawn only where there are seeds
            assert self.corpus is not None
            return new_version(synthesize(self.seeds, rng), self.corpus, rng)
        if self.is_again_N[at]:
            assert self.corpus is not None
            return new_version(self.rows[pick], self.corpus, rng)
        return self.rows[pick]

    def digest(self) -> str:
        """A hash of what is drawn: of the rows, of the draw, and of some of the rows that are made."""
        probes = [self[i] for i in range(0, len(self), max(1, len(self) // NUM_PROBES))]
        known = hashlib.sha256(f"{self.seed}/{digest_of(self.rows)}/{digest_of(probes)}".encode())
        for array in (self.picks_N, self.is_again_N):
            known.update(array.tobytes())
        if self.seeds is not None:
            known.update(dumps(list(self.seeds.tools)).encode())
        return known.hexdigest()


def digest_of(rows: Iterable[Row]) -> str:
    """A hash of everything that the rows say."""
    known = hashlib.sha256()
    for row in rows:
        known.update(dumps([row.source, row.tools, row.messages, row.calls]).encode())
    return known.hexdigest()


def draw_rows(
    rows: Sequence[Row],
    num_rows: int,
    augment: bool,
    synthetic_share: float,
    mcp_tools: str,
    seed: int,
) -> DrawnRows:
    """`num_rows` rows with calls, `synthetic_share` of them synthetic; 0 gives each of `rows` once and nothing else.

    A row comes as it is the first time, and with `augment` in ever new versions after that; without it no row comes
    twice, so that there may be fewer. `rows` may hold one row several times, as `weighted_rows` does. mcp_tools: a file
    of tool schemas that synthetic rows are made of; without it they are made of the tools of `rows`.
    """
    places = {id(row): idx for idx, row in reversed(list(enumerate(rows))) if row.calls}
    deck = np.array([places[id(row)] for row in rows if row.calls], np.int32)
    picks_N = deck
    if num_rows and len(deck):
        num_synthetic = round(num_rows * synthetic_share)
        picks_N = mixed(shuffled(deck, num_rows - num_synthetic, seed), num_synthetic, seed)
    is_again_N = came_before(picks_N) & (picks_N != SYNTHETIC)
    if not augment:
        picks_N, is_again_N = picks_N[~is_again_N], is_again_N[~is_again_N]
    has_synthetic = bool((picks_N == SYNTHETIC).any())
    corpus, seeds = None, None
    if has_synthetic or is_again_N.any():
        unique = [rows[idx] for idx in sorted(set(places.values()))]
        corpus, seeds = what_to_draw_from(unique, mcp_tools)
        if has_synthetic:
            check_seeds(seeds)
    return DrawnRows(
        list(rows), seed, picks_N, is_again_N, corpus, seeds if has_synthetic else None
    )


def shuffled(deck: Ints, num_picks: int, seed: int) -> Ints:
    """The first picks of the deck, which is shuffled anew each time it is through: sources stand sorted in it."""
    rng = np.random.default_rng(seed)
    rounds = [rng.permutation(deck) for _ in range(0, num_picks, len(deck))]
    return np.concatenate([deck[:0], *rounds])[:num_picks]


def mixed(picks: Ints, num_synthetic: int, seed: int) -> Ints:
    """The picks in their order, with the synthetic rows strewn among them."""
    is_synthetic_N = np.arange(len(picks) + num_synthetic) < num_synthetic
    np.random.default_rng(seed).shuffle(is_synthetic_N)
    picks_N = np.full(len(is_synthetic_N), SYNTHETIC, np.int32)
    picks_N[~is_synthetic_N] = picks
    return picks_N


def came_before(picks_N: Ints) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Whether the same pick stands further in front."""
    is_again_N = np.ones(len(picks_N), np.bool_)
    is_again_N[np.unique(picks_N, return_index=True)[1]] = False
    return is_again_N


def what_to_draw_from(rows: Sequence[Row], mcp_tools: str) -> tuple[Corpus, Seeds]:
    """What new versions and synthetic rows of these rows are made of."""
    tools = list(read_json_lines(Path(mcp_tools))) if mcp_tools else distinct_tools(rows)
    pool = collect_pool(rows)
    seeds = make_seeds(rows, tools, pool)
    distractors = distinct_tools(rows[::7]) + list(seeds.tools)
    return Corpus(collect_wordings(rows), pool, distractors), seeds


def distinct_tools(rows: Sequence[Row]) -> list[Json]:
    return list({dumps(tool): tool for row in rows for tool in row.tools}.values())


def check_seeds(seeds: Seeds) -> None:
    """Raise ConfigError where no synthetic row could be made of the seeds."""
    what = ""
    if len(seeds.tools) < FEWEST_TOOLS:
        what = f"{FEWEST_TOOLS} tools with descriptions in English, found {len(seeds.tools)}"
    elif not any(can_be_joined(a, b) for a, b in combinations(some_of(seeds.short), 2)):
        what = "rows of one short message that share no tool, found none"
    if what:
        raise ConfigError(
            f"data.synthetic_share: synthetic rows need {what}; set mcp_tools, add sources, or set the share to 0"
        )


def some_of(rows: Sequence[Row]) -> Sequence[Row]:
    """Rows of every part, few enough to compare all of them."""
    return rows[:: max(1, len(rows) // 200)]


def can_be_joined(a: Row, b: Row) -> bool:
    names = {tool["name"] for tool in a.tools} & {tool["name"] for tool in b.tools}
    return not names and len(a.calls) + len(b.calls) <= MAX_JOINED_CALLS
