"""The fullest answer that is likely: what the base is shown before anything is known, so that it has a state for every part.

All optional keys are there and every array has an item, as far as a bound goes; the slots are empty.
"""

from __future__ import annotations

from smoldiff.scaffold.cursor import Choices, Decision, Remainder
from smoldiff.scaffold.pieces import Branch, Items, Keys
from smoldiff.scaffold.scaffold import Scaffold

MAX_SLOTS = 24
"""A sketch does not grow past this many slots."""
MAX_DEPTH = 3


def sketch(scaffold: Scaffold, prefix: str, choices: Choices) -> Remainder:
    """What may follow `prefix` at its fullest; `choices` says which tool and which options."""
    lengths, keys = dict(choices.lengths), dict(choices.keys)
    remainder = scaffold.resume(prefix, choices)
    for _ in range(MAX_DEPTH):
        open_ones = [d for d in remainder.decisions if d.pointer and _is_open(d, keys, lengths)]
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


def _open(
    decision: Decision, keys: dict[str, frozenset[str]], lengths: dict[str, int]
) -> None:
    match decision.piece:
        case Keys(entries=entries):
            keys[decision.pointer] = frozenset(e.key for e in entries if not e.is_required)
        case Items() as items:
            most = items.most
            lengths[decision.pointer] = max(items.fewest, 1 if most is None else min(1, most))
        case Branch():
            return


def _num_slots(remainder: Remainder) -> int:
    return sum(not hasattr(piece, "text") for piece in remainder.pieces)
