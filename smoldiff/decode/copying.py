"""Values looked up in the prompt and in the answer so far: 57% of argument tokens are verbatim copies.

Prompt lookup (Saxena, 2023) bound to a slot: what the slot holds already is found in the text, its latest occurrence
first, and the words behind it are taken up to where a value usually ends.
"""

import re
from collections.abc import Callable, Iterator
from itertools import islice

_END = re.compile(
    r"""["\\\n<>{}\[\]|]|[.,;:!?)](?=\s|$|["\\\n<])|\s(?=(?:and|for|on|at|in|to|from|with|please|by|of the|is|are|that|which|as|or)\b)"""
)
MAX_CHARS = 60
MAX_OCCURRENCES = 16


class CopySource:
    """The text that a value may be copied from: the prompt, and behind it the answer as far as it is written."""

    def __init__(self, prompt_text: str) -> None:
        self._prompt_text = prompt_text
        self._text = prompt_text

    def take_answer(self, written: str) -> None:
        """Look in `written` too, before the prompt. What stands last in it is being written and not looked at."""
        done, _, _ = written.rpartition('"')
        self._text = self._prompt_text + done

    def extend(self, content: str, is_right: Callable[[str], bool]) -> str | None:
        """`content` continued as somewhere in the prompt, where that `is_right`; None where it never is."""
        if not content:
            return None
        for found in islice(self._occurrences(content), MAX_OCCURRENCES):
            behind = self._text[found + len(content) : found + len(content) + MAX_CHARS]
            end = _END.search(behind)
            more = (behind[: end.start()] if end else _whole_words(behind)).rstrip()
            if more and is_right(content + more):
                return content + more
        return None

    def _occurrences(self, content: str) -> Iterator[int]:
        """Where `content` starts a word, the latest first."""
        stop = len(self._text)
        while (found := self._text.rfind(content, 0, stop)) >= 0:
            if found == 0 or not (self._text[found - 1].isalnum() and content[0].isalnum()):
                yield found
            stop = found + len(content) - 1


def _whole_words(text: str) -> str:
    return text.rsplit(" ", 1)[0] if " " in text and len(text) == MAX_CHARS else text
