"""What a slot's text may look like on its way: a quick judgement for drafts, never for acceptance."""

import re
from functools import lru_cache

from smoldiff.scaffold.pieces import Language, holds_content
from smoldiff.schema.matching import PatternError, matches
from smoldiff.schema.nodes import Boolean, Enum, Integer, Number, String

_FORMATS = {
    "date": re.compile(r"\d{4}-\d\d-\d\d"),
    "time": re.compile(r"\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"),
    "date-time": re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)"),
}
_FORMAT_CHARS = frozenset("0123456789-:.+TtZz ")
_NUMBER_END = re.compile(r"[^-+0-9.eE]")
_PARTIAL_INTEGER = re.compile(r"-?\d*")
_PARTIAL_NUMBER = re.compile(r"-?\d*(\.\d*)?([eE][-+]?\d*)?")


def options(language: Language) -> tuple[str, ...]:
    """All texts of the slot where they are few and known, else none."""
    match language:
        case Enum(texts=texts):
            return tuple(t[1:-1] for t in texts) if holds_content(language) else texts
        case Boolean():
            return ("true", "false")
        case _:
            return ()


def split_at_end(language: Language, text: str) -> tuple[str, bool]:
    """The part of `text` that belongs to the slot, and whether it ends inside `text`."""
    if holds_content(language):
        return _split_at_quote(text)
    if isinstance(language, (Integer, Number)):
        end = _NUMBER_END.search(text)
        return (text[: end.start()], True) if end else (text, False)
    for option in options(language):
        if text.startswith(option):
            return option, True
    return text, False


def _split_at_quote(text: str) -> tuple[str, bool]:
    i = 0
    while i < len(text):
        if text[i] == "\\":
            i += 2
        elif text[i] == '"':
            return text[:i], True
        else:
            i += 1
    return text, False


def admits(language: Language, text: str, is_done: bool) -> bool:
    """Could a value of the slot begin with `text` (or be it, if it is done)?"""
    if holds_content(language) or options(language):
        known = options(language)
        if known:
            return text in known if is_done else any(option.startswith(text) for option in known)
        return _fits(language, text, is_done)
    match language:
        case Integer():
            return bool(_PARTIAL_INTEGER.fullmatch(text)) and not (is_done and text in ("", "-"))
        case Number():
            return bool(_PARTIAL_NUMBER.fullmatch(text)) and not (is_done and text in ("", "-"))
        case _:
            return True


def _fits(language: Language, text: str, is_done: bool) -> bool:
    if "\n" in text or not isinstance(language, String):
        return "\n" not in text
    if is_done and not all(_matches(pattern, text) for pattern in language.patterns):
        return False
    shapes = [_FORMATS[name] for name in language.formats if name in _FORMATS]
    if not is_done:
        return not shapes or not set(text) - _FORMAT_CHARS
    return all(shape.fullmatch(text) for shape in shapes)


@lru_cache(maxsize=1024)
def _matches(pattern: str, text: str) -> bool:
    """Whether a schema's pattern is in the text; a pattern that cannot be judged rules nothing out."""
    try:
        return matches(pattern, text)
    except PatternError:
        return True


def completion(language: Language, text: str) -> str | None:
    """The only option that begins with `text`, or the first of several that share it; None where options are not few."""
    return next((option for option in options(language) if option.startswith(text)), None)


def forced(language: Language, text: str) -> str | None:
    """The slot's whole text where `text` leaves only one."""
    found = [option for option in options(language) if option.startswith(text)]
    return found[0] if len(found) == 1 else None


def placeholder(language: Language) -> str:
    """A text for a slot of which nothing is known yet, so that the base can read on behind it."""
    known = options(language)
    if known:
        return known[0]
    match language:
        case Integer() | Number():
            return "0"
        case String():
            return ""
        case _:
            return "null"
