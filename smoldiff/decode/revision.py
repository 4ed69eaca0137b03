"""What to forbid once an answer turns out invalid."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from smoldiff.decode.forbidding import Ban
from smoldiff.decode.grammar import AnswerForm
from smoldiff.decode.guilt import find_guilty
from smoldiff.errors import InvalidCall

EXACT_SHARE = 4
"""One in so many of the revisions allowed may go to ruling out the values of one place one by one."""
_DELIMITERS = (b",", b"}", b"]", b" ", b"\n", b"\r", b"\t")


@dataclass(slots=True)
class Revision:
    """Chooses what each invalid answer forbids: its guilty part, up to where that part is known to be whole.

    Nothing valid starts with such a text, so the answer stays the base's own choice. Where a quarter of the revisions
    did not get past one value, whole families of it are given up: beginnings of it, shorter by 1, 2, 4, ... bytes,
    down to the shortest, and then so again with the next family. What can only be right in another corner of the
    language (a string that must not start with "a") is found within a few tries.
    """

    form: AnswerForm
    max_remasks: int
    num_remasks: int = 0
    _num_tries: Counter[bytes] = field(default_factory=Counter)
    _num_given_up: dict[bytes, int] = field(default_factory=dict)
    """Where families are given up: how many bytes of the next one."""

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
        before = text[: start + part.start].encode()
        value = text[start + part.start : start + part.end].encode()
        self._num_tries[before] += 1
        is_exact = self._num_tries[before] <= max(1, self.max_remasks // EXACT_SHARE)
        return _ban_value(before, value) if is_exact else self._ban_family(before, value)

    def _ban_family(self, before: bytes, value: bytes) -> Ban:
        num_given_up = self._num_given_up.get(before, 1)
        shortest = _shortest_beginning(value)
        end = len(value) - num_given_up
        self._num_given_up[before] = 2 * num_given_up if end > shortest else 1
        return Ban((before + value[: max(end, shortest)],))

    def last_word(self, problem: InvalidCall, *, is_kept: bool = False) -> InvalidCall:
        """The error for an answer that cannot be revised any further, perhaps because what is written must be kept."""
        if self.num_remasks == 0:
            return problem
        why = f"{self.num_remasks} answers were ruled out"
        if is_kept:
            why = "what is wrong was streamed already"
        elif self.num_remasks == self.max_remasks:
            why += f", and max_remasks={self.max_remasks} was reached; raise max_remasks"
        elif self._num_given_up:
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


def _shortest_beginning(value: bytes) -> int:
    """How much of a value still says something of it: a digit, a first character or item, a first key."""
    if value.startswith(b'{"'):
        return value.index(b'"', 2) + 1
    return 1 if _is_number(value) else 2


def _is_number(value: bytes) -> bool:
    return value[:1] in b"-0123456789"


def num_kept(ends: Sequence[int], text: bytes, ban: Ban) -> int:
    """How many tokens of an answer, which end at these offsets, stand before the first that a ban refuses."""
    offsets = [len(b) for b in ban.beginnings if text.startswith(b)]
    return bisect_left(ends, min(offsets)) if offsets else len(ends)
