"""A draft: the text that may follow what is written, in the tokens that the base would write it in."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from smoldiff.scaffold.cursor import Gap, Remainder
from smoldiff.scaffold.pieces import Language
from smoldiff.template.tokenise import Part, tokenise
from smoldiff.template.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Span:
    """Where a slot's text stands in the draft, in bytes from the draft's start."""

    pointer: str
    language: Language
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Draft:
    """Token ids that may follow, with their end offsets in bytes, and the slots among them."""

    ids: tuple[int, ...]
    ends: tuple[int, ...]
    text: bytes
    spans: tuple[Span, ...]

    def first_token_behind(self, offset: int) -> int:
        """Index of the token that holds the byte at `offset`."""
        return bisect_left(self.ends, offset + 1)

    def start_of(self, i: int) -> int:
        return self.ends[i - 1] if i else 0


EMPTY = Draft((), (), b"", ())


MAX_DRAFT_TOKENS = 64
"""A pass over more positions costs visibly more than a pass over one, on a GPU too."""


def num_common(first: Sequence[int], second: Sequence[int]) -> int:
    """Length of the common prefix, of tokens or of bytes."""
    for i, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return i
    return min(len(first), len(second))


def write_draft(
    remainder: Remainder,
    fill: Callable[[Gap], str | None],
) -> tuple[list[Part], list[Span]]:
    """The draft as text: literals, and each gap as `fill` says; it ends before the first gap that `fill` refuses."""
    parts: list[Part] = []
    spans: list[Span] = []
    offset = 0
    for piece in remainder.pieces:
        if isinstance(piece, Gap):
            text = fill(piece)
            if text is None:
                break
            text = text[len(piece.written) :]
            written = len(piece.written.encode())
            spans.append(
                Span(
                    piece.pointer,
                    piece.slot.language,
                    offset - written,
                    offset + len(text.encode()),
                )
            )
            parts.append((text, False))
        else:
            text = piece.text
            parts.append((text, piece.is_special))
        offset += len(text.encode())
    return parts, spans


def make_draft(
    vocabulary: Vocabulary, written: Sequence[int], parts: Sequence[Part], spans: Sequence[Span]
) -> Draft:
    ids = tokenise(vocabulary, written, parts)
    text = "".join(text for text, _ in parts).encode()
    return Draft(ids, tuple(vocabulary.ends(ids)), text, tuple(spans))


def cut_draft(draft: Draft, num_tokens: int) -> Draft:
    """The first tokens of a draft."""
    if len(draft.ids) <= num_tokens:
        return draft
    return Draft(draft.ids[:num_tokens], draft.ends[:num_tokens], draft.text, draft.spans)
