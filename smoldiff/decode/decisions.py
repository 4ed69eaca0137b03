"""The structure of an answer without the base: every open choice of a scaffold is put to a scorer, from the outside in."""

from collections.abc import Iterable, Iterator
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field

import torch
from torch import Tensor

from smoldiff.decode import asking
from smoldiff.decode.scores import MAX_RANK, RANKS, Ask, Decider, Question
from smoldiff.scaffold.anything import anything, num_scalars
from smoldiff.scaffold.cost import UNKNOWN, Costs
from smoldiff.scaffold.cursor import Choices, Decision, Remainder
from smoldiff.scaffold.pieces import (
    Branch,
    Items,
    Keys,
    Literal,
    Piece,
    Repeat,
    Sequence,
    Slot,
)
from smoldiff.schema.nodes import Boolean, Enum, Opaque
from smoldiff.template.template import Template

MAX_MORE_ITEMS = 8
"""Items of an array above the fewest."""
MAX_MORE_MEMBERS = 4
"""Members of an open object besides those that the schema names."""
MAX_MORE_CALLS = 3
MAX_FREE_DEPTH = 2
"""How deep arrays and objects are nested where the schema lets any value stand."""

Name = tuple[str, Ask, str]


@dataclass(slots=True)
class Settled:
    """An answered question."""

    question: Question
    scores: Tensor
    option: int

    @property
    def chance(self) -> float:
        """The chance of the option that was taken, its scores read as log-odds."""
        return float(self.scores.softmax(-1)[self.option])

    @property
    def loss(self) -> float:
        """What the next best option scores less; infinite where there is none."""
        others = self.scores[self.scores.isfinite()]
        if len(others) < 2:
            return float("inf")
        best = others.topk(2).values
        return float(best[0] - best[1])


