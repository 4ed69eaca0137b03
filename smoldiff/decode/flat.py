"""Token automata as the flat tensors that the kernels of slot decoding take."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from smoldiff.template.automaton import TokenAutomaton
from smoldiff_kernels.class_scores import TokenClasses
from smoldiff_kernels.slot_decoding import QUAD, Automata

# Shapes: S states, E edges, U tokens.


def flat_automata(automata: Sequence[TokenAutomaton], device: torch.device | str) -> Automata:
    """The states and edges of some automata, in this order. An empty language has one state, where no text ends."""
    parts = [_sorted(automaton) for automaton in automata]
    start, accepts, degrees, classes, targets = zip(*parts, strict=True)
    num_states = [len(accepts_S) for accepts_S in accepts]
    num_edges_S = np.concatenate(degrees)
    num_quads_S = -(-num_edges_S // QUAD)
    first_quad_S = num_quads_S.cumsum() - num_quads_S
    # Each edge behind the others of its state, whose first one begins a quad.
    gap_S = first_quad_S * QUAD - (num_edges_S.cumsum() - num_edges_S)
    edge_E = np.arange(num_edges_S.sum()) + gap_S.repeat(num_edges_S)
    class_E, target_E = np.zeros((2, num_quads_S.sum() * QUAD), np.int32)
    class_E[edge_E], target_E[edge_E] = np.concatenate(classes), np.concatenate(targets)
    return Automata(
        first_state_A=_offsets(num_states, device),
        start_A=_int32(start, device),
        accepts_S=torch.from_numpy(np.concatenate(accepts)).to(device),
        num_edges_S=_int32(num_edges_S, device),
        first_quad_S=_int32(first_quad_S, device),
        class_E=_int32(class_E, device),
        target_E=_int32(target_E, device),
        max_states=max(num_states),
        max_classes=max(automaton.num_classes for automaton in automata),
    )


def flat_classes(automata: Sequence[TokenAutomaton], device: torch.device | str) -> TokenClasses:
    """The classes of the tokens of some automata, in this order."""
    orders = [np.argsort(automaton.classes, kind="stable") for automaton in automata]
    ids = [one.token_ids[order_U] for one, order_U in zip(automata, orders, strict=True)]
    classes = [one.classes[order_U] for one, order_U in zip(automata, orders, strict=True)]
    num_tokens = [len(order_U) for order_U in orders]
    return TokenClasses(
        first_token_A=_offsets(num_tokens, device),
        token_U=_int32(np.concatenate(ids), device),
        column_U=_int32(np.concatenate(orders), device),
        class_U=_int32(np.concatenate(classes), device),
        max_tokens=max(num_tokens),
        max_classes=max(automaton.num_classes for automaton in automata),
    )


class _Sorted(NamedTuple):
    """An automaton with the states of the most edges first."""

    start: int
    accepts_S: NDArray[np.bool_]
    degree_S: NDArray[np.int64]
    class_E: NDArray[np.int32]
    target_E: NDArray[np.int32]


def _sorted(automaton: TokenAutomaton) -> _Sorted:
    num_states = max(1, automaton.num_states)
    accepts_S = automaton.accepts if automaton.num_states else np.zeros(1, np.bool_)
    degree_S = np.bincount(automaton.source, minlength=num_states)
    order_S = np.argsort(-degree_S, kind="stable")
    number_S = np.empty(num_states, np.int32)
    number_S[order_S] = np.arange(num_states, dtype=np.int32)
    order_E = np.argsort(number_S[automaton.source], kind="stable")
    target_E = number_S[automaton.target[order_E]]
    return _Sorted(
        int(number_S[0]), accepts_S[order_S], degree_S[order_S], automaton.cls[order_E], target_E
    )


def _offsets(lengths: Sequence[int], device: torch.device | str) -> torch.Tensor:
    return _int32(list(accumulate(lengths, initial=0)), device)


def _int32(values: Any, device: torch.device | str) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, np.int32)).to(device)
