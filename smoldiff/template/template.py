"""A scaffold bound to a tokenizer and unrolled for one set of decisions: token ids with masked runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from smoldiff.scaffold.budget import budget
from smoldiff.scaffold.cursor import NO_CHOICES, Choices, Decision, Gap, Remainder
from smoldiff.scaffold.pieces import Slot
from smoldiff.scaffold.scaffold import Scaffold
from smoldiff.template.tokenise import Part, tokenise, tokenise_exactly
from smoldiff.template.vocabulary import Vocabulary

MASK = -1
"""Stands in `Template.ids` where a slot's token is to be filled; a head has its own vector for it."""


@dataclass(frozen=True, slots=True)
class Run:
    """The positions `start:stop` of a template that one slot fills; unused ones hold NULL."""

    pointer: str
    """JSON pointer into the answer, the call's index first: "/0/arguments/city"."""
    slot: Slot
    start: int
    stop: int
    written: str
    """What a prefix holds of the slot already."""


@dataclass(frozen=True)
class Template:
    """What remains of a scaffold's text behind a prefix. `ids` are tokens, MASK in the runs."""

    scaffold: Scaffold = field(repr=False)
    vocabulary: Vocabulary = field(repr=False)
    prefix: str
    choices: Choices = field(repr=False)
    ids: tuple[int, ...]
    runs: tuple[Run, ...]
    decisions: tuple[Decision, ...] = field(repr=False)
    """The choices that shaped it, from the outside in."""

    def resume(self, prefix: str, choices: Choices = NO_CHOICES) -> "Template":
        """The template of what remains behind `prefix`, for these decisions.

        Raises scaffold.cursor.NotAPrefix if no text of the scaffold begins so.
        """
        return unroll(self.scaffold, self.vocabulary, prefix, choices)

    def text(self, values: Mapping[str, str]) -> str:
        """The remaining text with the slots filled; `values` by pointer, as slot texts (between the quotes of a string)."""
        return "".join(text for text, _ in self._parts(values))

    def fill(
        self, values: Mapping[str, str], written: Sequence[int] | None = None
    ) -> tuple[int, ...]:
        """The remaining tokens with the slots filled, tokenised as one text, as the base writes it.

        Behind no prefix, text that the tokenizer itself would change is written as it is. `written` are the prefix's
        tokens, where they are not those of its plain text.
        """
        if not self.prefix:
            return tokenise_exactly(self.vocabulary, self._parts(values))
        if written is None:
            written = self.vocabulary.encode(self.prefix)
        return tokenise(self.vocabulary, written, self._parts(values))

    def _parts(self, values: Mapping[str, str]) -> list[Part]:
        remainder = self.scaffold.resume(self.prefix, self.choices)
        return [
            (values[p.pointer][len(p.written) :], False)
            if isinstance(p, Gap)
            else (p.text, p.is_special)
            for p in remainder.pieces
        ]

    @property
    def num_certain(self) -> int:
        """Tokens that follow from the schema and the decisions."""
        return len(self.ids) - self.num_masked

    @property
    def num_masked(self) -> int:
        """Positions to fill."""
        return sum(run.stop - run.start for run in self.runs)


def unroll(
    scaffold: Scaffold, vocabulary: Vocabulary, prefix: str = "", choices: Choices = NO_CHOICES
) -> Template:
    """The template behind `prefix`: each literal run tokenised on its own, each slot as many masks as its budget."""
    remainder = scaffold.resume(prefix, choices)
    ids: list[int] = []
    runs: list[Run] = []
    for piece in joined(remainder):
        if isinstance(piece, Gap):
            num_masks = budget(
                piece.slot.language, lambda text: len(vocabulary.encode_bytes(text.encode()))
            )
            runs.append(
                Run(piece.pointer, piece.slot, len(ids), len(ids) + num_masks, piece.written)
            )
            ids += [MASK] * num_masks
        else:
            ids += tokenise_exactly(vocabulary, piece)
    return Template(
        scaffold,
        vocabulary,
        prefix,
        remainder.choices,
        tuple(ids),
        tuple(runs),
        remainder.decisions,
    )


def joined(remainder: Remainder) -> list[list[Part] | Gap]:
    """Gaps, and the literals between them together."""
    joined: list[list[Part] | Gap] = []
    for piece in remainder.pieces:
        if isinstance(piece, Gap):
            joined.append(piece)
        elif joined and isinstance(joined[-1], list):
            joined[-1].append((piece.text, piece.is_special))
        else:
            joined.append([(piece.text, piece.is_special)])
    return joined
