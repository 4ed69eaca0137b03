"""Values looked up in the prompt: 57% of argument tokens are verbatim copies.

Prompt lookup (Saxena, 2023) bound to a slot: what the slot holds already is found in the prompt, its latest occurrence
first, and the words behind it are taken up to where a value usually ends.
"""

import re

_END = re.compile(
    r"""["\\\n<>{}\[\]|]|[.,;:!?)](?=\s|$|["\\\n<])|\s(?=(?:and|for|on|at|in|to|from|with|please|by|of the|is|are|that|which|as|or)\b)"""
)
MAX_CHARS = 60


class CopySource:
    """The texts that a value may be copied from, the latest last."""

    def __init__(self, text: str) -> None:
        self._text = text

    def extend(self, content: str) -> str | None:
        """`content` continued as somewhere in the prompt; None where it does not occur or nothing follows."""
        if not content:
            return None
        found = self._find(content)
        if found < 0:
            return None
        behind = self._text[found + len(content) : found + len(content) + MAX_CHARS]
        end = _END.search(behind)
        more = behind[: end.start()] if end else _whole_words(behind)
        return content + more.rstrip() if more.strip() else None

    def _find(self, content: str) -> int:
        """Latest occurrence that starts a word, or -1."""
        stop = len(self._text)
        while (found := self._text.rfind(content, 0, stop)) >= 0:
            if found == 0 or not (self._text[found - 1].isalnum() and content[0].isalnum()):
                return found
            stop = found + len(content) - 1
        return -1


def _whole_words(text: str) -> str:
    return text.rsplit(" ", 1)[0] if " " in text and len(text) == MAX_CHARS else text
