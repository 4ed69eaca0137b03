"""One training example: a moment of decoding played out with the base's own answer, and what the head should say then.

A draft is shown to the base, as much of it as the base would accept is taken, and the head is asked for the rest by the
code that inference uses. The draft is the first one (a sketch, now and then of the wrong tool) or a later one with values
that are right, empty, cut short or wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smoldiff.decode.asked import Asker, SlotQueries
from smoldiff.decode.decisions import Decisions, fewest
from smoldiff.decode.draft import EMPTY, Draft, make_draft, num_common, write_draft
from smoldiff.decode.opening import first_positions, open_slots
from smoldiff.decode.scores import Ask, Question
from smoldiff.decode.seen import Seen
from smoldiff.decode.sketch import sketch, sketch_draft
from smoldiff.decode.tool_guessing import guess_arrays
from smoldiff.errors import SmoldiffError
from smoldiff.head.inputs import NO_TOKEN, Query
from smoldiff.head.readings import MAX_MATCH
from smoldiff.scaffold.cost import Costs
from smoldiff.scaffold.cursor import Choices, Gap, NotAPrefix, Remainder
from smoldiff.scaffold.pieces import Repeat, Slot
from smoldiff.scaffold.scaffold import Scaffold
from smoldiff.schema.nodes import Boolean, Enum
from smoldiff.template.template import MASK
from smoldiff.template.vocabulary import Vocabulary
from smoldiff_training.data.targets import Target
from smoldiff_training.head.config import NoiseConfig

IGNORED = -100
"""No label here."""
NULL = -2
"""The label of a position behind a slot's text."""
COMPLEMENT = 3
"""Block of the queries in which just the other positions are masked."""
NO_GROUP = -1
MAX_FED_TOKENS = 160
MAX_GUESSED_TOOLS = 12


@dataclass(slots=True)
class Labelled:
    """A query and what is right there."""

    query: Query
    label: int = IGNORED
    history: tuple[int, ...] = (NO_TOKEN,) * MAX_MATCH
    """The right tokens before it in its slot, the last one first."""
    slot: int = 0
    """Number of the slot among those of the example."""
    teacher: int = -1
    """Row of the base's own distribution for this token, -1 where there is none."""
    masked_share: float = 1.0
    group: int = NO_GROUP
    """Number of the question whose option this is."""
    is_right_option: bool = False
    moment: int = 0
    """Number of the moment that it belongs to, where several share a prompt; 0 where there is one."""


@dataclass(slots=True)
class Example:
    """What the base is fed, and the labelled queries."""

    ids: tuple[int, ...]
    num_prompt: int
    labelled: list[Labelled]
    implicit: list[bool]
    """For each question, whether the option without a query is right; its score is 0."""
    has_implicit: list[bool]
    guess: Guess | None = None
    moments: tuple[int, ...] = ()
    """For each token of `ids` the moment that it is fed in, 0 for all; () where all are."""


@dataclass(frozen=True, slots=True, eq=False)
class Guess:
    """What the first draft's tool is guessed from, and which is right; at most MAX_GUESSED_TOOLS."""

    query_L: NDArray[np.int64]
    tools_KM: NDArray[np.int64]
    right: int


