"""What a walk is made of, and what it finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

# Shapes: N slots, P positions that each may have, Q positions of all, V vocabulary, R rank, C width of the pointer,
# X = C + 3 numbers, K tokens of the context, M tokens of a history, A automata, S states and E edges of all automata.

NO_TEXT = -1
"""In `Walked.token_PN`: the slot ended here, or before."""


class Plain(NamedTuple):
    """What the positions say before the tokens in front of them are known. Logits are finite."""

    logits_QV: Tensor
    state_QR: Tensor
    rest_QX: Tensor
    """The pointer's query, then the logits of copying, of the confidence and of NULL."""


class Weights(NamedTuple):
    """How the token in front moves what a position says: by `silu(before_VR[token] + state_QR[row])`, R numbers."""

    before_VR: Tensor
    """[V + 1, R]; the last row is of no token."""
    table_VR: Tensor
    """What they add to the logits."""
    weight_XR: Tensor
    """What they add to the rest."""
    bonus_M: Tensor
    """What it adds to a pointer that the tokens in front are those of the history, by how many."""


class Context(NamedTuple):
    """The tokens that may be copied."""

    ids_K: Tensor
    """int64."""
    key_KC: Tensor
    num_seen_1: Tensor
    """int64: behind as many tokens, at least one, nothing is pointed at."""
    by_id: tuple[Tensor, Tensor] | None = None
    """What `ids_K.sort()` gives: who has other work for the device meanwhile sorts before. None: sorted in the walk."""


class Automata(NamedTuple):
    """Token automata, one behind the other."""

    class_AV: Tensor
    """int16: the class of each token; 0 where no edge takes it."""
    state_SX: Tensor
    """int64: a state's first edge, how many edges it has, whether a text may end there."""
    edge_EX: Tensor
    """int64: an edge's class, where it leads, how many tokens an accepted text takes from there, at least."""


class Starts(NamedTuple):
    """Where the slots begin, int64."""

    row_N: Tensor
    """The first open position, among all."""
    automaton_N: Tensor
    state_N: Tensor
    """Among those of all automata."""
    left_N: Tensor
    """Positions that are left; 0 for a slot that only fills up a bucket."""
    history_NM: Tensor
    """The tokens in front, the last one first; -1 where there is none."""


@dataclass(frozen=True, slots=True, eq=False)
class Walked:
    """What was found, in one tensor, so that one copy brings it to the host."""

    packed_XN: Tensor
    """int32 [2 P + 1, N]: tokens, the bits of their chances, whether the slots ended."""

    @property
    def num_positions(self) -> int:
        return len(self.packed_XN) // 2

    @property
    def token_PN(self) -> Tensor:
        """int32; NO_TEXT behind a text's end."""
        return self.packed_XN[: self.num_positions]

    @property
    def chance_PN(self) -> Tensor:
        """float32: of the token's being right, or of the end's; the chance of nothing behind an end."""
        return self.packed_XN[self.num_positions : -1].view(torch.float32)

    @property
    def is_ended_N(self) -> Tensor:
        """Whether the text ends inside its positions."""
        return self.packed_XN[-1] != 0


FLOATS = (torch.float32, torch.bfloat16, torch.float16)


def check(
    plain: Plain, weights: Weights, context: Context, automata: Automata, starts: Starts
) -> None:
    """Raises TypeError and ValueError where they do not fit together."""
    (num_rows, num_vocab), (num_readers, rank) = plain.logits_QV.shape, weights.weight_XR.shape
    num_slots, num_tokens = len(starts.row_N), len(context.ids_K)
    base, head = plain.logits_QV.dtype, plain.state_QR.dtype
    for name, dtype in (("logits_QV", base), ("state_QR", head)):
        if dtype not in FLOATS:
            raise TypeError(f"{name} is {dtype}; convert it to one of 16 or 32 bits")
    if num_tokens == 0:
        raise ValueError("ids_K holds no token; a context has at least one")
    wanted = {
        "state_QR": (plain.state_QR, head, (num_rows, rank)),
        "rest_QX": (plain.rest_QX, head, (num_rows, num_readers)),
        "before_VR": (weights.before_VR, head, (num_vocab + 1, rank)),
        "table_VR": (weights.table_VR, base, (num_vocab, rank)),
        "weight_XR": (weights.weight_XR, head, (num_readers, rank)),
        "bonus_M": (weights.bonus_M, head, starts.history_NM.shape[1:]),
        "ids_K": (context.ids_K, torch.int64, (num_tokens,)),
        "key_KC": (context.key_KC, head, (num_tokens, num_readers - 3)),
        "num_seen_1": (context.num_seen_1, torch.int64, (1,)),
        "class_AV": (automata.class_AV, torch.int16, (len(automata.class_AV), num_vocab)),
        "state_SX": (automata.state_SX, torch.int64, (len(automata.state_SX), 3)),
        "edge_EX": (automata.edge_EX, torch.int64, (len(automata.edge_EX), 3)),
        "row_N": (starts.row_N, torch.int64, (num_slots,)),
        "automaton_N": (starts.automaton_N, torch.int64, (num_slots,)),
        "state_N": (starts.state_N, torch.int64, (num_slots,)),
        "left_N": (starts.left_N, torch.int64, (num_slots,)),
        "history_NM": (starts.history_NM, torch.int64, (num_slots, starts.history_NM.shape[1])),
    }
    for name, (tensor, dtype, shape) in wanted.items():
        if tensor.dtype != dtype:
            raise TypeError(f"{name} is {tensor.dtype}; convert it to {dtype}")
        if tensor.shape != torch.Size(shape):
            raise ValueError(f"{name} must be {list(shape)}, not {list(tensor.shape)}")
        if tensor.device != plain.logits_QV.device:
            raise ValueError(
                f"{name} is on {tensor.device}, the logits on {plain.logits_QV.device}"
            )
