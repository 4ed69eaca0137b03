"""Sets of tokens, each split in classes, as one list of LM head rows that all of them share.

Tokens that all sets treat alike stand together and fill whole segments, so the best of a segment is all that a class
needs to know of its tokens, whatever the set. Every row of the LM head stands there once: the sets cost one read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

# Shapes: A sets, V token ids, S places of the list, T segments, C classes of the set that has the most, E entries.

SEGMENT = 16
"""What one warp of a tensor core's tile holds. Where every class has one token, a segment is that token."""
_NO_TOKEN = -1


@dataclass(frozen=True, eq=False)
class TokenSets:
    """Made by `token_sets`. Every tensor is contiguous int32, on one device."""

    token_S: Tensor
    """[S]: a token id at each place, -1 where a segment is not full. Within a segment the ids rise."""
    first_AC: Tensor
    """[A, C + 1]: class c of set a consists of the segments entry_E[first_AC[a, c]:first_AC[a, c + 1]]."""
    entry_E: Tensor
    """[E]: numbers of segments."""
    segment: int
    """Places of a segment, a power of two; segment t is token_S[t * segment:(t + 1) * segment]."""
    num_ids: int
    """All token ids are less than this."""
    is_single: bool = False
    """Whether no class has more than one segment."""

    def __post_init__(self) -> None:
        for name, tensor, num_axes in (
            ("token_S", self.token_S, 1),
            ("first_AC", self.first_AC, 2),
            ("entry_E", self.entry_E, 1),
        ):
            if (
                tensor.dtype != torch.int32
                or tensor.dim() != num_axes
                or not tensor.is_contiguous()
            ):
                found = f"{tensor.dtype} {tuple(tensor.shape)}"
                raise TypeError(f"{name} must be contiguous int32 of {num_axes} axes, not {found}")
            if tensor.device != self.token_S.device:
                raise ValueError(f"{name} is on another device than token_S; move one")
        _check_segment(self.segment)

    @property
    def num_classes(self) -> int:
        return self.first_AC.shape[1] - 1

    @property
    def num_segments(self) -> int:
        return len(self.token_S) // self.segment

    def to(self, device: torch.device | str) -> TokenSets:
        """The same on a device."""
        moved = {
            name: getattr(self, name).to(device) for name in ("token_S", "first_AC", "entry_E")
        }
        return replace(self, **moved)

    def classes_AS(self) -> Tensor:
        """[A, S] int64: the class of each place in each set, -1 where it is in none. Waits for the device."""
        class_AT = self.first_AC.new_full((len(self.first_AC), self.num_segments), -1).long()
        for class_T, first_C in zip(class_AT, self.first_AC.long(), strict=True):
            entries = self.entry_E[first_C[0] : first_C[-1]].long()
            numbers = torch.arange(self.num_classes, device=first_C.device)
            class_T[entries] = numbers.repeat_interleave(first_C.diff())
        class_AS = class_AT.repeat_interleave(self.segment, 1)
        return class_AS.masked_fill(self.token_S == _NO_TOKEN, -1)


def token_sets(
    token_ids: Sequence[Tensor],
    classes: Sequence[Tensor] | None = None,
    *,
    vocab_size: int | None = None,
    segment: int | None = None,
    device: torch.device | str = "cpu",
) -> TokenSets:
    """The sets, to be kept as long as a template is: this takes milliseconds.

    token_ids: the ids of each set, [U] integers, each at most once; perhaps none. classes: the class of each of them, [U]
    from 0; left out, a set is one class. A class with one token each returns the logits of these tokens.
    vocab_size: V, to have all V tokens read, for `all_lse_N`; left out, only those of some set are.
    segment: for measuring. Every class of the common refinement of all sets is padded with up to `segment` - 1 places, which
    are computed but not read; partial results take 12 bytes a row and segment, written and read. Where the sets have so
    little in common that `len(token_S)` comes to several V, make sets and calls apart.

    Raises ValueError where ids or classes are out of range, an id stands twice, or there is no set.
    """
    num_ids = _checked_num_ids(token_ids, vocab_size)
    class_AV = _class_table(token_ids, classes, num_ids)
    if segment is None:
        segment = 1 if vocab_size is None and _most_tokens(class_AV) <= 1 else SEGMENT
    _check_segment(segment)
    kind_V = _kinds(class_AV)
    is_read_V = (
        (class_AV >= 0).any(0) if vocab_size is None else torch.ones(num_ids, dtype=torch.bool)
    )
    token_S = _padded(kind_V, is_read_V, segment)
    class_AT = class_AV[:, token_S[::segment].long()]  # a segment's first token speaks for all
    num_classes = max(1, int(class_AV.max()) + 1) if num_ids else 1
    counts_AC = torch.stack(
        [torch.bincount(row[row >= 0], minlength=num_classes) for row in class_AT]
    )
    ends_X = counts_AC.flatten().cumsum(0)
    first_A1 = (ends_X - counts_AC.flatten()).view_as(counts_AC)[:, :1]
    first_AC = torch.cat([first_A1, ends_X.view_as(counts_AC)], 1)
    entries = [row.argsort(stable=True)[int((row < 0).sum()) :] for row in class_AT]
    is_single = bool((counts_AC <= 1).all())
    found = TokenSets(
        token_S, first_AC.int(), torch.cat(entries).int(), segment, num_ids, is_single
    )
    return found.to(device)


