"""What the row-wise steps of a head's pass read and write."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

# Shapes: Q queries, L tokens of a name, V vocabulary, N tokens seen, D hidden size of the base, H of the head, X columns of
# the first product: D for the token, D for the name, and H for the anchor where the head has one.

EPS = 1e-6


class Asked(NamedTuple):
    """Integers of the queries of one row, as `smoldiff.head.inputs.Queries` describes them."""

    block_Q: Tensor
    kind_Q: Tensor
    anchor_Q: Tensor
    offset_Q: Tensor
    place_Q: Tensor
    index_Q: Tensor
    is_fed_Q: Tensor
    """bool."""
    token_Q: Tensor
    """NULL (`smoldiff_kernels.marks`) where no token stands, as behind a name's last one."""
    moment_Q: Tensor
    name_QL: Tensor


class Seen(NamedTuple):
    """What the queries look up of the base and of the tokens that it has seen."""

    embedding_VD: Tensor
    fused_NH: Tensor
    final_ND: Tensor
    num_seen_1: Tensor
    """int64: tokens behind it are padding."""


class Rows(NamedTuple):
    """The head's own tables, of its dtype."""

    mask_H: Tensor
    kind_KH: Tensor
    index_IH: Tensor
    fed_H: Tensor
    place_PH: Tensor | None
    """None for a head without them. A place behind the last row counts as the last."""
    gate_O: Tensor | None
    """How much the base's final state at the anchor counts at each offset; none at further ones. None without anchors."""


class Inputs(NamedTuple):
    """`x_QX @ weight.T + base_QH` is what the layers begin with."""

    x_QX: Tensor
    base_QH: Tensor
    anchored_QD: Tensor | None
    """Gate times the base's final state at the anchor."""
    position_Q: Tensor
    """int32: where the query stands in its row."""
    group_Q: Tensor
    """int32: queries of equal groups see each other."""
    num_seen_1: Tensor
    """int32: what `Seen` has as int64, for the attention."""
