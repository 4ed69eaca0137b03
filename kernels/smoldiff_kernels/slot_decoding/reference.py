"""Slot decoding in plain PyTorch, one slot after the other."""

from __future__ import annotations

import torch
from torch import Tensor

from smoldiff_kernels.marks import NULL
from smoldiff_kernels.slot_decoding.automata import QUAD, Automata

# Shapes: N slots, R rows, C classes, P positions of one slot. Of one automaton: S states, E edges, D edges of one state.

_IMPOSSIBLE = float("-inf")


def slot_decoding_reference(
    score_RC: Tensor,
    token_RC: Tensor,
    null_R: Tensor,
    first_row_N: Tensor,
    automaton_N: Tensor,
    automata: Automata,
    max_positions: int,
) -> tuple[Tensor, Tensor]:
    num_slots = len(automaton_N)
    tokens_NP = torch.full(
        (num_slots, max_positions), NULL, dtype=torch.long, device=score_RC.device
    )
    best_N = torch.full((num_slots,), _IMPOSSIBLE, device=score_RC.device)
    first_rows = first_row_N.tolist()
    for n, a in enumerate(automaton_N.tolist()):
        rows = slice(first_rows[n], min(first_rows[n + 1], first_rows[n] + max_positions))
        score_PC, token_PC = score_RC[rows].float(), token_RC[rows]
        # NULL from a position on
        rest_P = null_R[rows].float().double().flip(0).cumsum(0).flip(0).float()
        one = _One(automata, a)
        value_PS = one.values(score_PC, rest_P)
        best_N[n] = value_PS[0, one.start]
        tokens = one.walk(score_PC, token_PC, rest_P, value_PS)
        tokens_NP[n, : len(tokens)] = torch.tensor(tokens, device=score_RC.device)
    return tokens_NP, best_N


class _One:
    """One of the automata, its states counted from 0."""

    def __init__(self, automata: Automata, a: int) -> None:
        own = slice(*automata.first_state_A[a : a + 2].tolist())
        self.start = int(automata.start_A[a])
        self.accepts_S = automata.accepts_S[own]
        num_edges_S = automata.num_edges_S[own].long()
        # the edges one behind the other, without the gaps
        self.first_edge_S = torch.cat([num_edges_S.new_zeros(1), num_edges_S.cumsum(0)])
        states_S = torch.arange(len(num_edges_S), device=num_edges_S.device)
        self.source_E = states_S.repeat_interleave(num_edges_S)
        gap_S = automata.first_quad_S[own] * QUAD - self.first_edge_S[:-1]
        edge_E = torch.arange(len(self.source_E), device=gap_S.device) + gap_S[self.source_E]
        self.class_E, self.target_E = automata.class_E[edge_E], automata.target_E[edge_E]

    def values(self, score_PC: Tensor, rest_P: Tensor) -> Tensor:
        """The best score from each position and state to the end, [P + 1, S]; -inf where there is none."""
        P = len(rest_P)
        value_PS = rest_P.new_full((P + 1, len(self.accepts_S)), _IMPOSSIBLE)
        value_PS[P, self.accepts_S] = 0.0
        for p in reversed(range(P)):
            value_PS[p, self.accepts_S] = rest_P[p]
            way_E = score_PC[p, self.class_E] + value_PS[p + 1, self.target_E]
            value_PS[p].scatter_reduce_(0, self.source_E, way_E, "amax")
        return value_PS

    def walk(
        self, score_PC: Tensor, token_PC: Tensor, rest_P: Tensor, value_PS: Tensor
    ) -> list[int]:
        """The tokens along the best way from the start, none where no text fits."""
        tokens: list[int] = []
        state = self.start
        if value_PS[0, state] == _IMPOSSIBLE:
            return tokens
        for p in range(len(rest_P)):
            if self.accepts_S[state] and rest_P[p] >= value_PS[p, state]:
                break
            out = slice(int(self.first_edge_S[state]), int(self.first_edge_S[state + 1]))
            class_D, target_D = self.class_E[out], self.target_E[out]
            way_D = score_PC[p, class_D] + value_PS[p + 1, target_D]
            best = (way_D == way_D.max()).nonzero()[:, 0]
            lowest = best[token_PC[p, class_D[best]].argmin()]
            tokens.append(int(token_PC[p, class_D[lowest]]))
            state = int(target_D[lowest])
        return tokens
