"""The fullest answer that is likely: what the base is shown before anything is known, so that it has a state for every part.

All optional keys are there and every array has an item, as far as a bound goes; the slots are empty.
"""

from __future__ import annotations

from smoldiff.decode.draft import Draft, Span
from smoldiff.decode.values import placeholder
from smoldiff.scaffold.cursor import Choices, Decision, Gap, Remainder
from smoldiff.scaffold.pieces import Items, Keys, holds_content
from smoldiff.scaffold.scaffold import Scaffold
from smoldiff.template.template import joined
from smoldiff.template.tokenise import tokenise_exactly
from smoldiff.template.vocabulary import Vocabulary

MAX_SLOTS = 24
"""A sketch does not grow past this many slots."""
MAX_DEPTH = 3


def sketch(scaffold: Scaffold, prefix: str, choices: Choices) -> Remainder:
    """What may follow `prefix` at its fullest; `choices` says which tool and which options."""
    lengths, keys = dict(choices.lengths), dict(choices.keys)
    remainder = scaffold.resume(prefix, choices)
    for _ in range(MAX_DEPTH):
        open_ones = [d for d in remainder.decisions if _is_open(d, keys, lengths)]
        if not open_ones:
            break
        for decision in open_ones:
            _open(decision, keys, lengths)
        more = Choices(keys, lengths, choices.branches, choices.others, choices.kinds)
        fuller = scaffold.resume(prefix, more)
        if _num_slots(fuller) > MAX_SLOTS:
            break
        remainder = fuller
    return remainder


def _is_open(decision: Decision, keys: dict[str, frozenset[str]], lengths: dict[str, int]) -> bool:
    match decision.piece:
        case Keys():
            return decision.pointer not in keys
        case Items():
            return decision.pointer not in lengths
        case _:
            return False


def _open(decision: Decision, keys: dict[str, frozenset[str]], lengths: dict[str, int]) -> None:
    match decision.piece:
        case Keys(entries=entries):
            keys[decision.pointer] = frozenset(e.key for e in entries if not e.is_required)
        case Items() as items:
            most = items.most
            lengths[decision.pointer] = max(items.fewest, 1 if most is None else min(1, most))


def _num_slots(remainder: Remainder) -> int:
    return sum(isinstance(piece, Gap) for piece in remainder.pieces)


def sketch_draft(remainder: Remainder, vocabulary: Vocabulary) -> Draft:
    """The sketch as tokens. The text before a slot is tokenised as if a value followed, which an empty one would undo."""
    ids: list[int] = []
    spans: list[Span] = []
    text = b""
    for piece in joined(remainder):
        if isinstance(piece, Gap):
            filler = "" if holds_content(piece.slot.language) else placeholder(piece.slot.language)
            ids += vocabulary.encode_bytes(filler.encode()) if filler else []
            end = len(text) + len(filler.encode())
            spans.append(Span(piece.pointer, piece.slot.language, len(text), end))
            text += filler.encode()
        else:
            ids += tokenise_exactly(vocabulary, piece)
            text += "".join(part for part, _ in piece).encode()
    return Draft(tuple(ids), tuple(vocabulary.ends(ids)), text, tuple(spans))