@dataclass(eq=False)
class ExampleMaker:
    """Makes examples for one base and one head."""

    vocabulary: Vocabulary
    noise: NoiseConfig
    max_positions: int
    compiled: Callable[[list[dict[str, Any]]], Scaffold]
    _asker: Asker = field(init=False)

    def __post_init__(self) -> None:
        self._asker = Asker(self.vocabulary)

    def make(self, target: Target, rng: Random) -> Example | None:
        """None where nothing is left to ask, or the answer is none that the scaffold can write."""
        try:
            scaffold = self.compiled(target.tools)
            answer = read_answer(scaffold, target, self.vocabulary)
            moment = self._moment(scaffold, answer, target, rng)
        except (NotAPrefix, SmoldiffError, UnicodeDecodeError):
            return None
        if moment is None:
            return None
        seen, remainder, text = moment
        ids = (*(int(i) for i in target.prompt_ids), *seen.fed_ids)
        example = Example(ids, len(target.prompt_ids), [], [], [])
        self._ask_slots(example, seen, remainder, text, answer, rng)
        self._ask_questions(example, seen, remainder, answer)
        example.guess = self._guess(scaffold, answer, target, rng)
        return example if example.labelled else None

    def _moment(
        self, scaffold: Scaffold, answer: Answered, target: Target, rng: Random
    ) -> tuple[Seen, Remainder, str] | None:
        """What was seen, what remains, and the text that is written."""
        num_written, draft = 0, EMPTY
        if rng.random() < self.noise.redraft_share:
            num_written = rng.randrange(len(answer.ids))
            draft = self._redraft(scaffold, answer, num_written, rng)
        elif rng.random() >= self.noise.no_scaffold_share:
            draft = self._sketch(scaffold, answer, len(target.tools), rng)
        written = answer.ids[:num_written]
        draft = Draft(
            draft.ids[:MAX_FED_TOKENS], draft.ends[:MAX_FED_TOKENS], draft.text, draft.spans
        )
        num_right = num_written + num_common(draft.ids, answer.ids[num_written:])
        if num_right + 1 >= len(answer.ids):
            return None
        seen = Seen.of(self.vocabulary, len(target.prompt_ids), written, draft, num_right)
        text = self.vocabulary.bytes_of(answer.ids[: num_right + 1]).decode()
        return seen, scaffold.resume(text, answer.choices), text

    def _guess(
        self, scaffold: Scaffold, answer: Answered, target: Target, rng: Random
    ) -> Guess | None:
        tools = list(scaffold.source.tools)
        if len(tools) < 2:
            return None
        right = tools[answer.choices.branches["/0"]]
        others = [tool for tool in tools if tool is not right]
        shown = [right, *rng.sample(others, min(len(others), MAX_GUESSED_TOOLS - 1))]
        prompt_ids = target.prompt_ids.tolist()
        query_L, tools_KM = guess_arrays(self.vocabulary, shown, prompt_ids)
        return Guess(query_L, tools_KM, 0)

    def _sketch(self, scaffold: Scaffold, answer: Answered, num_tools: int, rng: Random) -> Draft:
        tool_idx = answer.choices.branches.get("/0", 0)
        if rng.random() < self.noise.wrong_tool_share:
            tool_idx = rng.randrange(num_tools)
        fullest = sketch(scaffold, "", Choices(branches={"/0": tool_idx}))
        return sketch_draft(fullest, self.vocabulary)

    def _redraft(
        self, scaffold: Scaffold, answer: Answered, num_written: int, rng: Random
    ) -> Draft:
        written = answer.ids[:num_written]
        text = self.vocabulary.bytes_of(written).decode()
        remainder = scaffold.resume(text, answer.choices)
        is_right = rng.random()  # good drafts and bad ones

        def fill(gap: Gap) -> str:
            value = answer.values.get(gap.pointer, gap.written)
            draw = rng.random()
            if draw < 0.35 + 0.6 * is_right:
                return value
            if draw < 0.75 + 0.2 * is_right or not value:
                return gap.written
            if draw < 0.9 and len(value) > 1:
                return gap.written + value[len(gap.written) : rng.randrange(1, len(value))]
            return gap.written + answer.any_value(rng)

        parts, spans = write_draft(remainder, fill)
        return make_draft(self.vocabulary, written, parts, spans)

    def _ask_slots(
        self,
        example: Example,
        seen: Seen,
        remainder: Remainder,
        text: str,
        answer: Answered,
        rng: Random,
    ) -> None:
        mode = rng.random() - self.noise.full_mask_share
        has_prefixes = 0 <= mode < self.noise.prefix_share
        known: dict[str, str] = {}
        positions: dict[str, int] = {}
        for piece in remainder.pieces:
            if isinstance(piece, Gap) and piece.pointer in answer.values:
                value = answer.values[piece.pointer]
                known[piece.pointer] = (
                    self._prefix(seen, piece, value, rng) if has_prefixes else piece.written
                )
                positions[piece.pointer] = self._positions(piece.slot, rng)
        slots = open_slots(remainder, text, known, positions)
        for num, asked in enumerate(self._asker.slots(seen, slots)):
            rows = self._labelled(asked, num, answer)
            if mode >= self.noise.prefix_share:
                rows = list(self._hidden_at_random(rows, rng))
            example.labelled += self._thinned(rows, rng)

    def _prefix(self, seen: Seen, gap: Gap, value: str, rng: Random) -> str:
        """A part of the value that is known: as much as was seen and one token more, or any number of tokens."""
        ids = self.vocabulary.encode_bytes(value.encode())
        ends = self.vocabulary.ends(ids)
        if gap.pointer in seen.spans and rng.random() < 0.7:
            start, stop = seen.spans[gap.pointer]
            num_same = num_common(seen.text[start:stop], value.encode())
            num_known = sum(end <= num_same for end in ends) + 1
        else:
            num_known = rng.randrange(len(ids) + 1)
        try:
            prefix = self.vocabulary.bytes_of(ids[:num_known]).decode()
        except UnicodeDecodeError:
            return gap.written
        return (
            prefix if len(prefix) > len(gap.written) and len(prefix) < len(value) else gap.written
        )

    def _positions(self, slot: Slot, rng: Random) -> int:
        num = first_positions(slot.language, self.vocabulary, self.max_positions)
        if rng.random() < 0.1:
            num = self.max_positions
        jitter = self.noise.budget_jitter
        least = 0 if isinstance(slot.language, (Boolean, Enum)) else -jitter  # each value has room
        return max(1, min(self.max_positions, num + rng.randint(least, jitter)))

    def _labelled(self, asked: SlotQueries, num: int, answer: Answered) -> list[Labelled]:
        pointer = asked.open_slot.pointer
        rest = answer.values[pointer][len(asked.open_slot.known) :]
        ids = [*asked.known_ids, *self.vocabulary.encode_bytes(rest.encode())]
        teachers = answer.teachers(pointer, self.vocabulary.ends(ids))
        rows = []
        for query in asked.queries:
            place = query.place
            before = ids[max(0, place - MAX_MATCH) : place][::-1] if place <= len(ids) else []
            history = (*before, *(NO_TOKEN,) * (MAX_MATCH - len(before)))
            label, teacher = NULL, -1
            if place < len(ids):
                label, teacher = ids[place], teachers[place]
            if query.token_id != MASK:
                label = IGNORED
            rows.append(Labelled(query, label, history, num, teacher))
        return rows

    def _hidden_at_random(self, rows: list[Labelled], rng: Random) -> list[Labelled]:
        """Some tokens visible and, with `complementary`, the others visible in a second block."""
        share = rng.random()
        is_shown = [one.label >= 0 and rng.random() >= share for one in rows]
        found = [
            _shown(one, share) if shown else replace(one, masked_share=share)
            for one, shown in zip(rows, is_shown, strict=True)
        ]
        if self.noise.complementary:
            rest = 1 - share
            other = [
                replace(one, masked_share=rest) if shown or one.label < 0 else _shown(one, rest)
                for one, shown in zip(rows, is_shown, strict=True)
            ]
            found += [replace(one, query=replace(one.query, block=COMPLEMENT)) for one in other]
        return found

    def _thinned(self, rows: list[Labelled], rng: Random) -> list[Labelled]:
        """Fewer of the positions behind a slot's end have a label: one says it all, and there are many."""
        is_behind = False
        for one in rows:
            if one.label == NULL and is_behind and rng.random() >= self.noise.null_share:
                one.label = IGNORED
            is_behind = is_behind or one.label == NULL
        return rows

    def _ask_questions(
        self, example: Example, seen: Seen, remainder: Remainder, answer: Answered
    ) -> None:
        decisions = Decisions(None, Costs())  # type: ignore[arg-type]  # nothing is put to a scorer here
        for decision in remainder.decisions:
            for question in decisions.questions(decision):
                right = right_option(question, answer.choices)
                if right is None or right >= question.num_options:
                    continue
                group, is_key = len(example.implicit), question.ask is Ask.KEY
                example.implicit.append(is_key and right == 0)
                example.has_implicit.append(is_key)
                example.labelled += [
                    Labelled(query, group=group, is_right_option=query.index == right)
                    for query in self._asker.question(seen, question)
                ]


