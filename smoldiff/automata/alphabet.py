"""The symbols of one pattern: classes of scalar values that none of its character sets tells apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from smoldiff.automata.charset import LAST, SCALARS, Charset
from smoldiff.automata.errors import TooComplex
from smoldiff.automata.pattern import Chars, Choice, Look, Node, Repeat, Sequence

MAX_SYMBOLS = 2_048


@dataclass(frozen=True)
class Alphabet:
    """A partition of the scalar values."""

    num_symbols: int
    segments: tuple[tuple[int, int, int], ...]
    """(first, last, symbol) of every run of scalar values, in ascending order; surrogates are in none."""
    members: dict[Charset, int]
    """The symbols of each character set, one bit each."""


def alphabet_of(node: Node) -> Alphabet:
    """The coarsest alphabet for the character sets of a tree. Raises TooComplex past MAX_SYMBOLS."""
    charsets = list(dict.fromkeys(_charsets(node)))
    members = [0] * len(charsets)
    symbols: dict[int, int] = {}
    segments: list[tuple[int, int, int]] = []
    for first, last, holders in _segments([SCALARS, *charsets]):
        symbol = symbols.setdefault(holders, len(symbols))
        segments.append((first, last, symbol))
        if len(symbols) > MAX_SYMBOLS:
            raise TooComplex(f"more than {MAX_SYMBOLS} kinds of characters")
    for holders, symbol in symbols.items():
        for i in bits(holders >> 1):
            members[i] |= 1 << symbol
    return Alphabet(len(symbols), tuple(segments), dict(zip(charsets, members, strict=True)))


def bits(mask: int) -> Iterator[int]:
    """The positions of a mask's set bits, in ascending order."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def _charsets(node: Node) -> Iterator[Charset]:
    match node:
        case Chars(charset):
            yield charset
        case Sequence(parts) | Choice(parts):
            for part in parts:
                yield from _charsets(part)
        case Repeat(body) | Look(body):
            yield from _charsets(body)


def _segments(charsets: list[Charset]) -> Iterator[tuple[int, int, int]]:
    """Runs of scalar values with the mask of the sets that hold them; the first set holds all."""
    toggles: dict[int, int] = {}
    for i, charset in enumerate(charsets):
        for low, high in charset:
            toggles[low] = toggles.get(low, 0) ^ (1 << i)
            toggles[high + 1] = toggles.get(high + 1, 0) ^ (1 << i)
    starts = sorted(toggles)
    holders = 0
    for start, end in zip(starts, [*starts[1:], LAST + 1], strict=True):
        holders ^= toggles[start]
        if holders:
            yield start, end - 1, holders
