"""How sure each value of an answer is: the product of the chances of what it was written in.

Where the base wrote, these are its own probabilities of the tokens that were taken, the one that ends the value among
them; where a head wrote, the head's chances. A value that the schema leaves no choice about is sure.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from smoldiff.decode.grammar import AnswerForm
from smoldiff.decode.result import ToolCall
from smoldiff.decode.spans import Part, arguments, leaves
from smoldiff.head.calibration import Calibration
from smoldiff.scaffold.cursor import NotAPrefix
from smoldiff.scaffold.scaffold import Scaffold
from smoldiff.schema.pointers import child

# Shapes: T logits of one row, K tokens that were taken there, V vocabulary.

Sure = Callable[[str, Part], float]
"""The chance of the value at a pointer of the scaffold, whose text stands at a part of the answer's."""


def token_chances(logits_TV: Tensor, token_ids: Sequence[int]) -> list[float]:
    """The probabilities of tokens, one a row, under the first rows of the logits."""
    rows_KV = logits_TV[: len(token_ids)].float()
    ids_K1 = torch.tensor(token_ids, device=rows_KV.device)[:, None]
    log_p_K = rows_KV.gather(1, ids_K1)[:, 0] - rows_KV.logsumexp(-1)
    return [float(p) for p in log_p_K.exp().clamp(max=1.0).tolist()]


@dataclass(frozen=True, eq=False)
class Tokens:
    """The tokens of a text: the byte that each ends at, and its chance; one chance more where the end was chosen too."""

    text: str
    ends: Sequence[int]
    chances: Sequence[float]

    def chance(self, part: Part) -> float:
        """The chance of a value, its end included, as far as it stands in these tokens."""
        is_string = self.text.startswith('"', part.start)
        is_number = self.text[part.start] in "-0123456789"
        first = bisect_right(self.ends, self._offset(part.start + is_string))
        stop = bisect_left(self.ends, self._offset(part.end + is_number)) + 1
        if is_number and part.end == len(self.text):
            stop += 1  # what ends a number at the answer's end is the answer's end
        return math.prod(self.chances[first:stop])

    def _offset(self, place: int) -> int:
        return len(self.text[:place].encode())


def with_confidence(
    calls: Sequence[ToolCall],
    text: str,
    scaffold: Scaffold,
    form: AnswerForm,
    sure: Sure,
    calibration: Calibration,
) -> tuple[ToolCall, ...]:
    """The calls that the text of a whole answer holds, each with the confidence of its values."""
    is_certain = _certainty(scaffold, text)
    rated = []
    parts = arguments(text, form.source, form.call_style)
    for num, (call, (whole, tool)) in enumerate(zip(calls, parts, strict=True)):
        root = "" if tool is None else child("", num, form.call_style.arguments_key)
        confidence = {
            pointer: 1.0
            if is_certain(root, root + pointer, part)
            else calibration.applied(sure(root + pointer, part))
            for pointer, part in leaves(text, whole)
        }
        rated.append(replace(call, confidence=confidence))
    return tuple(rated)


def _certainty(scaffold: Scaffold, text: str) -> Callable[[str, str, Part], bool]:
    """Whether a value below a root follows from the schema alone."""
    try:
        whole = scaffold.resume(text)
    except NotAPrefix:
        return lambda root, pointer, part: False
    spans = [(field.start, field.end) for field in whole.fields]
    branches = whole.choices.branches

    def is_certain(root: str, pointer: str, part: Part) -> bool:
        if any(start <= part.end and part.start <= end for start, end in spans):
            return False
        if any(at.startswith(root) and is_inside(pointer, at) for at in branches):
            return False
        if text[part.start] not in "[{":
            return True
        before = scaffold.resume(text[: part.start], whole.choices)
        return all(decision.pointer != pointer for decision in before.decisions)

    return is_certain


def is_inside(pointer: str, at: str) -> bool:
    """Whether a pointer leads to a value or into it."""
    return pointer == at or pointer.startswith(at + "/")


def by_tokens(text: str, ends: Sequence[int], chances: Sequence[float]) -> Sure:
    """Chances of values that the base wrote."""
    tokens = Tokens(text, ends, chances)
    return lambda _, part: tokens.chance(part)


def by_slots(
    begun: Sure,
    num_begun: int,
    slots: Mapping[str, float],
    options: Mapping[str, float],
) -> Sure:
    """Chances of values behind the first `num_begun` characters, which have chances of their own.

    slots: by pointer, of the texts that fill them. options: likewise, of the options that decisions took.
    """

    def sure(pointer: str, part: Part) -> float:
        chance = begun(pointer, part) if part.start < num_begun else 1.0
        if part.end < num_begun:
            return chance
        filled = [one for at, one in slots.items() if is_inside(pointer, at)]
        taken = [one for at, one in options.items() if is_inside(pointer, at)]
        return chance * math.prod(filled or taken)

    return sure
