"""Slots and questions as queries of the head, against what the base has seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from smoldiff.decode.scores import Ask, Question
from smoldiff.decode.seen import Anchor, Seen
from smoldiff.head.inputs import DECISIONS, KINDS, MAX_NAME_TOKENS, SLOTS, Query
from smoldiff.scaffold.pieces import Branch, Language, Slot, holds_content
from smoldiff.scaffold.style import SPACED
from smoldiff.schema.nodes import Boolean, Enum, Integer, Number, Opaque, String
from smoldiff.schema.pointers import escape, steps
from smoldiff.template.template import MASK
from smoldiff.template.vocabulary import Vocabulary

KIND_IDS = {name: idx for idx, name in enumerate(KINDS)}
MAX_NAME_CHARS = 64
_DATES = ("date", "time", "date-time")


@dataclass(frozen=True, slots=True)
class OpenSlot:
    """A slot to be filled. `known` is the text that it surely begins with."""

    pointer: str
    slot: Slot
    known: str
    num_positions: int
    num_written: int | None = None
    """The length in bytes of the answer's text in front of the slot, where the answer has begun the slot."""


@dataclass(frozen=True, slots=True)
class SlotQueries:
    """A slot's queries: one for each position from `first_place` on; the first tokens of its text are known."""

    open_slot: OpenSlot
    known_ids: tuple[int, ...]
    first_place: int
    queries: tuple[Query, ...]


@dataclass(frozen=True, eq=False)
class Asker:
    """Writes queries."""

    vocabulary: Vocabulary

    def slots(self, seen: Seen, open_slots: Sequence[OpenSlot]) -> list[SlotQueries]:
        """Queries of the slots, which are in the order of the answer's text."""
        found, behind = [], seen.last_right
        for one in open_slots:
            found.append(self._slot(seen, one, behind))
            end = seen.end_of(one.pointer)
            behind = behind if end is None else max(behind, end)
        return found

    def _slot(self, seen: Seen, one: OpenSlot, behind: int) -> SlotQueries:
        known = one.known.encode()
        anchor = seen.slot(one.pointer, known, one.num_written, behind)
        known_ids = tuple(self.vocabulary.encode_bytes(known)) if known else ()
        ends = self.vocabulary.ends(known_ids)
        first = sum(end <= anchor.num_bytes for end in ends)
        num_positions = max(one.num_positions, len(known_ids) + 1)
        tokens = (*known_ids[first:], *(MASK,) * (num_positions - len(known_ids)))
        kind, index = KIND_IDS[kind_of(one.slot.language, one.pointer)], index_of(one.pointer)
        names = name_ids(self.vocabulary, key_of(one.pointer))
        queries = tuple(
            Query(
                SLOTS,
                kind,
                anchor.index,
                offset,
                first + offset,
                index,
                anchor.is_fed,
                token,
                names,
            )
            for offset, token in enumerate(tokens)
        )
        return SlotQueries(one, known_ids, first, queries)

    def question(self, seen: Seen, question: Question) -> list[Query]:
        """One query for each option; a key that is not there is no option, its score is 0."""
        anchor = self._place(seen, question)
        kind = KIND_IDS[f"ask-{question.ask.value}"]
        if question.ask is Ask.KEY:
            return [self._option(kind, anchor, 1, question.name)]
        piece = question.decision.piece
        texts = piece.labels if isinstance(piece, Branch) else [""] * question.num_options
        return [self._option(kind, anchor, idx, text) for idx, text in enumerate(texts)]

    def _option(self, kind: int, anchor: Anchor, index: int, text: str) -> Query:
        names = name_ids(self.vocabulary, text)
        return Query(DECISIONS, kind, anchor.index, 0, 0, index, anchor.is_fed, MASK, names)

    def _place(self, seen: Seen, question: Question) -> Anchor:
        at = question.pointer
        inside = [p for p in seen.spans if p.startswith(at + "/")]
        behind = max((seen.end_of(p) or 0 for p in inside), default=0)
        behind = max(behind, seen.last_right)
        match question.ask:
            case Ask.KEY:
                scope = f"{at}/{escape(question.name)}"
                own = (p for p in inside if p == scope or p.startswith(scope + "/"))
                return seen.key(SPACED.dumps(question.name).encode(), own, behind)
            case Ask.LENGTH if not at:
                return Anchor(seen.num_tokens - 1, 0, is_fed=bool(seen.fed_ids))
            case Ask.LENGTH:
                return seen.before(inside[0], behind) if inside else Anchor(behind, 0, is_fed=False)
            case Ask.BRANCH:
                return Anchor(seen.last_right, 0, is_fed=False)
            case _:
                return Anchor(behind, 0, is_fed=False)


@lru_cache(maxsize=1 << 14)
def name_ids(vocabulary: Vocabulary, text: str) -> tuple[int, ...]:
    """The first tokens of a key's or an option's text."""
    ids = vocabulary.encode_bytes(text[:MAX_NAME_CHARS].encode()) if text else []
    return tuple(ids[:MAX_NAME_TOKENS])


def kind_of(language: Language, pointer: str) -> str:
    """Which of the head's KINDS a slot is."""
    match language:
        case String(formats=formats, patterns=patterns):
            if pointer.rpartition("/")[2].startswith("~k"):
                return "member-key"
            if formats:
                return formats[0] if formats[0] in _DATES else "format"
            return "pattern" if patterns else "string"
        case Integer():
            return "integer"
        case Number():
            return "number"
        case Boolean():
            return "boolean"
        case Enum():
            return "enum" if holds_content(language) else "json-enum"
        case Opaque():
            return "any"


def key_of(pointer: str) -> str:
    """The nearest key that a slot stands under: of an array's item, the array's."""
    behind = reversed(steps(pointer))
    return next((s for s in behind if not s.isdigit() and s[:2] not in ("~k", "~v")), "")


def index_of(pointer: str) -> int:
    """The number of the array's item, or of the call, that a slot stands in."""
    return next((int(s) for s in reversed(pointer.split("/")) if s.isdigit()), 0)
