"""A drafter that knows a likely answer, so that the base confirms most answers in one pass.

What the base writes does not depend on who drafts: the answer is the base's own, wherever it agrees with the known
one and wherever it does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from smoldiff.decode.copying import CopySource
from smoldiff.decode.draft import EMPTY, Draft
from smoldiff.decode.drafters import Drafter, Guess, parse_drafter
from smoldiff.decode.request import Plan
from smoldiff.errors import TemplateError
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


@dataclass(eq=False)
class OracleDrafter(Drafter):
    """Drafts the known answer up to the base's first other token; from there on it drafts as the library does.

    Then it starts from the decisions and values of the known calls, so that what the base changed is the only thing to
    find out.
    """

    known_ids: Sequence[int] = ()
    calls: Sequence[Json] = ()
    _is_known: bool = True

    @property
    def num_candidates(self) -> int:
        return 0 if self._is_known else super().num_candidates

    def propose(self, written: list[int], text: str | None) -> Draft:
        if self._is_known:
            num = len(written)
            if written == list(self.known_ids[:num]):
                return known_draft(self.known_ids[num:])
            self._leave()
        return super().propose(written, text)

    def _leave(self) -> None:
        self._is_known = False
        self.choices = choices_of(self.calls, self.scaffold)
        self.guesses.update(
            guesses_of(self.calls, self.scaffold.call_style, self.scaffold.json_style)
        )


def oracle(
    plan: Plan,
    vocabulary: Vocabulary,
    prompt_ids: Sequence[int],
    calls: Sequence[Json],
    written: Sequence[int] = (),
) -> OracleDrafter:
    """The drafter for an answer that makes these calls, or begins with the tokens `written` where there are any."""
    source = CopySource(vocabulary.bytes_of(prompt_ids).decode(errors="replace"))
    known_ids = written or call_ids(vocabulary, calls, plan.scaffold)
    return OracleDrafter(
        plan.scaffold, vocabulary, OTHERWISE, source, known_ids=known_ids, calls=calls
    )


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


def call_ids(vocabulary: Vocabulary, calls: Sequence[Json], scaffold: Scaffold) -> tuple[int, ...]:
    """The tokens in which the model would write these calls; none where its tokenizer cannot write a text of them."""
    try:
        return tokenise(vocabulary, (), call_parts(calls, scaffold.call_style, scaffold.json_style))
    except TemplateError:
        return ()


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
