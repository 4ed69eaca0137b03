"""The best text of a slot's language under scores for each position: exact, by dynamic programming.

Viterbi's algorithm (1967) over (position, state) of the slot's token automaton, as DINGO (Suresh et al., 2025) uses it for
diffusion models. Here NULL fills the positions behind the text, so one pass finds the best text of any length.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from smoldiff.template.automaton import TokenAutomaton

# Shapes: B slots, P positions of each, U tokens of the automaton, C classes, S states, E edges, D most edges of a state.

NULL = -1
"""Stands in `Fill.tokens_BP` at the positions behind the text."""
UNDECIDED = -2
"""Stands in `fixed_BP` where a token is still to be found."""
_IMPOSSIBLE = float("-inf")


@dataclass(frozen=True, slots=True)
class Fill:
    """The best filling of each slot."""

    tokens_BP: Tensor
    """int64: token ids, then NULL to the end."""
    score_B: Tensor
    """float32: the sum of the scores of its tokens and NULLs; -inf where no text fits (all NULL then)."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One of the best texts of a slot."""

    token_ids: tuple[int, ...]
    text: bytes
    score: float


def best_fill(
    scores_BPU: Tensor,
    null_BP: Tensor,
    automaton: TokenAutomaton,
    fixed_BP: Tensor | None = None,
) -> Fill:
    """The accepted token string of up to P tokens with the highest score, for each of B slots of one language.

    `scores_BPU` are additive (log-probabilities), one column for each of `automaton.token_ids`; `null_BP` is the score of
    leaving a position unused. -inf forbids; NaN is not allowed. `fixed_BP` int64 holds what is decided: a token id, NULL,
    or UNDECIDED. Sums are float32; of the tokens that do the same from every state, only the best are summed. Of equally
    good fillings the shorter is taken, then the lowest token id, position by position. Where nothing fits, the score is -inf.
    """
    scores_BPU, null_BP = scores_BPU.float(), null_BP.float()
    tables = _Tables.of(automaton, scores_BPU.device)
    if fixed_BP is not None:
        scores_BPU, null_BP = _decided(scores_BPU, null_BP, tables.token_ids_U, fixed_BP)
    B, P, _ = scores_BPU.shape
    if automaton.is_empty:
        return Fill(
            null_BP.new_full((B, P), NULL, dtype=torch.long), null_BP.new_full((B,), _IMPOSSIBLE)
        )
    rest_BP = null_BP.flip(1).cumsum(1).flip(1)  # NULL from a position on
    best_BPC = _class_maxima(scores_BPU, tables)
    value_PBS = _values(best_BPC, rest_BP, tables)
    return Fill(_walk(scores_BPU, best_BPC, rest_BP, value_PBS, tables), value_PBS[0, :, 0])


def k_best(
    scores_PU: Tensor,
    null_P: Tensor,
    automaton: TokenAutomaton,
    k: int,
    fixed_P: Tensor | None = None,
) -> list[Candidate]:
    """The k best fillings of different texts, best first; fewer where the language has fewer that fit.

    Arguments as in `best_fill`, for one slot. Each text comes in its best tokens.
    """
    found: list[Candidate] = []
    fixed_BP = None if fixed_P is None else fixed_P[None]
    while len(found) < k:
        rest = automaton.without(one.text for one in found)
        fill = best_fill(scores_PU[None], null_P[None], rest, fixed_BP)
        score = float(fill.score_B[0])
        if score == _IMPOSSIBLE:
            break
        token_ids = tuple(i for i in fill.tokens_BP[0].tolist() if i != NULL)
        found.append(Candidate(token_ids, automaton.vocabulary.bytes_of(token_ids), score))
    return found


@dataclass(frozen=True, eq=False)
class _Tables:
    """An automaton as tensors, with one more state, the last: dead, without a text or an edge."""

    token_ids_U: Tensor
    classes_U: Tensor
    num_classes: int
    accepts_S: Tensor
    source_E: Tensor
    class_E: Tensor
    target_E: Tensor
    first_S: Tensor
    """[S + 1]: the edges out of state s are first_S[s]:first_S[s + 1]."""
    max_degree: int

    @classmethod
    def of(cls, automaton: TokenAutomaton, device: torch.device) -> _Tables:
        known = _TABLES.setdefault(automaton, {})
        if device not in known:
            known[device] = cls._build(automaton, device)
        return known[device]

    @classmethod
    def _build(cls, automaton: TokenAutomaton, device: torch.device) -> _Tables:
        columns = (
            automaton.token_ids,
            automaton.classes,
            automaton.source,
            automaton.cls,
            automaton.target,
        )
        ids, classes, source, edge_class, target = (
            torch.from_numpy(column).to(device, torch.long) for column in columns
        )
        degrees_S = torch.bincount(source, minlength=automaton.num_states + 1)
        first_S = torch.cat([degrees_S.new_zeros(1), degrees_S.cumsum(0)])
        max_degree = int(degrees_S.max())
        accepts_S = torch.from_numpy(np.append(automaton.accepts, False)).to(device)
        return cls(
            ids,
            classes,
            automaton.num_classes,
            accepts_S,
            source,
            edge_class,
            target,
            first_S,
            max_degree,
        )


