"""Forbidding whole texts in a token automaton, whatever tokens they fall into."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from smoldiff.automata.dfa import DEAD
from smoldiff.template.edges import Edges
from smoldiff.template.trie import Ints, Trie, spans

Links = dict[bytes, list[tuple[bytes, int]]]
"""For each prefix of a text the tokens (as columns) that continue it along a text, with the prefix they lead to."""


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
    links = _links(texts, trie, token_ids)
    own = sorted({column for ways in links.values() for _, column in ways})
    edges, new_classes = _split(edges, classes, own)
    num_classes = int(new_classes.max(initial=-1)) + 1
    added, bases, rewired = _added_states(links, edges, new_classes, num_classes)

    num_added = len(bases)
    first = np.searchsorted(edges.source, np.arange(len(accepts) + 1))
    owners, rows = spans(first[bases], first[bases + 1] - first[bases])
    copies = edges.pick(rows)
    keys = owners * num_classes + copies.cls
    places = np.searchsorted(rewired[:, 0], keys)
    is_rewired = np.append(rewired[:, 0], -1)[places] == keys
    targets = np.where(is_rewired, np.append(rewired[:, 1], 0)[places], copies.target + num_added)
    is_allowed = np.array([prefix not in texts for prefix in added])
    both = Edges(
        np.concatenate([owners, edges.source + num_added]),
        np.concatenate([copies.cls, edges.cls]),
        np.concatenate([targets, edges.target + num_added]),
        np.concatenate([copies.chars, edges.chars]),
    )
    return both, np.concatenate([accepts[bases] & is_allowed, accepts]), new_classes


def _links(texts: frozenset[bytes], trie: Trie, token_ids: NDArray[np.int32]) -> Links:
    found = {
        (text[:start], text[:end], token_id)
        for text in texts
        for start in range(len(text))
        for end in range(start + 1, min(len(text), start + trie.max_bytes) + 1)
        for token_id in trie.ids_by_bytes.get(text[start:end], ())
    }
    ids = np.array(sorted({token_id for _, _, token_id in found}), np.int32)
    is_known = np.isin(ids, token_ids)
    known = ids[is_known]
    columns = dict(zip(known.tolist(), np.searchsorted(token_ids, known).tolist(), strict=True))
    links: Links = defaultdict(list)
    for prefix, longer, token_id in sorted(found):
        if token_id in columns:
            links[prefix].append((longer, columns[token_id]))
    return links


def _split(edges: Edges, classes: NDArray[np.int32], own: list[int]) -> tuple[Edges, Ints]:
    """Edges, sorted by state and class, and classes in which each column of `own` has a class of its own."""
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
    return both.pick(np.lexsort((both.cls, both.source))), new_classes


def _added_states(
    links: Links, edges: Edges, classes: Ints, num_classes: int
) -> tuple[list[bytes], Ints, Ints]:
    """The prefixes that get a state, the state that each stands beside, and the edges among them.

    These are rows (key of added state and class, added state), sorted by key. The empty prefix is added state 0.
    """
    keys = np.append(edges.source * num_classes + edges.cls, -1)
    targets = np.append(edges.target, -1)
    numbers, bases = {b"": 0}, [0]
    rewired: list[tuple[int, int]] = []
    for prefix in sorted(links, key=len):
        if prefix not in numbers:
            continue  # no string of tokens ends just there
        here = numbers[prefix]
        own = classes[[column for _, column in links[prefix]]]
        wanted = bases[here] * num_classes + own
        places = np.searchsorted(keys[:-1], wanted)
        behind = np.where(keys[places] == wanted, targets[places], DEAD)
        for (longer, _), cls, target in zip(
            links[prefix], own.tolist(), behind.tolist(), strict=True
        ):
            if target != DEAD:
                if longer not in numbers:
                    numbers[longer] = len(bases)
                    bases.append(target)
                rewired.append((here * num_classes + cls, numbers[longer]))
    return list(numbers), np.array(bases), np.array(sorted(rewired), np.int64).reshape(-1, 2)
