"""A drafter that knows a likely answer, so that the base confirms most answers in one pass.

What the base writes does not depend on who drafts: the answer is the base's own, wherever it agrees with the known
one and wherever it does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from smoldiff.decode.copying import CopySource
from smoldiff.decode.draft import EMPTY, Draft
from smoldiff.decode.drafters import Drafter, Guess, parse_drafter
from smoldiff.decode.request import Plan
from smoldiff.scaffold.answer import CallStyle, split_special
from smoldiff.scaffold.cursor import NO_CHOICES, Choices, NotAPrefix
from smoldiff.scaffold.pieces import Literal
from smoldiff.scaffold.scaffold import Scaffold
from smoldiff.scaffold.style import JsonStyle
from smoldiff.schema.pointers import child
from smoldiff.template.tokenise import Part, tokenise
from smoldiff.template.vocabulary import Vocabulary
from smoldiff_training.data.rows import Json

OTHERWISE = parse_drafter("parallel+copy")


class OracleDrafter:
    """Has the interface of `Drafter`: drafts the known answer up to the base's first other token.

    From there on another drafter drafts. It is made only then, because most answers never need it.
    """

    def __init__(self, known_ids: Sequence[int], otherwise: Callable[[], Drafter]) -> None:
        self._known_ids = list(known_ids)
        self._otherwise = otherwise
        self._other: Drafter | None = None

    @property
    def num_candidates(self) -> int:
        return self._other.num_candidates if self._other else 0

    def propose(self, written: list[int], text: str | None) -> Draft:
        if self._other is None:
            num = len(written)
            if written == self._known_ids[:num]:
                return known_draft(self._known_ids[num:])
            self._other = self._otherwise()
        return self._other.propose(written, text)

    def observe(self, draft: Draft, num_accepted: int, candidates: Sequence[Sequence[int]]) -> None:
        if self._other is not None:
            self._other.observe(draft, num_accepted, candidates)


def known_draft(ids: Sequence[int]) -> Draft:
    """A draft of these tokens. It names no slots: nothing is read off the pass that refuses it."""
    return Draft(tuple(ids), (), b"", ()) if ids else EMPTY


def call_parts(calls: Sequence[Json], style: CallStyle, json_style: JsonStyle) -> list[Part]:
    """The text of an answer that makes these calls, as the model writes calls."""
    parts: list[Literal] = []
    for idx, call in enumerate(calls):
        body = {style.name_key: call["name"], style.arguments_key: call.get("arguments") or {}}
        between = style.between if idx else ""
        parts += split_special(between + style.begin, style.special)
        parts += (Literal(json_style.dumps(body)), *split_special(style.end, style.special))
    return [(part.text, part.is_special) for part in parts]


def call_ids(vocabulary: Vocabulary, calls: Sequence[Json], plan: Plan) -> tuple[int, ...]:
    """The tokens in which the model would write these calls. Raises TemplateError where its tokenizer cannot."""
    parts = call_parts(calls, plan.form.call_style, plan.form.json_style)
    return tokenise(vocabulary, (), parts)


def drafter_near(
    calls: Sequence[Json], vocabulary: Vocabulary, plan: Plan, prompt_ids: Sequence[int]
) -> Drafter:
    """The library's own drafter for an answer that is like these calls, though not the same.

    It starts from their decisions and values, so that what the base changed is the only thing to find out.
    """
    text = vocabulary.bytes_of(prompt_ids).decode(errors="replace")
    drafter = Drafter(plan.scaffold, vocabulary, OTHERWISE, CopySource(text))
    drafter.choices = choices_of(calls, plan.scaffold)
    drafter.guesses.update(guesses_of(calls, plan.form.call_style, plan.form.json_style))
    return drafter


def choices_of(calls: Sequence[Json], scaffold: Scaffold) -> Choices:
    """Which tools, optional keys and array lengths the calls take; none where the schema does not allow them."""
    text = "".join(text for text, _ in call_parts(calls, scaffold.call_style, scaffold.json_style))
    try:
        return scaffold.resume(text).choices
    except NotAPrefix:
        return NO_CHOICES


def guesses_of(
    calls: Sequence[Json], style: CallStyle, json_style: JsonStyle
) -> Mapping[str, Guess]:
    """Every value of the calls by its pointer in the answer, as a slot holds it."""
    arguments = (
        (child("", idx, style.arguments_key), call.get("arguments") or {})
        for idx, call in enumerate(calls)
    )
    return {
        pointer: Guess(json_style.dumps(value)[1:-1], True)
        if isinstance(value, str)
        else Guess(json_style.dumps(value), True)
        for at, root in arguments
        for pointer, value in values_in(root, at)
    }


def values_in(value: Any, at: str) -> Iterator[tuple[str, Any]]:
    """A value and all values inside it, with their pointers."""
    yield at, value
    if isinstance(value, dict):
        for key, inside in value.items():
            yield from values_in(inside, child(at, key))
    elif isinstance(value, list):
        for idx, inside in enumerate(value):
            yield from values_in(inside, child(at, idx))
