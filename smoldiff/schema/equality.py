"""When two JSON values are the same: 1 and 1.0 are, 1 and true are not, and the order of keys says nothing."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any


def key(value: Any) -> Hashable:
    """A key that two values share exactly when they are equal. Raises RecursionError for one nested too deeply."""
    kind = type(value)
    if kind is dict:
        return ("dict", frozenset([(name, key(part)) for name, part in value.items()]))
    if kind is list:
        return ("list", tuple([key(part) for part in value]))
    return ("bool", value) if kind is bool else value


def is_among(value: Any, options: Sequence[Any]) -> bool:
    """Whether a value equals one of the options."""
    if value not in options:
        return False
    if isinstance(value, str | None):
        return True
    wanted = key(value)
    return any(key(option) == wanted for option in options)


def is_unique(values: Sequence[Any]) -> bool:
    """Whether no two of the values are equal."""
    return len({key(value) for value in values}) == len(values)
