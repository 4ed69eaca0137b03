"""A draft of all open slots on the GPU, or the scores of decisions, as one CUDA graph for each bucket of shapes.

One copy brings a draft's numbers to the device, one brings tokens and chances back; between the two the host does nothing
but replay: head pass, LM head, and the walk through the slots' automata. Shapes are rounded up to those of a bucket, so that
few graphs are captured; nothing that counts sees what fills a bucket up.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from smoldiff.decode.side_by_side import NO_TEXT, Starts, context_of, walk
from smoldiff.decode.walk_tables import WalkTables
from smoldiff.head.beside import Beside
from smoldiff.head.fused import FusedHead
from smoldiff.head.inputs import MAX_NAME_TOKENS, Queries, Query, stacked
from smoldiff.head.memory import Memory
from smoldiff.head.model import DiffusionHead
from smoldiff.head.packed import PackedMemory, Packing
from smoldiff.head.projected import Projected, can_be_projected
from smoldiff.head.readings import MAX_MATCH
from smoldiff.head.tables import Tables
from smoldiff.template.automaton import TokenAutomaton

# Shapes: Q queries, N slots, P positions of a slot, K tokens seen, L tokens of a name, M tokens of a history.

MAX_GRAPHS = 32
"""Buckets that are kept; for one more the one that was not used for longest goes."""
MAX_SLOTS, MAX_POSITIONS = 64, 64
"""A draft with more is made position by position."""
NUM_WARMUPS = 2
"""Runs before the capture: Triton compiles, libraries make their handles."""


class Bucket(NamedTuple):
    """Shapes of a graph: powers of two from `LEAST` on, so that few graphs serve: capturing one takes as long as many drafts."""

    num_queries: int
    num_tokens: int
    num_slots: int
    num_positions: int
    num_classes: int

    @classmethod
    def holding(cls, *sizes: int) -> Bucket:
        """The smallest for a draft of these sizes."""
        return cls(*(_rounded(size, least) for size, least in zip(sizes, LEAST, strict=True)))


LEAST = Bucket(64, 1024, 16, 8, 512)
"""Up to here a draft takes as long as a smaller one, to a few percent: it reads the head and the tables once, and launches."""


class SlotStart(NamedTuple):
    """A slot from its first open position on, behind which nothing is decided."""

    query: int
    """The position's number among all queries."""
    automaton: TokenAutomaton
    state: int
    num_left: int
    """Positions, this one included."""
    history: Sequence[int]
    """The MAX_MATCH tokens in front, the last one first; NO_TOKEN where the slot begins."""


class SlotEnd(NamedTuple):
    """What was found for a slot."""

    token_ids: list[int]
    chances: list[float]
    """Of the tokens, then that of the end if the text ends in front of the last position."""
    is_ended: bool


def serves(head: DiffusionHead, device: torch.device) -> bool:
    """Whether drafts of this head are made here."""
    return device.type == "cuda" and can_be_projected(head.config)


