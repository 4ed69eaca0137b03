"""Slots filled from left to right, all of them side by side, in tensors of fixed shapes: no step asks the host.

The same choices as those of `denoise`, whose steps are the reference: each position takes the best token from which an
accepted text can still be reached in the positions that are left, or ends the slot.
"""

from __future__ import annotations

from smoldiff.decode.walk_tables import WalkTables
from smoldiff.head.memory import Memory
from smoldiff.head.model import DiffusionHead
from smoldiff.head.projected import Projected
from smoldiff_kernels.slot_walk import NO_TEXT, Automata, Context, Plain, Starts, Walked, slot_walk

__all__ = ["NO_TEXT", "Starts", "Walked", "context_of", "walk"]


def context_of(memory: Memory) -> Context:
    """The tokens that may be copied. Sorted here, where the device has other work meanwhile."""
    ids_K = memory.ids_BN[0]
    sorted_K, order_K = ids_K.sort()
    return Context(ids_K, memory.copy_BNC[0], memory.lengths_B, (sorted_K, order_K))


def walk(
    head: DiffusionHead,
    projected: Projected,
    plain: Plain,
    context: Context,
    starts: Starts,
    tables: WalkTables,
    num_positions: int,
    num_classes: int,
) -> Walked:
    """Fill the slots. No automaton among them has more classes, NO_CLASS included."""
    return slot_walk(
        plain,
        projected.weights(head),
        context,
        Automata(tables.class_AV, tables.state_SX, tables.edge_EX),
        starts,
        num_positions=num_positions,
        num_classes=num_classes,
        has_confidence=head.config.has_confidence,
    )
