"""What to forbid once an answer turns out invalid."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from smoldiff.decode.forbidding import Ban
from smoldiff.decode.grammar import AnswerForm
from smoldiff.decode.guilt import find_guilty
from smoldiff.decode.spans import Part, members
from smoldiff.errors import InvalidCall

EXACT_SHARE = 4
"""One in so many of the revisions allowed may go to ruling out the values of one place one by one."""
_DELIMITERS = (b",", b"}", b"]", b" ", b"\n", b"\r", b"\t")


@dataclass(slots=True)
class Revision:
    """Chooses what each invalid answer forbids: its guilty part, up to where that part is known to be whole.

    Nothing valid starts with such a text, so the answer stays the base's own choice. Where a quarter of the revisions
    did not get past one value, whole families of it are given up, one at a time: an object's last key with whatever
    would follow, then the key before it, ...; the last 1, 2, 4, ... characters of a string. So a value that can only be
    right in another corner of the language is found within a few tries.
    """

    form: AnswerForm
    max_remasks: int
    num_remasks: int = 0
    _num_tries: Counter[bytes] = field(default_factory=Counter)
    _family_size: dict[bytes, int] = field(default_factory=dict)
    """Which of its families the next value behind a text takes along."""

    def ban(self, text: str, start: int) -> Ban | None:
        """What an invalid answer forbids, where its calls begin at `start`.

        None where no argument is at fault, or the answer has been revised `max_remasks` times.
        """
        if self.num_remasks == self.max_remasks:
            return None
        part = find_guilty(text[start:], self.form)
        if part is None:
            return None
        self.num_remasks += 1
        part = Part(start + part.start, start + part.end)
        before = text[: part.start].encode()
        self._num_tries[before] += 1
        if self._num_tries[before] <= max(1, self.max_remasks // EXACT_SHARE):
            return _ban_value(before, text[part.start : part.end].encode())
        families = _families(text, part)
        size = min(self._family_size.get(before, 0), len(families) - 1)
        self._family_size[before] = (size + 1) % len(families)
        return Ban((before + families[size],))

    def last_word(self, problem: InvalidCall, *, is_kept: bool = False) -> InvalidCall:
        """The error for an answer that cannot be revised any further, perhaps because what is written must be kept."""
        if self.num_remasks == 0:
            return problem
        why = f"{self.num_remasks} answers were ruled out"
        if is_kept:
            why = "what is wrong was streamed already"
        elif self.num_remasks == self.max_remasks:
            why += f", and max_remasks={self.max_remasks} was reached; raise max_remasks"
        elif self._family_size:
            why += (
                ", some by their beginnings, and no other is left; raise max_remasks to look closer"
            )
        else:
            why += ", and no other is left"
        return InvalidCall(problem.pointer, f"{problem.problem}; {why}", problem.text)


def _ban_value(before: bytes, value: bytes) -> Ban:
    whole = before + value
    if _is_number(value):  # more digits make it another number
        return Ban(tuple(whole + delimiter for delimiter in _DELIMITERS), (whole,))
    return Ban((whole,))


def _families(text: str, part: Part) -> list[bytes]:
    """Beginnings of a value that stand for a whole family of values, the smallest family first."""
    inside = list(members(text, part))
    if inside:
        ends = [m.name.end if m.name else m.value.start + 1 for m in reversed(inside)]
        return [text[part.start : end].encode() for end in ends]
    value = text[part.start : part.end].encode()
    shortest = 1 if _is_number(value) else 2
    cuts = (len(value) - (1 << n) for n in range(len(value).bit_length()))
    return [value[:cut] for cut in cuts if cut > shortest] + [value[:shortest]]


def _is_number(value: bytes) -> bool:
    return value[:1] in b"-0123456789"


def num_kept(ends: Sequence[int], text: bytes, ban: Ban) -> int:
    """How many tokens of an answer, which end at these offsets, stand before the first that a ban refuses."""
    offsets = [len(b) for b in ban.beginnings if text.startswith(b)]
    return bisect_left(ends, min(offsets)) if offsets else len(ends)
