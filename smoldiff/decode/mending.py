"""What to write anew where the gate finds a fault: a text is forbidden, or a decision turned to its next best option."""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import groupby

from smoldiff.decode.decisions import Decisions
from smoldiff.decode.filling import Filling
from smoldiff.decode.scores import Ask
from smoldiff.scaffold.remainder import object_of_key, real_pointer
from smoldiff.schema.validation import UNJUDGED, Fault
from smoldiff.template.template import Template

PATIENCE = 4
"""Changes inside a value before what it lies in is changed too."""


OF_STRUCTURE = frozenset(
    {
        "type",
        "required",
        "dependentRequired",
        "minProperties",
        "maxProperties",
        "minItems",
        "maxItems",
    }
)
"""Keywords whose faults no other text of a slot can mend."""


class Mending:
    """Changes to the decisions and slots of one answer, each with the least loss of score that promises to help."""

    def __init__(self, decisions: Decisions, filling: Filling) -> None:
        self._decisions, self._filling = decisions, filling
        self._num_faults: Counter[str] = Counter()

    def mend(self, fault: Fault, template: Template, texts: Mapping[str, str]) -> bool:
        """Take back some of what a fault hangs on; False where nothing is left to take back."""
        slots = {run.pointer: real_pointer(run.pointer, texts) for run in template.runs}
        self._num_faults[fault.pointer] += 1
        num_faults = self._num_faults[fault.pointer]
        if fault.keyword == UNJUDGED and num_faults > PATIENCE:
            return False
        if fault.keyword == "uniqueItems" and (
            self._separate(fault.pointer, slots, texts) or self._shorten(fault.pointer, slots)
        ):
            return True
        if fault.missing and self._add(fault, slots):
            return True
        own = [slot for slot, real in slots.items() if real == fault.pointer]
        if num_faults <= PATIENCE and self._forbid(own, texts):
            return True
        scope = fault.pointer
        for _ in range((num_faults - 1) // PATIENCE):
            scope = scope.rpartition("/")[0]
        forbids_first = num_faults % 2 == 0
        if fault.keyword in OF_STRUCTURE:
            return self._turn_outwards(scope, slots)
        return self._change(scope, forbids_first, slots, texts)

    def avoid(self, pointer: str, *, for_good: bool) -> bool:
        """Turn the nearest decision that something hangs on; False where there is none."""
        return any(
            self._decisions.turn(one, for_good=for_good)
            for one in self._decisions.governing(pointer)
        )

    def _change(
        self, scope: str, forbids_first: bool, slots: Mapping[str, str], texts: Mapping[str, str]
    ) -> bool:
        """Change the slots inside a scope or a decision; where neither can be, go outwards."""
        inside = [slot for slot, real in slots.items() if f"{real}/".startswith(f"{scope}/")]
        if forbids_first:
            is_changed = self._forbid(inside, texts) or self._turn(scope, slots)
        else:
            is_changed = self._turn(scope, slots) or self._forbid(inside, texts)
        if is_changed or not scope:
            return is_changed
        return self._change(scope.rpartition("/")[0], forbids_first, slots, texts)

    def _turn_outwards(self, scope: str, slots: Mapping[str, str]) -> bool:
        """Turn a decision inside a scope, or the nearest outside it where one can be."""
        while not self._turn(scope, slots):
            if not scope:
                return False
            scope = scope.rpartition("/")[0]
        return True

    def _turn(self, scope: str, slots: Mapping[str, str]) -> bool:
        """Turn the decision that loses least, among those inside a scope and the nearest that it hangs on."""
        written = _as_written(scope, slots)
        near = self._decisions.governing(written)[:2]
        candidates = {id(one): one for one in [*self._decisions.inside(written), *near]}
        by_loss = sorted(candidates.values(), key=lambda one: one.loss)
        return any(self._decisions.turn(one) for one in by_loss)

    def _forbid(self, slots: list[str], texts: Mapping[str, str]) -> bool:
        num_new = sum(self._filling.forbid(slot, {texts[slot]}) for slot in slots)
        return num_new > 0

    def _add(self, fault: Fault, slots: Mapping[str, str]) -> bool:
        """Take a key that is missing, where it was left out."""
        at = _as_written(fault.pointer, slots)
        left_out = [self._decisions.settled.get((at, Ask.KEY, name)) for name in fault.missing]
        return any(
            one is not None and not one.option and self._decisions.turn(one) for one in left_out
        )

    def _shorten(self, scope: str, slots: Mapping[str, str]) -> bool:
        """Give up the length of an array for good: its items are equal, and no slot of theirs can change that."""
        length = self._decisions.settled.get((_as_written(scope, slots), Ask.LENGTH, ""))
        return length is not None and self._decisions.turn(length, for_good=True)

    def _separate(self, scope: str, slots: Mapping[str, str], texts: Mapping[str, str]) -> bool:
        """Forbid each item of an array the texts of those before it."""
        items = [slot for slot, real in slots.items() if real.rpartition("/")[0] == scope]
        is_new = False
        for idx, slot in enumerate(items):
            earlier = {texts[one] for one in items[:idx]}
            if texts[slot] in earlier:
                is_new |= self._filling.forbid(slot, earlier)
        return is_new


def repeated_keys(template: Template, texts: Mapping[str, str]) -> Iterator[tuple[str, set[str]]]:
    """For each unnamed member whose key stands before it in the same object, the keys before it."""
    keys = [(object_of_key(run.pointer), run.pointer) for run in template.runs]
    for _, group in groupby(
        sorted((at, slot) for at, slot in keys if at is not None), lambda k: k[0]
    ):
        seen: set[str] = set()
        for _, slot in group:
            if texts[slot] in seen:
                yield slot, set(seen)
            seen.add(texts[slot])


def _as_written(scope: str, slots: Mapping[str, str]) -> str:
    """The pointer that the scaffold uses for a real one: the keys of unnamed members are slots there."""
    depth = scope.count("/")
    for slot, real in slots.items():
        if f"{real}/".startswith(f"{scope}/"):
            return "/".join(slot.split("/")[: depth + 1])
    return scope