@dataclass(eq=False)
class Decisions:
    """The choices of one answer. `settle` takes new ones, `turn` takes one back."""

    scorer: Decider
    costs: Costs
    settled: dict[Name, Settled] = field(default_factory=dict)
    num_asked: int = 0
    """How often the scorer was asked."""

    def settle(self, template: Template | Remainder, room: int) -> bool:
        """Decide what the template leaves open; False if that is nothing.

        Options that make the answer longer are taken, the surest first, as long as they add at most `room` slots.
        """
        questions = self._open_questions(template)
        if not questions:
            return False
        scores = self._asked(template, questions) if room > 0 else self._small(questions)
        new = [
            Settled(question, one, int(one.argmax()))
            for question, one in zip(questions, scores, strict=True)
        ]
        self.settled.update((_name(one.question), one) for one in new)
        self._shorten(new, room)
        for decision in template.decisions:
            if isinstance(decision.piece, Keys) and decision.piece.max_keys is not None:
                present = template.choices.keys.get(decision.pointer, frozenset())
                self._limit_keys(decision, decision.piece, decision.piece.max_keys, present)
        return True

    def _open_questions(self, template: Template | Remainder) -> list[Question]:
        """What the template leaves open, but not inside a choice that is open itself: another may be taken."""
        found: list[Question] = []
        branches: set[str] = set()
        for decision in template.decisions:
            if _is_inside(decision, branches):
                continue
            for question in self.questions(decision):
                if _name(question) not in self.settled:
                    found.append(question)
                    if _moves_what_is_inside(question):
                        branches.add(question.pointer)
        return found

    def turn(self, settled: Settled, *, for_good: bool = False) -> bool:
        """Take the next best option instead, and forget all that hung on this one; False where no other is left.

        The option comes last from now on, so in the end every one has its turn; with `for_good` it never comes back.
        """
        scores = settled.scores
        left = scores[scores.isfinite()]
        if not len(left):
            return False
        scores[settled.option] = -torch.inf if for_good else left.min() - 1
        option = int(scores.argmax())
        if option == settled.option or not scores[option].isfinite():
            return False
        settled.option = option
        for name in [name for name in self.settled if _hangs_on(name, settled.question)]:
            del self.settled[name]
        return True

    def governing(self, pointer: str) -> list[Settled]:
        """The answers that decide whether something is at a pointer, and what; the nearest first."""
        found = [one for one in self.settled.values() if _is_at(pointer, one.question.scope)]
        return sorted(found, key=lambda one: (-len(one.question.scope), -one.question.rank))

    def inside(self, pointer: str) -> list[Settled]:
        """The answers about the value at a pointer and what is in it."""
        return [one for one in self.settled.values() if _is_at(one.question.pointer, pointer)]

    def choices(self) -> Choices:
        """The decisions as the scaffold reads them."""
        keys: dict[str, frozenset[str]] = {}
        others: dict[str, tuple[int, ...]] = {}
        lengths: dict[str, int] = {}
        branches: dict[str, int] = {}
        kinds: dict[str, int] = {}
        for (pointer, ask, name), one in self.settled.items():
            if ask is Ask.KEY and one.option:
                keys[pointer] = keys.get(pointer, frozenset()) | {name}
        for (pointer, ask, _), one in self.settled.items():
            piece = one.question.decision.piece
            if ask is Ask.MEMBERS and isinstance(piece, Keys):
                num_optional = len(keys.get(pointer, ()))
                others[pointer] = tuple(self._members(pointer, piece, one.option, num_optional))
            elif ask is Ask.LENGTH:
                lengths[pointer] = one.option + fewest(one.question.decision)
            elif ask is Ask.BRANCH:
                branches[pointer] = one.option
            elif ask is Ask.KIND:
                kinds[pointer] = one.option
        return Choices(keys, lengths, branches, others, kinds)

    def _asked(self, template: Template | Remainder, questions: Seq[Question]) -> list[Tensor]:
        self.num_asked += 1
        scores = asking.decide(self.scorer, template, questions)
        return [self._allowed(q, one) for q, one in zip(questions, scores, strict=True)]

    def _small(self, questions: Seq[Question]) -> list[Tensor]:
        scores = []
        for question in questions:
            one = torch.arange(0.0, -question.num_options, -1.0, dtype=torch.float64)
            if isinstance(question.decision.piece, Branch):
                one[self.costs.cheapest(question.decision.piece)] = 1.0
            scores.append(one)
        return scores

    def _allowed(self, question: Question, scores: Tensor) -> Tensor:
        """The scores, lower for options that lead to parts of which only the last gate knows what they may hold."""
        piece = question.decision.piece
        options = piece.options if isinstance(piece, Branch) else ()
        if isinstance(piece, Keys) and question.ask is Ask.MEMBER:
            options = tuple(other.value for other in piece.others)
        unknown = [idx for idx, option in enumerate(options) if not self.costs.is_known(option)]
        scores = scores.clone()
        scores[unknown] -= 1 + scores.max() - scores.min()
        return scores

    def questions(self, decision: Decision) -> Iterator[Question]:
        """What a decision leaves to be asked."""
        match decision.piece:
            case Keys():
                yield from self._key_questions(decision, decision.piece)
            case Items() as items:
                each = 1 if items.item is None else max(1, self.costs.of(items.item))
                num_more = self._num_more_items(items, fewest(decision))
                yield from _ask(decision, Ask.LENGTH, 1 + num_more, each)
            case Branch(options=options):
                yield from _ask(decision, Ask.BRANCH, len(options))
            case Repeat(item=item, max_count=most):
                num_more = min(most - fewest(decision), MAX_MORE_CALLS)
                yield from _ask(decision, Ask.LENGTH, 1 + num_more, max(1, self.costs.of(item)))
            case Slot():
                yield Question(decision, Ask.KIND, "", self._num_kinds(decision))

    def _key_questions(self, decision: Decision, keys: Keys) -> Iterator[Question]:
        num_required = sum(entry.is_required for entry in keys.entries[: decision.num_read])
        for entry in keys.entries[decision.num_read :]:
            if entry.is_required:
                num_required += 1
            elif self.costs.is_known(entry.value):
                yield Question(decision, Ask.KEY, entry.key, 2, max(1, self.costs.of(entry.value)))
        each = min((1 + self.costs.of(other.value) for other in keys.others), default=UNKNOWN)
        if each >= UNKNOWN or decision.num_read:
            return
        room = MAX_MORE_MEMBERS if keys.max_keys is None else keys.max_keys - num_required
        num_more = max(0, min(room, MAX_MORE_MEMBERS))
        yield from _ask(decision, Ask.MEMBERS, 1 + num_more, each)
        num_members = max(num_more, keys.min_keys - num_required)
        for num in range(num_members if len(keys.others) > 1 else 0):
            yield Question(decision, Ask.MEMBER, str(num), len(keys.others))

    def _num_more_items(self, items: Items, num_least: int) -> int:
        most = items.most
        if items.is_unique and items.item is not None and not items.prefix:
            num_values = num_values_of(items.item)
            most = num_values if most is None else min(most, num_values or most)
        room = MAX_MORE_ITEMS if most is None else most - num_least
        is_known = items.item is None or self.costs.is_known(items.item)
        return max(0, min(room, MAX_MORE_ITEMS)) if is_known else 0

    def _num_kinds(self, decision: Decision) -> int:
        assert isinstance(decision.piece, Slot)
        assert isinstance(decision.piece.language, Opaque)
        types = decision.piece.language.types
        steps = decision.pointer.split("/")
        above = ("/".join(steps[:stop]) for stop in range(len(steps)))
        depth = sum((pointer, Ask.KIND, "") in self.settled for pointer in above)
        num_allowed = num_scalars(types) if depth >= MAX_FREE_DEPTH else 0
        return num_allowed or len(anything(decision.piece.pointer, types))

    def _members(self, pointer: str, keys: Keys, num_more: int, num_optional: int) -> Iterator[int]:
        """The kinds of the unnamed members, as many as were decided on, and more where there must be more keys.

        num_optional: keys that need not be there and were decided on.
        """
        num_named = num_optional + sum(entry.is_required for entry in keys.entries)
        for num in range(max(num_more, keys.min_keys - num_named)):
            member = self.settled.get((pointer, Ask.MEMBER, str(num)))
            yield member.option if member else 0

    def _shorten(self, new: Seq[Settled], room: int) -> None:
        for one in sorted(new, key=lambda one: -one.loss):
            num_slots = one.option * one.question.num_slots
            if num_slots > room:
                one.option = 0
            else:
                room -= num_slots

    def _limit_keys(
        self, decision: Decision, keys: Keys, most: int, present: frozenset[str]
    ) -> None:
        """Leave out the optional keys that lose least, where there are too many; those that are written stay."""
        pointer = decision.pointer
        written = {
            entry.key
            for entry in keys.entries[: decision.num_read]
            if entry.key in present and not entry.is_required
        }
        chosen = [
            one
            for (at, ask, name), one in self.settled.items()
            if at == pointer and ask is Ask.KEY and one.option and name not in written
        ]
        members = self.settled.get((pointer, Ask.MEMBERS, ""))
        num_required = sum(entry.is_required for entry in keys.entries) + len(written)
        num_too_many = num_required + len(chosen) - most
        for one in sorted(chosen, key=lambda one: one.loss)[: max(0, num_too_many)]:
            one.option = 0
        if members is not None:
            num_left = most - num_required - min(len(chosen), most - num_required)
            members.option = max(0, min(members.option, num_left))


