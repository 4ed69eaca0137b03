"""The whole answer as one piece: a bare JSON value, or calls with the markers that a chat template puts around them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from smoldiff.scaffold.heads import branch
from smoldiff.scaffold.lower import Lowering
from smoldiff.scaffold.pieces import Entry, Keys, Literal, Piece, Repeat, Sequence
from smoldiff.scaffold.style import JsonStyle
from smoldiff.schema.nodes import Node
from smoldiff.schema.source import Source, Tool


@dataclass(frozen=True, slots=True)
class CallStyle:
    """The text around a call. `special` are the texts that the tokenizer may hold as special tokens."""

    begin: str = "<tool_call>\n"
    end: str = "\n</tool_call>"
    between: str = "\n"
    name_key: str = "name"
    arguments_key: str = "arguments"
    special: tuple[str, ...] = ("<tool_call>", "</tool_call>")
    can_repeat: bool = True

    @property
    def marker(self) -> str:
        """The text that tells a call from prose: the first that is not blank of `begin`, "" where calls are bare."""
        parts = (part.text.strip() for part in split_special(self.begin, self.special))
        return next((part for part in parts if part), "")

    def start_in(self, text: str) -> int:
        """Where the first call begins in an answer, -1 where there is none. A bare call is the whole answer."""
        if not self.marker:
            return 0 if text.startswith("{") else -1
        found = text.find(self.marker)
        return found - self.begin.index(self.marker) if found >= 0 else -1


def answer_piece(
    source: Source,
    nodes: tuple[Node, ...],
    call_style: CallStyle,
    json_style: JsonStyle,
    max_calls: int,
) -> Piece:
    """The piece for an answer; `nodes` are the tools' parameters in order, or the one bare schema."""
    lowering = Lowering(json_style)
    if not source.tools:
        return lowering.lower(nodes[0]).piece
    calls = tuple(
        _call(tool, lowering.lower(node).piece, call_style, json_style)
        for tool, node in zip(source.tools, nodes, strict=True)
    )
    choice = calls[0] if len(calls) == 1 else branch("", calls, source.names, json_style)
    begin, end, between = (
        split_special(text, call_style.special)
        for text in (call_style.begin, call_style.end, call_style.between)
    )
    return Repeat(Sequence((*begin, choice, *end)), Sequence(between), max_calls)


def _call(tool: Tool, arguments: Piece, call_style: CallStyle, json_style: JsonStyle) -> Keys:
    name, value = call_style.name_key, call_style.arguments_key
    entries = (
        Entry(name, json_style.dumps(name), Literal(json_style.dumps(tool.name)), True),
        Entry(value, json_style.dumps(value), arguments, True),
    )
    return Keys(tool.pointer, entries)


@lru_cache(maxsize=256)
def split_special(text: str, special: tuple[str, ...]) -> tuple[Literal, ...]:
    """A text as literals, each special text in it a literal of its own."""
    if not special:
        return (Literal(text),) if text else ()
    pattern = "(" + "|".join(re.escape(one) for one in sorted(special, key=len, reverse=True)) + ")"
    return tuple(Literal(part, part in special) for part in re.split(pattern, text) if part)
