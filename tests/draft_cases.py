"""Schemas as a head sees them after the first pass of a random base, for tests of denoise steps."""

from datetime import date, datetime

import torch
from fakes import byte_tokenizer
from heads import read_by, shaken_head

from smoldiff.decode.asked import Asker
from smoldiff.decode.denoise import Denoiser, SlotFill
from smoldiff.decode.opening import open_slots
from smoldiff.decode.seen import Seen
from smoldiff.decode.sketch import sketch, sketch_draft
from smoldiff.scaffold.budget import budget
from smoldiff.scaffold.compile import compile_schema
from smoldiff.scaffold.cursor import NO_CHOICES, Gap
from smoldiff.template.vocabulary import Vocabulary

TOKENIZER = byte_tokenizer([("a", "b"), ("1", "0"), ("2", "0"), ("20", "2")])
VOCABULARY = Vocabulary.of(TOKENIZER)
PROMPT = VOCABULARY.encode("book it on 2024-05-06")
SEEDS = (0, 1, 2)


def heads_of_all_tastes(model):
    """Heads that like short texts, long texts, and neither."""
    found = [shaken_head(model, seed) for seed in SEEDS]
    for head, bias in zip(found, (4.0, -4.0, 0.0), strict=True):
        torch.nn.init.constant_(head.null.bias, bias)
    return found


class Case:
    """A schema as a head sees it after the first pass."""

    def __init__(self, model, head, schema, known=None, positions=None):
        scaffold = compile_schema(schema)
        self.remainder = sketch(scaffold, "", NO_CHOICES)
        draft = sketch_draft(self.remainder, VOCABULARY)
        seen = Seen.of(VOCABULARY, len(PROMPT), [], draft, 0)
        gaps = [piece for piece in self.remainder.pieces if isinstance(piece, Gap)]
        starts = {gap.pointer: (known or {}).get(gap.pointer, "") for gap in gaps}
        room = {gap.pointer: positions or full_budget(gap) for gap in gaps}
        slots = open_slots(self.remainder, "", starts, room)
        self.asked = Asker(VOCABULARY).slots(seen, slots)
        self.memory, _ = read_by(model, head, [*PROMPT, *draft.ids])
        self.steps = []
        self.denoiser = Denoiser(head, model.tables, VOCABULARY, on_step=self.keep)

    def keep(self, step, fills):
        assert step == len(self.steps)
        self.steps.append([(list(f.token_ids), list(f.chances)) for f in fills])

    def fill(self, num_steps=1) -> dict[str, SlotFill]:
        self.steps.clear()
        fills = self.denoiser.fill(self.memory, self.asked, num_steps)
        return {one.asked.open_slot.pointer: one for one in fills}

    def text(self, num_steps=1):
        """The whole answer."""
        texts = {pointer: text_of(fill) for pointer, fill in self.fill(num_steps).items()}
        return self.remainder.text(lambda gap: texts[gap.pointer])


def full_budget(gap):
    return budget(gap.slot.language, lambda text: len(VOCABULARY.encode_bytes(text.encode())))


def text_of(fill):
    return VOCABULARY.bytes_of(fill.token_ids).decode()


def in_object(**properties):
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def is_date(text):
    return date.fromisoformat(text) is not None


def is_moment(text):
    return datetime.fromisoformat(text.upper()).tzinfo is not None


RULES = {
    "enum": ({"enum": ["C", "celsius", "celery"]}, lambda v: v in ("C", "celsius", "celery")),
    "mixed enum": ({"enum": [1, "1", None]}, lambda v: v in (1, "1", None)),
    "empty": ({"type": "string", "maxLength": 0}, lambda v: v == ""),
    "integer": ({"type": "integer", "minimum": -7, "maximum": 120}, lambda v: -7 <= v <= 120),
    "step": ({"type": "integer", "minimum": 1, "multipleOf": 7}, lambda v: v >= 1 and v % 7 == 0),
    "number": ({"type": "number", "exclusiveMinimum": 0, "maximum": 2}, lambda v: 0 < v <= 2),
    "boolean": ({"type": "boolean"}, lambda v: v in (True, False)),
    "pattern": (
        {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"},
        lambda v: v[:2].isupper() and v[2] == "-" and v[3:].isdigit() and len(v) == 6,
    ),
    "lengths": ({"type": "string", "minLength": 3, "maxLength": 5}, lambda v: 3 <= len(v) <= 5),
    "date": ({"type": "string", "format": "date"}, is_date),
    "date-time": ({"type": "string", "format": "date-time"}, is_moment),
    "uuid": ({"type": "string", "format": "uuid"}, lambda v: len(v) == 36 and v.count("-") == 4),
    "text": ({"type": "string"}, lambda v: isinstance(v, str)),
}
ALL_RULES = in_object(**{name: schema for name, (schema, _) in RULES.items()})
