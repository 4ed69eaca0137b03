"""Resuming a scaffold at any prefix of its text."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from smoldiff.scaffold.pieces import Literal, Piece
from smoldiff.scaffold.reading import Care
from smoldiff.scaffold.remainder import (
    NO_CHOICES,
    Choices,
    Decision,
    Field,
    Gap,
    NotAPrefix,
    Remainder,
)
from smoldiff.scaffold.style import JsonStyle
from smoldiff.scaffold.walk import Walk

__all__ = ["NO_CHOICES", "Choices", "Decision", "Field", "Gap", "NotAPrefix", "Remainder", "resume"]


def resume(root: Piece, style: JsonStyle, prefix: str, given: Choices) -> Remainder:
    """What follows `prefix` in a text of `root`, with its decisions over the given ones. Raises NotAPrefix.

    The prefix is read as carefully as it can be, see Care. A text that breaks a pattern is still read: the grammar
    engine and the last gate judge it, and they may know more than Python's `re` does.
    """
    try:
        walk = _walked(root, style, prefix, given, Care.NAMED)
    except NotAPrefix:
        walk = _walked(
            root, style, prefix, given, Care.LOOSE
        )  # what is not read so is not read at all
        with suppress(NotAPrefix):
            walk = _walked(root, style, prefix, given, Care.EXACT)
    return Remainder(
        tuple(_joined(walk.written)),
        tuple(walk.fields),
        _over(given, walk),
        tuple(Decision(*found) for found in walk.decisions),
    )


def _walked(root: Piece, style: JsonStyle, prefix: str, given: Choices, care: Care) -> Walk:
    walk = Walk(prefix, given, style, care)
    walk.walk(root, "")
    if walk.pos < walk.end:
        raise walk.fail()
    return walk


def _joined(written: Iterable[str | Literal | Gap]) -> Iterable[Literal | Gap]:
    """The written parts with every run of plain text as one literal."""
    run: list[str] = []
    for part in written:
        if isinstance(part, str):
            run.append(part)
            continue
        if run:
            yield Literal("".join(run))
            run.clear()
        yield part
    if run:
        yield Literal("".join(run))


def _over(given: Choices, walk: Walk) -> Choices:
    if not (walk.keys or walk.lengths or walk.branches):
        return given
    return Choices(
        {**given.keys, **dict(walk.keys)},
        {**given.lengths, **dict(walk.lengths)},
        {**given.branches, **dict(walk.branches)},
        given.others,
        given.kinds,
    )
