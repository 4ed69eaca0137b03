"""What a head is asked: positions to fill and options to score, beside what the base has seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smoldiff.template.template import MASK

# Shapes: B rows, Q queries of each, L tokens of a name.

NO_TOKEN = -1
"""Stands in `names` behind a name's last token."""
MAX_NAME_TOKENS = 8
MAX_INDEX = 16
MAX_OFFSET = 64

SLOTS, DECISIONS = 1, 2
"""Blocks: queries see the context and the queries of their own block. 0 is padding."""
NUM_BLOCKS = 3

KINDS = (
    "string",
    "date",
    "time",
    "date-time",
    "format",
    "pattern",
    "integer",
    "number",
    "boolean",
    "enum",
    "json-enum",
    "any",
    "member-key",
    "ask-key",
    "ask-members",
    "ask-member",
    "ask-length",
    "ask-branch",
    "ask-kind",
)
"""What a query is about: the language of its slot, or the kind of its question."""


@dataclass(frozen=True, slots=True)
class Query:
    """One position of a slot, or one option of a question."""

    block: int
    kind: int
    anchor: int
    """Index of the token, among those that the base has seen, whose state the query starts from."""
    offset: int
    """How many positions behind the token that follows the anchor."""
    place: int
    """Position inside the slot."""
    index: int
    """Number of the array's item, or of the option."""
    is_fed: bool
    """Whether the base has seen the place itself, and not only the text in front of it."""
    token_id: int
    """What stands there, or MASK."""
    names: tuple[int, ...]
    """Token ids of the key or of the option's text, at most MAX_NAME_TOKENS."""


@dataclass(frozen=True, eq=False)
class Queries:
    """Queries of a batch as tensors; int64 but for `is_fed_BQ`."""

    block_BQ: Tensor
    kind_BQ: Tensor
    anchor_BQ: Tensor
    offset_BQ: Tensor
    place_BQ: Tensor
    index_BQ: Tensor
    is_fed_BQ: Tensor
    token_BQ: Tensor
    names_BQL: Tensor
    moment_BQ: Tensor
    """Sees what was fed in the same moment, and in moment 0; training plays several moments behind one prompt."""

    @classmethod
    def of(cls, rows: Sequence[Sequence[Query]], device: Any = None) -> Queries:
        """Rows padded to the longest one."""
        arrays = stacked(rows)
        return cls(**{name: torch.from_numpy(array).to(device) for name, array in arrays.items()})

    def to(self, device: Any) -> Queries:
        return Queries(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


def stacked(rows: Sequence[Sequence[Query]]) -> dict[str, NDArray[Any]]:
    """The arrays of `Queries`, by field name."""
    shape = (len(rows), max([1, *map(len, rows)]))
    plain = np.zeros((len(_NUMBERS), *shape), dtype=np.int64)
    plain[_NUMBERS.index("token_id")] = MASK
    names = np.full((*shape, MAX_NAME_TOKENS), NO_TOKEN, dtype=np.int64)
    for b, row in enumerate(rows):
        if row:
            plain[:, b, : len(row)] = np.array([*map(_numbers_of, row)], dtype=np.int64).T
            names[b, : len(row)] = _names(row)
    block, kind, anchor, offset, place, index, token, is_fed = plain
    return {
        "block_BQ": block,
        "kind_BQ": kind,
        "anchor_BQ": anchor,
        "offset_BQ": np.minimum(offset, MAX_OFFSET - 1),
        "place_BQ": place,
        "index_BQ": np.minimum(index, MAX_INDEX - 1),
        "token_BQ": token,
        "is_fed_BQ": is_fed != 0,
        "names_BQL": names,
        "moment_BQ": np.zeros(shape, dtype=np.int64),
    }


_NUMBERS = ("block", "kind", "anchor", "offset", "place", "index", "token_id", "is_fed")
_numbers_of = attrgetter(*_NUMBERS)


def _names(row: Sequence[Query]) -> NDArray[np.int64]:
    """[Q, L]. The positions of a slot share a name, so each name is written once."""
    numbers: dict[tuple[int, ...], int] = {}
    number_Q = [numbers.setdefault(one.names, len(numbers)) for one in row]
    padded = [name + (NO_TOKEN,) * (MAX_NAME_TOKENS - len(name)) for name in numbers]
    return np.array(padded, dtype=np.int64)[number_Q]