def joined(examples: Sequence[Example]) -> Example:
    """Moments of one answer behind one prompt, which the base then runs over once."""
    if len(examples) == 1:
        return examples[0]
    num_prompt = examples[0].num_prompt
    ids, moments = list(examples[0].ids[:num_prompt]), [0] * num_prompt
    whole = Example((), num_prompt, [], [], [], examples[0].guess)
    for moment, one in enumerate(examples, 1):
        shift, num_groups = len(ids) - num_prompt, len(whole.implicit)
        num_slots = 1 + max((row.slot for row in whole.labelled), default=-1)
        for row in one.labelled:
            anchor = row.query.anchor + (shift if row.query.anchor >= num_prompt else 0)
            row.query = replace(row.query, anchor=anchor)
            row.slot, row.moment = row.slot + num_slots, moment
            row.group += num_groups if row.group != NO_GROUP else 0
        whole.labelled += one.labelled
        whole.implicit += one.implicit
        whole.has_implicit += one.has_implicit
        ids += one.ids[num_prompt:]
        moments += [moment] * (len(one.ids) - num_prompt)
    whole.ids, whole.moments = tuple(ids), tuple(moments)
    return whole


def _shown(one: Labelled, share: float) -> Labelled:
    return replace(
        one, query=replace(one.query, token_id=one.label), label=IGNORED, masked_share=share
    )


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """The base's answer, read by its scaffold."""

    ids: tuple[int, ...]
    choices: Choices
    values: Mapping[str, str]
    """Pointer -> the slot's text."""
    starts: Mapping[str, int]
    """Pointer -> the first byte of the slot's text."""
    token_at: Mapping[tuple[int, int], int]
    """First and last byte of a token -> its number."""

    def teachers(self, pointer: str, ends: Sequence[int]) -> list[int]:
        """For each token of a slot, the number of the answer's token that writes just these bytes, or -1."""
        start = self.starts[pointer]
        bounds = [start, *(start + end for end in ends)]
        return [self.token_at.get((a, b), -1) for a, b in pairwise(bounds)]

    def any_value(self, rng: Random) -> str:
        return rng.choice([value for value in self.values.values() if value] or ["x"])


def read_answer(scaffold: Scaffold, target: Target, vocabulary: Vocabulary) -> Answered:
    """Raises NotAPrefix where the scaffold cannot read the answer, which it resumes at every prefix otherwise."""
    text, ids = target.answer_text, tuple(int(i) for i in target.answer_ids)
    whole = scaffold.resume(text)
    values = {one.pointer: text[one.start : one.end] for one in whole.fields}
    starts = {one.pointer: len(text[: one.start].encode()) for one in whole.fields}
    ends = vocabulary.ends(ids)
    token_at = {(a, b): i for i, (a, b) in enumerate(zip((0, *ends), ends, strict=False))}
    return Answered(ids, whole.choices, values, starts, token_at)


def right_option(question: Question, choices: Choices) -> int | None:
    """What the answer's choices say to a question; None where they do not say it."""
    at = question.pointer
    match question.ask:
        case Ask.KEY:
            return int(question.name in choices.keys.get(at, ()))
        case Ask.LENGTH:
            least = fewest(question.decision)
            default = 1 if isinstance(question.decision.piece, Repeat) else least
            return max(0, choices.lengths.get(at, default) - least)
        case Ask.BRANCH:
            return choices.branches.get(at)
        case _:
            return None