class Drafts:
    """What one head drafts, and what it decides."""

    def __init__(self, head: DiffusionHead, tables: Tables, device: torch.device) -> None:
        self.fused, self.projected = FusedHead(head, tables), Projected(head, tables)
        self.walk_tables = WalkTables(len(tables.lm_head_VH), device)
        self._read: dict[int, Reading] = {}
        self._graphs: OrderedDict[tuple[str, Bucket], Graph] = OrderedDict()
        self.num_cold = 0
        """Drafts that took longer, because their bucket's graph was not captured yet."""

    @classmethod
    def num_cold_of(cls, head: DiffusionHead) -> int:
        """`num_cold` of the head's drafts; 0 where none were made here."""
        known = _DRAFTS.get(head)
        return 0 if known is None else known.num_cold

    @classmethod
    def of(cls, head: DiffusionHead, tables: Tables, device: torch.device) -> Drafts:
        """Those that were made before for this head, this base and this device."""
        known = _DRAFTS.get(head)
        if known is None or known.projected.tables is not tables or known.device != device:
            known = _DRAFTS[head] = cls(head, tables, device)
        return known

    @property
    def device(self) -> torch.device:
        return self.walk_tables.class_AV.device

    def fill(
        self,
        head: DiffusionHead,
        memory: Memory,
        queries: Sequence[Query],
        slots: Sequence[SlotStart],
    ) -> list[SlotEnd] | None:
        """The slots' texts; None where they are too many or too large for any graph."""
        most = max(slot.num_left for slot in slots)
        if len(slots) > MAX_SLOTS or most > MAX_POSITIONS:
            return None
        places = self.walk_tables.places([slot.automaton for slot in slots])
        if places is None:
            return None
        bucket = Bucket.holding(
            len(queries),
            memory.num_tokens,
            len(slots),
            most,
            max(place.num_classes for place in places),
        )
        rows = [
            (slot.query, place.number, place.first_state + slot.state, slot.num_left, *slot.history)
            for slot, place in zip(slots, places, strict=True)
        ]
        own, fused, projected = weakref.ref(head), self.fused, self.projected
        walk_tables = self.walk_tables  # a graph must not keep the head whose it is

        def draft(memory: Memory, queries: Queries, starts: Starts) -> Tensor:
            head = _alive(own)
            return drafted(head, fused, projected, walk_tables, bucket, memory, queries, starts)

        found = self._run(bucket, memory, queries, rows, "fill", draft)
        return _read(found, bucket.num_positions)[: len(slots)]

    def decide(self, memory: Memory, queries: Sequence[Query]) -> Tensor:
        """[Q] float32, on the CPU: a score for each query that is an option of a question."""
        fused = self.fused
        bucket = Bucket.holding(len(queries), memory.num_tokens, 1, 1, 1)
        return self._run(
            bucket, memory, queries, (), "decide", lambda *asked: fused.decide(*asked[:2])
        )[: len(queries)]

    def _run(
        self,
        bucket: Bucket,
        memory: Memory,
        queries: Sequence[Query],
        rows: Sequence[Sequence[int]],
        name: str,
        draft: Draft,
    ) -> Tensor:
        """What a draft finds, on the CPU. `draft` is kept for a name and a bucket, and must do the same each time."""
        packing = self.fused.packing
        reading = self._read.get(bucket.num_tokens)
        if reading is None:
            reading = self._read[bucket.num_tokens] = Reading(packing, bucket.num_tokens, memory)
        graph = self._graphs.get((name, bucket))
        if graph is None:
            graph = self._graphs[name, bucket] = Graph(bucket, reading.memory, draft)
            if len(self._graphs) > MAX_GRAPHS:
                self._graphs.popitem(last=False)
        self._graphs.move_to_end((name, bucket))
        self.num_cold += not graph.is_warm
        reading.take(memory)
        graph.take(memory.num_tokens, queries, rows)
        return graph.run()


class Reading:
    """The memory that graphs read, for rows of up to so many tokens."""

    def __init__(self, packing: Packing, num_tokens: int, like: Memory) -> None:
        self._packing = packing
        ids_1N, fused_BNH = like.ids_BN, like.fused_BNH
        self.memory = packing.memory(
            ids_1N.new_zeros(1, num_tokens), fused_BNH.new_zeros(num_tokens, packing.width)
        )
        self._taken: weakref.ref[Memory] | None = None

    def take(self, memory: Memory) -> None:
        """Copy in what the head has read, unless it stands there."""
        if self._taken is not None and self._taken() is memory:
            return
        packed = memory if isinstance(memory, PackedMemory) else self._packing.packed(memory)
        self.memory.ids_BN[:, : memory.num_tokens].copy_(packed.ids_BN)
        self.memory.packed_NW[: memory.num_tokens].copy_(packed.packed_NW)
        self._taken = weakref.ref(memory)


_DRAFTS: weakref.WeakKeyDictionary[DiffusionHead, Drafts] = weakref.WeakKeyDictionary()


def drafted(
    head: DiffusionHead,
    fused: FusedHead,
    projected: Projected,
    walk_tables: WalkTables,
    bucket: Bucket,
    memory: Memory,
    queries: Queries,
    starts: Starts,
) -> Tensor:
    """[2 P + 1, N], as `Walked` has it."""
    with Beside(memory.ids_BN.device) as beside:
        context = context_of(memory)
    plain = projected.plain(head, fused.encode(memory, queries))
    beside.join()
    shapes = (bucket.num_positions, bucket.num_classes)
    return walk(head, projected, plain, context, starts, walk_tables, *shapes).packed_XN


Draft = Callable[[Memory, Queries, Starts], Tensor]