_TABLES: weakref.WeakKeyDictionary[TokenAutomaton, dict[torch.device, _Tables]] = (
    weakref.WeakKeyDictionary()
)


def _decided(
    scores_BPU: Tensor, null_BP: Tensor, token_ids_U: Tensor, fixed_BP: Tensor
) -> tuple[Tensor, Tensor]:
    """Scores in which every decided position has one way only."""
    fixed_BP = fixed_BP.to(scores_BPU.device)
    is_decided_BP = fixed_BP != UNDECIDED
    is_other_BPU = is_decided_BP[..., None] & (token_ids_U != fixed_BP[..., None])
    is_token_BP = is_decided_BP & (fixed_BP != NULL)
    return scores_BPU.masked_fill(is_other_BPU, _IMPOSSIBLE), null_BP.masked_fill(
        is_token_BP, _IMPOSSIBLE
    )


def _class_maxima(scores_BPU: Tensor, tables: _Tables) -> Tensor:
    """The score of each class's best token, [B, P, C]."""
    B, P, _ = scores_BPU.shape
    best_BPC = scores_BPU.new_full((B, P, tables.num_classes), _IMPOSSIBLE)
    index_BPU = tables.classes_U.expand(scores_BPU.shape)
    return best_BPC.scatter_reduce_(2, index_BPU, scores_BPU, "amax")


def _values(best_BPC: Tensor, rest_BP: Tensor, tables: _Tables) -> Tensor:
    """The best score from each position and state to the end, [P + 1, B, S]; -inf where there is none."""
    B, P, _ = best_BPC.shape
    num_states = len(tables.accepts_S)
    value_PBS = rest_BP.new_full((P + 1, B, num_states), _IMPOSSIBLE)
    value_PBS[P, :, tables.accepts_S] = 0.0
    index_BE = tables.source_E.expand(B, -1)
    for p in reversed(range(P)):
        value_PBS[p] = torch.where(tables.accepts_S, rest_BP[:, p, None], _IMPOSSIBLE)
        way_BE = best_BPC[:, p, tables.class_E] + value_PBS[p + 1][:, tables.target_E]
        value_PBS[p].scatter_reduce_(1, index_BE, way_BE, "amax")
    return value_PBS


def _walk(
    scores_BPU: Tensor, best_BPC: Tensor, rest_BP: Tensor, value_PBS: Tensor, tables: _Tables
) -> Tensor:
    """The tokens along the best way from the start, [B, P]."""
    B, P, _ = scores_BPU.shape
    tokens_BP = rest_BP.new_full((B, P), NULL, dtype=torch.long)
    state_B = tokens_BP.new_zeros(B)
    is_open_B = value_PBS[0, :, 0] > _IMPOSSIBLE
    for p in range(P):
        value_B = value_PBS[p].gather(1, state_B[:, None])[:, 0]
        ends_B = tables.accepts_S[state_B] & (rest_BP[:, p] >= value_B)
        is_open_B = is_open_B & ~ends_B
        if not is_open_B.any():
            break
        target_BC, best_BC = _targets(state_B, tables), best_BPC[:, p]
        way_BC = best_BC + value_PBS[p + 1].gather(1, target_BC)
        # how far each token is behind the best of a class that a best way takes
        best_BC = best_BC.masked_fill(way_BC != value_B[:, None], -_IMPOSSIBLE)
        behind_BU = best_BC.index_select(1, tables.classes_U).sub_(scores_BPU[:, p])
        column_B = behind_BU.min(1).indices  # the first of equals
        tokens_BP[:, p] = torch.where(is_open_B, tables.token_ids_U[column_B], NULL)
        next_B = target_BC.gather(1, tables.classes_U[column_B][:, None])[:, 0]
        state_B = torch.where(is_open_B, next_B, state_B)
    return tokens_BP


def _targets(state_B: Tensor, tables: _Tables) -> Tensor:
    """The state behind each class, dead where it is not allowed, [B, C]: some rows of the automaton as a table."""
    first_B = tables.first_S[state_B]
    edge_BD = first_B[:, None] + torch.arange(tables.max_degree, device=state_B.device)
    is_own_BD = edge_BD < tables.first_S[state_B + 1][:, None]
    edge_BD = edge_BD.clamp(max=len(tables.source_E) - 1)
    # one more column takes what lies behind the edges of a state
    class_BD = torch.where(is_own_BD, tables.class_E[edge_BD], tables.num_classes)
    dead = len(tables.accepts_S) - 1
    target_BC = state_B.new_full((len(state_B), tables.num_classes + 1), dead)
    return target_BC.scatter_(1, class_BD, tables.target_E[edge_BD])[:, :-1]
