"""A compiled schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from smoldiff.scaffold.answer import CallStyle
from smoldiff.scaffold.cursor import NO_CHOICES, Choices, Remainder, resume
from smoldiff.scaffold.pieces import Piece
from smoldiff.scaffold.style import JsonStyle
from smoldiff.schema.nodes import Node
from smoldiff.schema.source import Source

if TYPE_CHECKING:
    from smoldiff.template.template import Template


@dataclass(frozen=True, slots=True, eq=False)
class Scaffold:
    """A schema as literals, slots and decisions; knows nothing of tokens.

    `nodes` are the parameters of the source's tools in order, or the one bare schema. Two scaffolds are equal only if
    they are one: shared parts make a comparison by content exponential.
    """

    source: Source
    nodes: tuple[Node, ...]
    root: Piece
    call_style: CallStyle
    json_style: JsonStyle
    max_calls: int

    def resume(self, prefix: str = "", choices: Choices = NO_CHOICES) -> Remainder:
        """What follows `prefix` in an answer, with the slots found in it and the decisions it took.

        Raises smoldiff.scaffold.cursor.NotAPrefix if no answer begins like this.
        """
        return resume(self.root, self.json_style, prefix, choices)

    def bind(self, tokenizer: Any) -> Template:
        """The template of this scaffold for a Hugging Face fast tokenizer, cached by content.

        Raises TemplateError where they do not fit together.
        """
        from smoldiff.template.bind import bind

        return bind(self, tokenizer)
