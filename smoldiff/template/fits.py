"""Whether every slot that an answer must have can be filled, known before any model is asked."""

from collections.abc import Iterator

from smoldiff.automata.dfa import Dfa
from smoldiff.automata.errors import NoAutomaton
from smoldiff.automata.lengths import shortest_string
from smoldiff.automata.operations import shortest as shortest_text
from smoldiff.errors import UnsatisfiableSchema, UnsupportedSchema
from smoldiff.scaffold.budget import MAX_SLOT_TOKENS
from smoldiff.scaffold.pieces import (
    Branch,
    Items,
    Keys,
    Language,
    Literal,
    Piece,
    Repeat,
    Sequence,
    Slot,
)
from smoldiff.scaffold.scaffold import Scaffold
from smoldiff.schema.nodes import Integer, Number, String
from smoldiff.template.languages import content_key, length_bounds, slot_automaton, slot_dfa
from smoldiff.template.token_classes import AutomatonTooLarge
from smoldiff.template.vocabulary import Vocabulary

MAX_COUNTED = 1_000_000
"""Characters up to which the shortest text is worked out; a longer one fits nowhere."""


def check_fits(scaffold: Scaffold, vocabulary: Vocabulary) -> None:
    """Raise UnsatisfiableSchema or UnsupportedSchema, with a pointer, for a slot that can hold no text that fits."""
    checked: set[tuple[object, ...]] = set()
    for slot in unavoidable(scaffold.root):
        if slot.is_cut:
            raise UnsupportedSchema(
                slot.pointer,
                "too large or too deep to be written out at once; use mode='verified', which writes token by token",
            )
        key = (content_key(slot.language), *length_bounds(slot.language))
        if key not in checked and _is_narrow(slot.language):
            checked.add(key)
            _check(slot, vocabulary)


def unavoidable(root: Piece) -> Iterator[Slot]:
    """The slots in every text of a piece, each once."""
    seen: set[int] = set()
    todo = [root]
    while todo:
        piece = todo.pop()
        if id(piece) in seen:
            continue
        seen.add(id(piece))
        if isinstance(piece, Slot):
            yield piece
        else:
            todo += _needed(piece)


def _needed(piece: Piece) -> list[Piece]:
    match piece:
        case Sequence(parts=parts):
            return list(parts)
        case Keys(entries=entries):
            return [entry.value for entry in entries if entry.is_required]
        case Items():
            return _needed_items(piece)
        case Repeat(item=item):
            return [item]
        case Branch(options=options):
            return list(options) if len(options) == 1 else []
        case Literal() | Slot():
            return []


def _needed_items(items: Items) -> list[Piece]:
    needed = [*items.prefix[: items.fewest], *items.contained]
    if items.item is not None and items.fewest > len(needed):
        needed.append(items.item)
    return needed


def _is_narrow(language: Language) -> bool:
    """Whether it is not plain to see that a short text belongs to the language."""
    match language:
        case String():
            return bool(
                language.min_length or language.patterns or language.formats or language.excluded
            )
        case Integer() | Number():
            return language.multiple_of is not None
        case _:
            return False


def _check(slot: Slot, vocabulary: Vocabulary) -> None:
    shortest, longest = length_bounds(slot.language)
    try:
        num_bytes = _num_bytes(slot_dfa(slot.language), shortest, longest)
    except NoAutomaton:  # too large to say; the slot itself will tell
        return
    if num_bytes is None:
        raise UnsatisfiableSchema(slot.pointer, "no value satisfies all that is said of it here")
    is_short = num_bytes <= MAX_SLOT_TOKENS  # every token writes at least one byte
    if not is_short and not _fits(slot.language, vocabulary):
        raise UnsupportedSchema(
            slot.pointer,
            f"its shortest value has {num_bytes} bytes and does not fit into {MAX_SLOT_TOKENS} tokens; "
            "use mode='verified', which writes it token by token",
        )


def _num_bytes(dfa: Dfa, shortest: int, longest: int | None) -> int | None:
    """The bytes of the shortest text with a number of characters within the bounds."""
    if shortest > MAX_COUNTED:
        return shortest
    if shortest or longest is not None:
        return shortest_string(dfa, shortest, longest)
    text = shortest_text(dfa)
    return None if text is None else len(text)


def _fits(language: Language, vocabulary: Vocabulary) -> bool:
    try:
        num_tokens = slot_automaton(language, vocabulary, MAX_SLOT_TOKENS).min_tokens
    except AutomatonTooLarge:
        return False
    return num_tokens is not None and num_tokens <= MAX_SLOT_TOKENS
