"""Which keys an object is written with: the wanted ones, those that they need, and enough of them."""

from __future__ import annotations

from smoldiff.scaffold.pieces import Keys


def completed(
    keys: Keys, wanted: frozenset[str], others: tuple[int, ...], num_read: int
) -> tuple[frozenset[str], tuple[int, ...]]:
    """The named keys and the kinds of unnamed ones to write, where `num_read` unnamed ones are written already.

    More named keys come before more unnamed ones, each as early as it is written.
    """
    if not keys.needs and not keys.min_keys:
        return wanted, others
    names = frozenset(entry.key for entry in keys.entries if entry.is_required)
    names = with_needed(keys, names | wanted)
    num_others = max(len(others), num_read)
    for entry in keys.entries:
        if len(names) + num_others >= keys.min_keys:
            break
        names = with_needed(keys, names | {entry.key})
    missing = keys.min_keys - len(names) - num_others
    return names, others + (0,) * missing if keys.others else others


def with_needed(keys: Keys, names: frozenset[str]) -> frozenset[str]:
    """The names with all that they need, directly or not."""
    needs = dict(keys.needs)
    todo = list(names)
    found = set(names)
    while todo:
        new = set(needs.get(todo.pop(), ())) - found
        found |= new
        todo += new
    return frozenset(found)
