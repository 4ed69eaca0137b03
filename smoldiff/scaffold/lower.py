"""Nodes as pieces."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import assert_never

from smoldiff.scaffold.heads import branch
from smoldiff.scaffold.pieces import (
    Entry,
    Items,
    Keys,
    Language,
    Literal,
    OtherKeys,
    Piece,
    Sequence,
    Slot,
    holds_content,
)
from smoldiff.scaffold.style import SPACED, JsonStyle
from smoldiff.schema.nodes import (
    Array,
    Boolean,
    Const,
    Enum,
    Integer,
    Node,
    Number,
    Object,
    Opaque,
    Property,
    String,
    Union,
)

MAX_PIECES = 4096  # a value that cannot be written with fewer pieces gets no template
MAX_DEPTH = 64  # nor does one nested deeper: the walk spends a few Python frames on each level
MAX_FIXED_BRANCHES = (
    16  # of more fixed values a union is one slot: a decision looks at every option
)


@dataclass(frozen=True, slots=True)
class Lowered:
    """A piece, the fewest pieces that its text takes, and how deep it is."""

    piece: Piece
    num_pieces: int = 1
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Lowering:
    """One pass over a graph of nodes; a node met twice is lowered once, so shared nodes stay shared pieces."""

    style: JsonStyle
    _done: dict[int, Lowered] = field(default_factory=dict)

    def lower(self, node: Node) -> Lowered:
        known = self._done.get(id(node))
        if known is None:
            known = self._lower(node)
            if known.num_pieces > MAX_PIECES or known.depth > MAX_DEPTH:
                language = Opaque(node.pointer, is_free=False)
                known = Lowered(Slot(node.pointer, language, is_cut=True))
            self._done[id(node)] = known
        return known

    def _lower(self, node: Node) -> Lowered:
        match node:
            case Const():
                return Lowered(Literal(self._restyled(node.text)))
            case Enum():
                texts = tuple(self._restyled(text) for text in node.texts)
                return Lowered(lower_leaf(Enum(node.pointer, texts)))
            case String() | Integer() | Number() | Boolean() | Opaque():
                return Lowered(lower_leaf(node))
            case Object():
                return self._lower_object(node)
            case Array():
                return self._lower_array(node)
            case Union():
                return self._lower_union(node)
            case _:
                assert_never(node)

    def _lower_object(self, node: Object) -> Lowered:
        values = [self.lower(one.node) for one in node.properties]
        entries = tuple(
            self._entry(one, value.piece)
            for one, value in zip(node.properties, values, strict=True)
        )
        others = [self.lower(kind.node) for kind in node.others]
        needed = sum(
            value.num_pieces
            for one, value in zip(node.properties, values, strict=True)
            if one.is_required
        )
        piece = Keys(
            node.pointer,
            entries,
            tuple(
                OtherKeys(Slot(kind.keys.pointer, kind.keys), value.piece)
                for kind, value in zip(node.others, others, strict=True)
            ),
            node.min_properties,
            node.max_properties,
            node.forbidden,
            node.needs,
        )
        return Lowered(piece, 1 + max(needed, node.min_properties), _depth([*values, *others]))

    def _entry(self, one: Property, value: Piece) -> Entry:
        return Entry(one.name, self.style.dumps(one.name), value, one.is_required)

    def _lower_array(self, node: Array) -> Lowered:
        prefix = [self.lower(part) for part in node.prefix]
        item = None if node.items is None else self.lower(node.items)
        num_rest = max(0, node.min_items - len(prefix))
        needed = sum(part.num_pieces for part in prefix[: node.min_items]) + num_rest * (
            item.num_pieces if item else 1
        )
        contained = [self.lower(part) for part in node.contained]
        piece = Items(
            node.pointer,
            tuple(part.piece for part in prefix),
            item.piece if item else None,
            node.min_items,
            node.max_items,
            tuple(part.piece for part in contained),
            node.is_unique,
        )
        needed += sum(part.num_pieces for part in contained)
        return Lowered(piece, 1 + needed, _depth([*prefix, *([item] if item else []), *contained]))

    def _lower_union(self, node: Union) -> Lowered:
        texts = _texts_of(node.branches) if len(node.branches) > MAX_FIXED_BRANCHES else ()
        if len(texts) > 1:
            return self._lower(Enum(node.pointer, texts))
        options = [self.lower(branch) for branch in node.branches]
        labels = tuple(label(branch) for branch in node.branches)
        piece = branch(node.pointer, tuple(option.piece for option in options), labels, self.style)
        return Lowered(piece, options[0].num_pieces, _depth(options))

    def _restyled(self, text: str) -> str:
        return (
            text
            if self.style == SPACED or text[0] not in "[{"
            else self.style.dumps(json.loads(text))
        )


def lower_leaf(node: Language) -> Piece:
    """A slot, with its quotes around it where it holds the content of a string."""
    slot = Slot(node.pointer, node)
    return Sequence((Literal('"'), slot, Literal('"'))) if holds_content(node) else slot


def _texts_of(branches: tuple[Node, ...]) -> tuple[str, ...]:
    """The values of a union of nothing but fixed values; none where it has other branches."""
    texts: dict[str, None] = {}
    for one in branches:
        match one:
            case Const(text=text):
                texts[text] = None
            case Enum():
                texts.update(dict.fromkeys(one.texts))
            case _:
                return ()
    return tuple(texts)


def label(node: Node) -> str:
    """What a union's option is called in print."""
    match node:
        case Const():
            return node.text
        case Opaque():
            return "any JSON"
        case _:
            return type(node).__name__.lower()


def _depth(parts: list[Lowered]) -> int:
    return 1 + max((part.depth for part in parts), default=0)
