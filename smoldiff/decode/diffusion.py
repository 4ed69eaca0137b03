"""An answer without the base: decisions from the outside in, slots all at once, then the last gate.

What the gate finds wrong is written anew: a slot's text is forbidden and its next best one taken, or a decision turned
to its next best option. The bound on that makes the promise: a valid answer or an error, never a guess.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from smoldiff.decode.decisions import Decisions
from smoldiff.decode.filling import Filling, NoText
from smoldiff.decode.mending import Mending, repeated_keys
from smoldiff.decode.scores import Ask, Scorer
from smoldiff.errors import IncompleteCall, InvalidCall, UnsupportedSchema
from smoldiff.scaffold.cost import Costs
from smoldiff.scaffold.scaffold import Scaffold
from smoldiff.schema.validation import Fault
from smoldiff.template.template import Template, unroll
from smoldiff.template.vocabulary import Vocabulary

MAX_ROUNDS = 24
"""Questions are asked from the outside in, this many times; deeper ones take the smallest options."""

MAX_GROWN_TOKENS = 1024
"""An answer is not made longer than it must be past this many positions."""
TOKENS_PER_SLOT = 24
"""What one more slot is thought to take, its key and separators included."""

Judge = Callable[[str], list[Fault]]


@dataclass(frozen=True, slots=True)
class Prefix:
    """What of an answer is written already."""

    text: str = ""
    token_ids: tuple[int, ...] = ()


NO_PREFIX = Prefix()


@dataclass(frozen=True, slots=True)
class Written:
    """A valid answer and what it took."""

    text: str
    token_ids: tuple[int, ...]
    num_asked: int
    num_remasked: int
    slots: Mapping[str, str]
    """The text of each slot by its pointer."""
    options: Mapping[str, float]
    """The chance that the scorer gave what was decided at a pointer, keys left aside."""


def write_answer(
    scaffold: Scaffold,
    vocabulary: Vocabulary,
    scorer: Scorer,
    judge: Judge,
    *,
    max_tokens: int,
    max_remasks: int,
    prefix: Prefix = NO_PREFIX,
    slot_tokens: int | None = None,
) -> Written:
    """A text of the scaffold in which `judge` finds no fault; the faults' pointers are those of the scaffold.

    It goes on where `prefix` ends, and holds it. `slot_tokens` is what a slot takes on average, its key included, where
    the scorer writes what a model would; without it slots are thought to use up all their positions.

    Raises InvalidCall where `max_remasks` changes did not mend it, IncompleteCall where it does not fit `max_tokens`,
    UnsupportedSchema where a slot that must be there has no text that can be written at once.
    """
    writing = Writing(scaffold, vocabulary, scorer, max_tokens, prefix, slot_tokens)
    fault, text = Fault("", "nothing was tried"), ""
    for num_remasked in range(max_remasks + 1):
        try:
            text = writing.attempt()
        except NoText as dead_end:
            if writing.avoid(dead_end):
                continue
            if dead_end.is_for_good:
                raise UnsupportedSchema(dead_end.run.slot.pointer, dead_end.problem) from None
            problem = f"{fault.problem}; {dead_end.problem}"
            raise InvalidCall(fault.pointer, problem, text) from None
        faults = judge(text)
        if not faults:
            return _fitting(writing, text, num_remasked, max_tokens)
        fault = faults[0]
        if not writing.mend(faults):
            raise InvalidCall(fault.pointer, f"{fault.problem}; no other text is left", text)
    problem = f"{fault.problem}; still so after {max_remasks} changes: raise max_remasks"
    raise InvalidCall(fault.pointer, problem, text)


def _fitting(writing: "Writing", text: str, num_remasked: int, max_tokens: int) -> Written:
    ids = writing.token_ids()
    if len(ids) > max_tokens:
        raise IncompleteCall(
            f"the answer takes {len(ids)} tokens and max_tokens is {max_tokens}; raise max_tokens",
            text,
        )
    return Written(
        text, ids, writing.num_asked, num_remasked, writing.texts, writing.option_chances()
    )


class Writing:
    """One answer between its attempts."""

    def __init__(
        self,
        scaffold: Scaffold,
        vocabulary: Vocabulary,
        scorer: Scorer,
        max_tokens: int,
        prefix: Prefix,
        slot_tokens: int | None,
    ) -> None:
        self._scaffold, self._vocabulary, self._max_tokens = scaffold, vocabulary, max_tokens
        self._prefix, self._slot_tokens = prefix, slot_tokens
        self._decisions = Decisions(scorer, Costs())
        self._filling = Filling(scorer, vocabulary)
        self._mending = Mending(self._decisions, self._filling)

    @property
    def num_asked(self) -> int:
        return self._decisions.num_asked + self._filling.num_asked

    def attempt(self) -> str:
        """Decide and fill what is open. Raises NoText."""
        self._template = self._decided()
        self.texts = self._filling.fill(self._template)
        while repeated := next(repeated_keys(self._template, self.texts), None):
            self._filling.forbid(*repeated)
            self.texts = self._filling.fill(self._template)
        return self._prefix.text + self._template.text(self.texts)

    def mend(self, faults: Sequence[Fault]) -> bool:
        """Take back some of what the first fault hangs on; False where nothing is left to take back."""
        return any(self._mending.mend(fault, self._template, self.texts) for fault in faults)

    def avoid(self, dead_end: NoText) -> bool:
        """Take back the decision that a slot without a text hangs on; False where it must be there."""
        return self._mending.avoid(dead_end.run.pointer, for_good=dead_end.is_for_good)

    def token_ids(self) -> tuple[int, ...]:
        if not self._prefix.token_ids:
            return self._template.fill(self.texts)
        written = self._prefix.token_ids
        return written + self._template.fill(self.texts, written)

    def option_chances(self) -> dict[str, float]:
        """The chances of what was decided, by pointer; keys are not values, and left aside."""
        return {
            pointer: one.chance
            for (pointer, ask, _), one in self._decisions.settled.items()
            if ask is not Ask.KEY
        }

    def _decided(self) -> Template:
        num_rounds = 0
        while True:
            choices = self._decisions.choices()
            template = unroll(self._scaffold, self._vocabulary, self._prefix.text, choices)
            room = self._room(template) if num_rounds < MAX_ROUNDS else 0
            if not self._decisions.settle(template, room):
                return template
            num_rounds += 1

    def _room(self, template: Template) -> int:
        """How many more slots the answer may have."""
        if self._slot_tokens is None:
            left = min(self._max_tokens // 2, MAX_GROWN_TOKENS) - len(template.ids)
            return left // TOKENS_PER_SLOT
        num_masked = sum(run.stop - run.start for run in template.runs)
        num_fixed = len(template.ids) - num_masked
        return (self._max_tokens - num_fixed) // self._slot_tokens - len(template.runs)
