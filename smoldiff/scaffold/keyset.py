"""Which keys an object is written with: the wanted ones, those that they need, and enough of them."""

from __future__ import annotations

from smoldiff.scaffold.pieces import Keys
from smoldiff.schema.needs import with_needed


def completed(
    keys: Keys, wanted: frozenset[str], others: tuple[int, ...], num_read: int
) -> tuple[frozenset[str], tuple[int, ...]]:
    """The named keys and the kinds of unnamed ones to write, where `num_read` unnamed ones are written already.

    More named keys come before more unnamed ones, each as early as it is written.
    """
    if not keys.needs and not keys.min_keys:
        return wanted, others
    names = frozenset(entry.key for entry in keys.entries if entry.is_required)
    needs = dict(keys.needs)
    names = with_needed(names | wanted, needs)
    num_others = max(len(others), num_read)
    for entry in keys.entries:
        if len(names) + num_others >= keys.min_keys:
            break
        names = with_needed(names | {entry.key}, needs)
    missing = keys.min_keys - len(names) - num_others
    return names, others + (0,) * missing if keys.others else others