def fewest(decision: Decision) -> int:
    """The smallest number of items or calls that a decision leaves possible."""
    least = decision.piece.fewest if isinstance(decision.piece, Items) else 1
    return max(least, decision.num_read)


def num_values_of(piece: Piece) -> int | None:
    """How many values a piece can be written as, where they are few and plain to count."""
    match piece:
        case Literal():
            return 1
        case Slot(language=Enum(texts=texts)):
            return len(texts)
        case Slot(language=Boolean()):
            return 2
        case Sequence(parts=(Literal(), inside, Literal())):
            return num_values_of(inside)
        case _:
            return None


def _ask(decision: Decision, ask: Ask, num_options: int, num_slots: int = 0) -> Iterable[Question]:
    return [Question(decision, ask, "", num_options, num_slots)] if num_options > 1 else []


def _name(question: Question) -> Name:
    return question.pointer, question.ask, question.name


def _moves_what_is_inside(question: Question) -> bool:
    """Whether another answer puts other pieces at the same pointers: the contained items of an array are its last."""
    piece = question.decision.piece
    is_moving = isinstance(piece, Items) and bool(piece.contained)
    return question.ask is Ask.BRANCH or (question.ask is Ask.LENGTH and is_moving)


def _is_inside(decision: Decision, branches: set[str]) -> bool:
    """Whether a decision stands inside one of these branches; they come before it."""
    if not branches:
        return False
    steps = decision.pointer.split("/")
    return any("/".join(steps[:stop]) in branches for stop in range(1, len(steps) + 1))


def _hangs_on(name: Name, question: Question) -> bool:
    """Whether one decision has a meaning only as long as another is as it is."""
    pointer, ask, _ = name
    if question.ask is Ask.LENGTH and _moves_what_is_inside(question):
        return pointer.startswith(question.pointer + "/")
    if question.ask in (Ask.LENGTH, Ask.MEMBERS):
        return False
    if pointer == question.scope and question.ask in RANKS:
        return RANKS.get(ask, MAX_RANK) > question.rank
    return _is_at(pointer, question.scope) and (pointer, ask) != (question.pointer, question.ask)


def _is_at(pointer: str, scope: str) -> bool:
    """Whether a pointer is a scope or lies in it."""
    return pointer == scope or pointer.startswith(scope + "/")