def _most_tokens(class_AV: Tensor) -> int:
    """Of one class of one set."""
    return max(
        (int(row[row >= 0].bincount().max()) for row in class_AV if (row >= 0).any()), default=0
    )


def _check_segment(segment: int) -> None:
    if segment < 1 or segment > 64 or segment & (segment - 1):
        raise ValueError(f"segment={segment}: must be a power of two up to 64")


def _checked_num_ids(token_ids: Sequence[Tensor], vocab_size: int | None) -> int:
    if not token_ids:
        raise ValueError("token_ids: no set; a row needs one, which may be empty")
    lowest = min((int(ids.min()) for ids in token_ids if len(ids)), default=0)
    num_ids = max((int(ids.max()) + 1 for ids in token_ids if len(ids)), default=0)
    if lowest < 0 or (vocab_size is not None and num_ids > vocab_size):
        raise ValueError(
            f"token_ids run from {lowest} to {num_ids - 1}; vocab_size is {vocab_size}"
        )
    return num_ids if vocab_size is None else vocab_size


def _class_table(
    token_ids: Sequence[Tensor], classes: Sequence[Tensor] | None, num_ids: int
) -> Tensor:
    """[A, V] int64: the class of each token in each set, -1 where it is not in it."""
    class_AV = torch.full((len(token_ids), num_ids), -1)
    if classes is not None and len(classes) != len(token_ids):
        raise ValueError(f"{len(token_ids)} sets of token_ids, {len(classes)} of classes")
    for a, ids in enumerate(token_ids):
        ids_U = ids.long().cpu()
        class_U = torch.zeros_like(ids_U) if classes is None else classes[a].long().cpu()
        if class_U.shape != ids_U.shape or bool((class_U < 0).any()):
            raise ValueError(f"set {a}: each of its {len(ids_U)} tokens needs a class from 0 on")
        class_AV[a, ids_U] = class_U
        if int((class_AV[a] >= 0).sum()) != len(ids_U):
            raise ValueError(f"set {a}: a token stands twice")
    return class_AV


def _kinds(class_AV: Tensor) -> Tensor:
    """[V]: numbers that two tokens share if they have the same class in every set."""
    kind_V = torch.zeros(class_AV.shape[1], dtype=torch.long)
    for class_V in class_AV if class_AV.shape[1] else ():
        code_V = kind_V * (int(class_V.max()) + 2) + class_V + 1
        kind_V = code_V.unique(return_inverse=True)[1]
    return kind_V


def _padded(kind_V: Tensor, is_read_V: Tensor, segment: int) -> Tensor:
    """[S] int32: the tokens that are read, kind by kind, each kind in segments of its own."""
    tokens_U = is_read_V.nonzero()[:, 0]
    order_U = kind_V[tokens_U].argsort(stable=True)
    _, counts_K = kind_V[tokens_U].unique(return_counts=True)
    padded_K = (counts_K + segment - 1) // segment * segment
    shift_K = (padded_K.cumsum(0) - padded_K) - (counts_K.cumsum(0) - counts_K)
    place_U = torch.arange(len(tokens_U)) + shift_K.repeat_interleave(counts_K)
    token_S = torch.full((int(padded_K.sum()),), _NO_TOKEN, dtype=torch.int32)
    token_S[place_U] = tokens_U[order_U].int()
    return token_S