class Graph:
    """A draft of one bucket: its buffers, and on a GPU its CUDA graph. On a CPU it is computed each time."""

    def __init__(self, bucket: Bucket, memory: Memory, draft: Draft) -> None:
        """`memory` is that of a `Reading`, which changes between the runs."""
        self.bucket, self._draft = bucket, draft
        device = memory.ids_BN.device
        layout = _layout(bucket)
        num_integers = sum(prod(shape) for shape in layout.values())
        self._staging = torch.zeros(
            num_integers, dtype=torch.long, pin_memory=memory.ids_BN.is_cuda
        )
        self._packed = torch.zeros(num_integers, dtype=torch.long, device=device)
        self._host = {n: t.numpy() for n, t in _views(self._staging, layout).items()}
        self._views = _views(self._packed, layout)
        self._memory = replace(memory, lengths_B=self._views["lengths_B"])
        self._found: Tensor | None = None
        """What the captured graph leaves."""
        self._num_runs = 0
        self._captured: Any = None

    def take(
        self, num_tokens: int, queries: Sequence[Query], rows: Sequence[Sequence[int]]
    ) -> None:
        """How much of the memory counts, what the head is asked, and where the slots begin, in the order of `Starts`."""
        self._host["lengths_B"][0] = num_tokens
        for name, array_1Q in stacked([queries]).items():
            self._host[name][:] = _FILLING.get(name, 0)
            self._host[name][:, : len(queries)] = array_1Q
        starts, history = self._host["starts_4N"], self._host["history_NM"]
        starts[:], history[:] = 0, 0  # no position left: nothing to do
        if rows:
            starts.T[: len(rows)] = [row[:4] for row in rows]
            history[: len(rows)] = [row[4:] for row in rows]

    def run(self) -> Tensor:
        """What the draft finds, on the CPU. Waits for the device.

        Captured when it comes again: the first run compiles what is to be compiled, and many a bucket is seen once.
        """
        self._packed.copy_(self._staging, non_blocking=True)
        if self._packed.is_cuda and self._num_runs == 1:
            self._captured = self._capture()
        self._num_runs += 1
        if self._captured is None or self._found is None:
            return self.drafted().cpu()
        self._captured.replay()
        return self._found.cpu()

    @property
    def is_warm(self) -> bool:
        """Whether the next run takes no longer than those behind it."""
        return self._captured is not None or (self._num_runs > 0 and not self._packed.is_cuda)

    def inputs(self) -> tuple[Memory, Queries, Starts]:
        """What a draft is made of, as it stands on the device."""
        views = self._views
        row_N, automaton_N, state_N, left_N = views["starts_4N"]
        starts = Starts(row_N, automaton_N, state_N, left_N, views["history_NM"])
        return self._memory, Queries(**{name: views[name] for name in _QUERIES}), starts

    def drafted(self) -> Tensor:
        """What the graph holds, of what stands in the buffers."""
        return self._draft(*self.inputs())

    def _capture(self) -> Any:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(NUM_WARMUPS):
                self.drafted()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # A server's other threads may use the device meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self._found = self.drafted()
        return graph


_QUERIES = (
    "block_BQ",
    "kind_BQ",
    "anchor_BQ",
    "offset_BQ",
    "place_BQ",
    "index_BQ",
    "is_fed_BQ",
    "token_BQ",
    "moment_BQ",
    "names_BQL",
)
_FILLING = {"token_BQ": -1, "names_BQL": -1}
"""What stands behind the queries: MASK and NO_TOKEN."""


def _layout(bucket: Bucket) -> dict[str, tuple[int, ...]]:
    """The integers that change from draft to draft, by name; of `is_fed_BQ`, one byte is a query's."""
    shape = (1, bucket.num_queries)
    return {
        **dict.fromkeys(_QUERIES, shape),
        "names_BQL": (*shape, MAX_NAME_TOKENS),
        "is_fed_BQ": (1, bucket.num_queries // 8),
        "starts_4N": (4, bucket.num_slots),
        "history_NM": (bucket.num_slots, MAX_MATCH),
        "lengths_B": (1,),
    }


def _views(flat: Tensor, layout: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    parts = flat.split([prod(shape) for shape in layout.values()])
    views = {
        name: part.view(shape) for (name, shape), part in zip(layout.items(), parts, strict=True)
    }
    return views | {"is_fed_BQ": views["is_fed_BQ"].view(torch.bool)}


def _read(found: Tensor, num_positions: int) -> list[SlotEnd]:
    tokens_NP = found[:num_positions].T.tolist()
    chances_NP = found[num_positions:-1].view(torch.float32).T.tolist()
    ends = []
    for tokens, chances, is_ended in zip(tokens_NP, chances_NP, found[-1].tolist(), strict=True):
        num = tokens.index(NO_TEXT) if NO_TEXT in tokens else num_positions
        ends.append(SlotEnd(tokens[:num], chances[: num + 1], bool(is_ended)))
    return ends


def _alive(head: weakref.ref[DiffusionHead]) -> DiffusionHead:
    found = head()
    assert found is not None
    return found


def _rounded(size: int, least: int) -> int:
    return max(least, 1 << (size - 1).bit_length())
