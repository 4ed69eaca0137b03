"""Shares Newton-Schulz out over processes: each orthogonalises some of the matrices, and sends its results to the rest.

A matrix that every process holds whole (DDP) is worked on by its owner and gathered by all. One that is cut by rows
(FSDP2) is first collected whole on its owner, and its rows go back to where they came from: each process sends and
receives about one copy of its own part, never every matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor, Shard

from smoldiff_training.optim.orthogonal import orthogonal_each


class Work(Protocol):
    """Orthogonalisation under way. `result` waits for the other processes; between the two, other work may run."""

    def result(self) -> list[Tensor]: ...


def start(updates: Sequence[Tensor]) -> Work:
    """Begin the updates of all matrices; the same list, in the same order, in every process of the default group."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return Alone([local(u) for u in updates])
    if any(isinstance(u, DTensor) for u in updates):
        return Sharded(updates)
    return Replicated(updates)


def local(tensor: Tensor) -> Tensor:
    """This process's part of a tensor, sharing its memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def owners(shapes: Sequence[torch.Size], num_ranks: int) -> list[int]:
    """The rank that orthogonalises each matrix: the costliest first, each to the rank with the least work so far."""
    load = [0] * num_ranks
    owner = [0] * len(shapes)
    for i in sorted(range(len(shapes)), key=lambda i: -prod(shapes[i]) * min(shapes[i])):
        owner[i] = load.index(min(load))
        load[owner[i]] += prod(shapes[i]) * min(shapes[i])
    return owner


class Alone:
    """One process: nothing to share."""

    def __init__(self, updates: Sequence[Tensor]) -> None:
        self.done = orthogonal_each(updates)

    def result(self) -> list[Tensor]:
        return self.done


class Replicated:
    """Every process holds every matrix: each orthogonalises its own, then one gather brings all to all."""

    def __init__(self, updates: Sequence[Tensor]) -> None:
        rank, num_ranks = dist.get_rank(), dist.get_world_size()
        self.shapes = [u.shape for u in updates]
        owner = owners(self.shapes, num_ranks)
        self.owned = [[i for i, o in enumerate(owner) if o == r] for r in range(num_ranks)]
        done = orthogonal_each([updates[i] for i in self.owned[rank]])
        length = max(sum(prod(self.shapes[i]) for i in mine) for mine in self.owned)
        self.sent = updates[0].new_zeros(length, dtype=wire_dtype(updates[0]))
        at = 0
        for u in done:
            self.sent[at : at + u.numel()] = u.reshape(-1)
            at += u.numel()
        self.received = [torch.empty_like(self.sent) for _ in range(num_ranks)]
        self.handle = dist.all_gather(self.received, self.sent, async_op=True)

    def result(self) -> list[Tensor]:
        self.handle.wait()
        whole: dict[int, Tensor] = {}
        for mine, flat in zip(self.owned, self.received, strict=True):
            sizes = [prod(self.shapes[i]) for i in mine]
            parts = flat[: sum(sizes)].split(sizes)
            whole.update((i, p.view(self.shapes[i])) for i, p in zip(mine, parts, strict=True))
        return [whole[i] for i in range(len(self.shapes))]


def wire_dtype(tensor: Tensor) -> torch.dtype:
    """What Newton-Schulz computes in, so that nothing is lost on the way."""
    return torch.bfloat16 if tensor.is_cuda else tensor.dtype


def exchange(sent: Tensor, out_sizes: list[int], in_sizes: list[int]) -> tuple[Tensor, dist.Work]:
    """Start to send `out_sizes` numbers to each rank; returns where those of each rank arrive, and what to wait for."""
    received = sent.new_empty(sum(in_sizes))
    handle = dist.all_to_all_single(received, sent, in_sizes, out_sizes, async_op=True)
    return received, handle


class Sharded:
    """Each process holds some rows of every matrix, as FSDP2 cuts them."""

    def __init__(self, updates: Sequence[Tensor]) -> None:
        for u in updates:
            if not isinstance(u, DTensor) or tuple(u.placements) != (Shard(0),):
                raise ValueError("Muon works on parameters that are whole, or cut by rows (FSDP2)")
        self.rank, self.num_ranks = dist.get_rank(), dist.get_world_size()
        self.shapes = [u.shape for u in updates]
        self.owner = owners(self.shapes, self.num_ranks)
        self.order = sorted(range(len(updates)), key=lambda i: self.owner[i])
        self.mine = [i for i in self.order if self.owner[i] == self.rank]
        rows = [local(u) for u in updates]
        self.sent = torch.cat([rows[i].reshape(-1) for i in self.order]).to(wire_dtype(rows[0]))
        self.received, self.handle = exchange(self.sent, self._to_owner(), self._from_rank())

    def result(self) -> list[Tensor]:
        self.handle.wait()
        done = orthogonal_each(self._collected())
        parts = [self._rows(u, r).reshape(-1) for r in range(self.num_ranks) for u in done]
        # With more processes than matrices some have no part.
        back = torch.cat(parts) if parts else self.received
        received, handle = exchange(back, self._from_rank(), self._to_owner())
        handle.wait()
        parts = list(received.split([self._num_held(i, self.rank) for i in self.order]))
        own = dict(zip(self.order, parts, strict=True))
        return [own[i].view(-1, shape[1]) for i, shape in enumerate(self.shapes)]

    def _collected(self) -> list[Tensor]:
        """The matrices that this process owns, put together from everybody's rows."""
        sizes = [self._num_held(i, r) for r in range(self.num_ranks) for i in self.mine]
        parts = self.received.split(sizes)
        count = len(self.mine)
        return [torch.cat(parts[k::count]).view(self.shapes[i]) for k, i in enumerate(self.mine)]

    def _num_rows(self, i: int, rank: int) -> int:
        """How many rows of matrix i a rank holds: as torch.chunk cuts, so the last ones may hold none."""
        num_rows = self.shapes[i][0]
        size = -(-num_rows // self.num_ranks)
        return max(0, min(size, num_rows - rank * size))

    def _num_held(self, i: int, rank: int) -> int:
        return self._num_rows(i, rank) * self.shapes[i][1]

    def _rows(self, whole: Tensor, rank: int) -> Tensor:
        size = -(-whole.shape[0] // self.num_ranks)
        return whole[rank * size : (rank + 1) * size]

    def _to_owner(self) -> list[int]:
        """Numbers that this process holds of each owner's matrices."""
        return [
            sum(self._num_held(i, self.rank) for i in self.order if self.owner[i] == o)
            for o in range(self.num_ranks)
        ]

    def _from_rank(self) -> list[int]:
        """Numbers that each rank holds of this process's matrices."""
        return [sum(self._num_held(i, r) for i in self.mine) for r in range(self.num_ranks)]
