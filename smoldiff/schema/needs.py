"""Keys of an object that must be there with other keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Needs = tuple[tuple[str, tuple[str, ...]], ...]
"""A key, and the keys that must be there with it."""


def with_needed(names: Iterable[str], needs: Mapping[str, tuple[str, ...]]) -> frozenset[str]:
    """The names with all that they need, directly or not."""
    todo = list(names)
    found = set(todo)
    while todo:
        new = set(needs.get(todo.pop(), ())) - found
        found |= new
        todo += new
    return frozenset(found)
