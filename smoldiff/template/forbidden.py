"""Forbidding whole texts in a token automaton, whatever tokens they fall into."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from smoldiff.template.edges import Edges
from smoldiff.template.trie import Ints, Trie, spans


def tracked(
    edges: Edges,
    accepts: NDArray[np.bool_],
    token_ids: NDArray[np.int32],
    classes: NDArray[np.int32],
    trie: Trie,
    texts: frozenset[bytes],
) -> tuple[Edges, NDArray[np.bool_], Ints]:
    """Edges, acceptance and token classes of the language less `texts`. Not trimmed.

    A state is added for each prefix of a text that tokens can write: "so far equal to this text". The tokens that keep
    to a text from some prefix get classes of their own; any other leads back to the states that were there.
    """
    columns = {token_id: column for column, token_id in enumerate(token_ids.tolist())}
    links = _links(texts, trie, columns)
    own = sorted({column for ways in links.values() for _, column in ways})
    split, new_classes = _split(edges, classes, own)
    own_class = dict(zip(own, new_classes[own].tolist(), strict=True))

    first = np.searchsorted(split.source, np.arange(len(accepts) + 1))
    numbers, bases = {b"": 0}, [0]
    rewired: dict[tuple[int, int], int] = {}  # (added state, class) -> added state
    for prefix in sorted(links, key=len):
        if prefix not in numbers:
            continue  # no tokens end just there
        here = numbers[prefix]
        begin, end = first[bases[here]], first[bases[here] + 1]
        behind = dict(
            zip(split.cls[begin:end].tolist(), split.target[begin:end].tolist(), strict=True)
        )
        for longer, column in links[prefix]:
            target = behind.get(own_class[column])
            if target is not None:
                if longer not in numbers:
                    numbers[longer] = len(bases)
                    bases.append(target)
                rewired[here, own_class[column]] = numbers[longer]

    base = np.array(bases)
    owners, rows = spans(first[base], first[base + 1] - first[base])
    num_added = len(base)
    added_target = split.target[rows] + num_added
    keys = zip(owners.tolist(), split.cls[rows].tolist(), strict=True)
    for row, key in enumerate(keys):
        if key in rewired:
            added_target[row] = rewired[key]
    is_allowed = np.array([prefix not in texts for prefix in numbers])
    return (
        Edges(
            np.concatenate([owners, split.source + num_added]),
            np.concatenate([split.cls[rows], split.cls]),
            np.concatenate([added_target, split.target + num_added]),
            np.concatenate([split.chars[rows], split.chars]),
        ),
        np.concatenate([accepts[base] & is_allowed, accepts]),
        new_classes,
    )


def _links(
    texts: frozenset[bytes], trie: Trie, columns: dict[int, int]
) -> dict[bytes, set[tuple[bytes, int]]]:
    """For each prefix of a text the tokens (as columns) that continue it along a text, with the prefix they lead to."""
    links: dict[bytes, set[tuple[bytes, int]]] = defaultdict(set)
    for text in texts:
        for start in range(len(text)):
            for end in range(start + 1, min(len(text), start + trie.max_bytes) + 1):
                for token_id in trie.ids_by_bytes.get(text[start:end], ()):
                    if token_id in columns:
                        links[text[:start]].add((text[:end], columns[token_id]))
    return links


def _split(edges: Edges, classes: NDArray[np.int32], own: list[int]) -> tuple[Edges, Ints]:
    """Edges, sorted by state, and classes in which each column of `own` has a class of its own."""
    num_classes = int(classes.max(initial=-1)) + 1
    new_classes = classes.astype(np.int64)
    new_classes[own] = num_classes + np.arange(len(own))
    by_class = edges.pick(np.argsort(edges.cls, kind="stable"))
    first = np.searchsorted(by_class.cls, np.arange(num_classes + 1))
    old = classes[own].astype(np.int64)
    owners, rows = spans(first[old], first[old + 1] - first[old])
    copies = by_class.pick(rows)
    both = Edges(
        np.concatenate([edges.source, copies.source]),
        np.concatenate([edges.cls, num_classes + owners]),
        np.concatenate([edges.target, copies.target]),
        np.concatenate([edges.chars, copies.chars]),
    )
    has_tokens = np.bincount(new_classes, minlength=num_classes) > 0
    both = both.pick(has_tokens[both.cls])
    return both.pick(np.argsort(both.source, kind="stable")), new_classes
