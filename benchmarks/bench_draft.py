"""One draft of all open slots: head pass, LM head, and the walk through the slots' automata, part by part; and what else a
pass of the base asks of the head: to take in the tokens that it saw, and to decide what it can.

    python benchmarks/bench_draft.py --out rows.jsonl                 one GPU, the shape of SmolLM3-3B
    python benchmarks/bench_draft.py --device cpu --quick             tiny shapes, to see that it runs

Random weights and made-up automata of real sizes, batch 1; the frozen base is not run. Medians of --repeats. `eager`: every
kernel launched by the host. `replay`: one CUDA graph, between two events. `wall`: a whole call, from queries in Python to
tokens in Python, and `host` what of it is not the replay. The floor is the bytes that must be read or written once over
4.27 TB/s, a copy's rate on an H200. A draft is checked against position-by-position decoding first; JSON lines to --out.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from calls.conditions import commit, device_name
from rich.console import Console
from rich.table import Table
from torch import Tensor

from smoldiff.decode import denoise
from smoldiff.decode.asked import OpenSlot, SlotQueries
from smoldiff.decode.denoise import Denoiser
from smoldiff.decode.graphed import Drafts, Graph
from smoldiff.decode.side_by_side import context_of, walk
from smoldiff.head.checkpoint import MLP_FACTOR
from smoldiff.head.config import BaseFacts, HeadConfig, default_taps
from smoldiff.head.inputs import SLOTS, Query
from smoldiff.head.memory import Memory
from smoldiff.head.model import DiffusionHead
from smoldiff.head.tables import Tables
from smoldiff.scaffold.pieces import Slot
from smoldiff.schema.nodes import String
from smoldiff.template.automaton import TokenAutomaton
from smoldiff.template.template import MASK

TB_PER_S = 4.27
TARGET_MS = 0.6
NUM_TAKEN = 32
"""Tokens of a pass that are taken in."""
ONLY_EAGER = "tokens taken in"
"""Not in a graph: its ids come from the host."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a draft."""

    hidden_size: int
    vocab_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    num_context: int
    num_slots: int
    num_positions: int
    """Of each slot."""


SMOLLM3_3B = Shape(2048, 128_256, 2, 16, 4, 2048, 16, 8)
TINY = Shape(64, 512, 2, 4, 2, 100, 3, 4)


@dataclass(frozen=True, slots=True)
class Line:
    """One part. Milliseconds; None where there is no GPU to measure it on."""

    part: str
    eager_ms: float
    replay_ms: float | None
    wall_ms: float | None
    host_ms: float | None
    bytes: int
    floor_ms: float
    target_ms: float | None
    ratio_to_floor: float


class Case:
    """A draft with random weights."""

    def __init__(self, shape: Shape, device: torch.device) -> None:
        self.shape, self.device = shape, device
        self.dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        torch.manual_seed(0)
        self.head = new_head(shape).to(device, self.dtype).eval()
        V, D = shape.vocab_size, shape.hidden_size
        self.tables = Tables(self.drawn(V, D), self.drawn(V, D) * D**-0.5)
        automata = [made_automaton(V, seed) for seed in range(4)]
        self.asked = [asked(shape, n) for n in range(shape.num_slots)]
        self.denoiser = Denoiser(self.head, self.tables, vocabulary=None)
        kinds = {id(one.open_slot): automata[n % 4] for n, one in enumerate(self.asked)}
        self.denoiser._automaton = lambda one: kinds[id(one.open_slot)]
        ids = torch.randint(V, (shape.num_context,)).tolist()
        states_TS = self.drawn(shape.num_context, len(self.head.config.taps) * D)
        self.memory: Memory = self.denoiser.remember(ids, states_TS, 0)
        self.seen_ids, self.seen_TS = ids[-NUM_TAKEN:], states_TS

    def drawn(self, *shape: int) -> Tensor:
        return torch.randn(shape, device=self.device, dtype=self.dtype)

    def fill(self, in_tensors: bool) -> list[tuple[list[int], bool]]:
        """The slots' tokens."""
        before, denoise.serves = denoise.serves, lambda *_: in_tensors
        try:
            fills = self.denoiser.fill(self.memory, self.asked, 1)
        finally:
            denoise.serves = before
        return [(one.token_ids, one.is_ended) for one in fills]

    def take_in(self) -> Memory:
        """The last tokens of the context once more, as behind a pass that verified a draft."""
        num, start = len(self.seen_ids), self.shape.num_context - len(self.seen_ids)
        more = self.denoiser.remember(self.seen_ids, self.seen_TS[-num:], start)
        return self.memory.cut(start).followed_by(more)

    def graph(self) -> Graph:
        (graph,) = Drafts.of(self.head, self.tables, self.memory.ids_BN.device)._graphs.values()
        return graph


def new_head(shape: Shape) -> DiffusionHead:
    D, num_base_layers = shape.hidden_size, 36
    base = BaseFacts("made", "", "none", D, shape.vocab_size, num_base_layers, "", "")
    sizes = {"markov_rank": min(256, D // 2), "copy_dim": min(128, D // 2)}
    head = DiffusionHead(
        HeadConfig(
            base,
            default_taps(num_base_layers, 5),
            D,
            shape.num_layers,
            shape.num_heads,
            shape.num_kv_heads,
            D // shape.num_heads,
            round(MLP_FACTOR * D / 64) * 64,
            **sizes,
        )
    )
    with torch.no_grad():  # every part has a say
        for parameter in head.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return head


def made_automaton(vocab_size: int, seed: int) -> TokenAutomaton:
    """A language as large as that of strings: 9 states, 19 classes, and nearly all tokens."""
    rng = np.random.default_rng(seed)
    S, C, degree = 9, 19, 10
    classes = rng.integers(C, size=vocab_size - 8).astype(np.int32)
    classes[:C] = np.arange(C)
    edges = [np.sort(rng.choice(C, degree, replace=False)) for _ in range(S)]
    return TokenAutomaton(
        vocabulary=None,
        token_ids=np.arange(vocab_size - 8, dtype=np.int32),
        classes=classes,
        accepts=np.arange(S) % 2 == 0,
        source=np.repeat(np.arange(S), degree).astype(np.int32),
        cls=np.concatenate(edges).astype(np.int32),
        target=rng.integers(S, size=S * degree).astype(np.int32),
        min_tokens=0,
    )


def asked(shape: Shape, number: int) -> SlotQueries:
    slot = Slot(f"/{number}", String(f"/{number}"))
    anchor = shape.num_context - 4 * (number + 1)
    queries = tuple(
        Query(SLOTS, 0, anchor, place, place, 0, True, MASK, (number,))
        for place in range(shape.num_positions)
    )
    return SlotQueries(OpenSlot(slot.pointer, slot, "", shape.num_positions), (), 0, queries)


def parts(case: Case) -> dict[str, Callable[[], Any]]:
    """The parts of a draft, each on what the one before it left."""
    graph = case.graph()
    drafts = Drafts.of(case.head, case.tables, case.memory.ids_BN.device)
    fused, projected, shapes = drafts.fused, drafts.projected, graph.bucket[3:]
    memory, queries, starts = graph.inputs()
    passed = fused.encode(memory, queries)
    plain = projected.plain(case.head, passed)
    tables, context = drafts.walk_tables, context_of(memory)
    return {
        "head pass": lambda: fused.encode(memory, queries),
        "scoring": lambda: projected.plain(case.head, passed),
        "slot decoding": lambda: walk(
            case.head, projected, plain, context, starts, tables, *shapes
        ),
        "draft": graph.drafted,
        "decisions": lambda: fused.decide(memory, queries),
        ONLY_EAGER: case.take_in,
    }


def num_bytes(case: Case) -> dict[str, int]:
    """What each part must read or write once."""
    shape, cfg, size = case.shape, case.head.config, case.dtype.itemsize
    Q, V, D, N = (
        shape.num_slots * shape.num_positions,
        shape.vocab_size,
        shape.hidden_size,
        shape.num_slots,
    )
    layers = sum(p.numel() for p in case.head.layers.parameters())
    inputs = [case.head.token_in, case.head.name_in, case.head.anchor_in]
    layers += sum(p.numel() for module in inputs for p in module.parameters())
    keys = 2 * cfg.num_layers * shape.num_context * cfg.num_kv_heads * cfg.head_dim
    lm_head = V * D + Q * V + D * D
    step = V * cfg.markov_rank + shape.num_context * cfg.copy_dim + N * V
    attentions = [layer.attention for layer in case.head.layers]
    readers = [case.head.fuse, case.head.copy_key, *(a.k_proj for a in attentions)]
    readers += [a.v_proj for a in attentions]
    taken = sum(module.weight.numel() for module in readers)
    found = {
        "head pass": (layers + keys) * size,
        "scoring": lm_head * size,
        "slot decoding": shape.num_positions * (step * size + N * V * 2),
    }
    whole = {"draft": sum(found.values()), "decisions": found["head pass"]}
    return {**found, **whole, ONLY_EAGER: taken * size}


def timed(function: Callable[[], Any], device: torch.device, repeats: int) -> float:
    """Median milliseconds of calls, one after the other, each until its work is done."""
    found = []
    for _ in range(repeats + 3):
        began = time.perf_counter()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize()
        found.append(1e3 * (time.perf_counter() - began))
    return statistics.median(found[3:])


def replayed(function: Callable[[], Any], repeats: int) -> float:
    """Median milliseconds of a CUDA graph's replays, by events."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    found = []
    for _ in range(repeats + 3):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        found.append(start.elapsed_time(end))
    return statistics.median(found[3:])


@torch.inference_mode()
def measured(case: Case, repeats: int) -> list[Line]:
    is_gpu = case.device.type == "cuda"
    sizes, lines = num_bytes(case), []
    for name, function in parts(case).items():
        eager_ms = timed(function, case.device, repeats)
        replay_ms = replayed(function, repeats) if is_gpu and name != ONLY_EAGER else None
        wall_ms = host_ms = None
        if name == "draft":
            wall_ms = timed(lambda: case.fill(in_tensors=True), case.device, repeats)
            host_ms = None if replay_ms is None else wall_ms - replay_ms
        floor_ms = sizes[name] / TB_PER_S / 1e9
        lines.append(
            Line(
                name,
                eager_ms,
                replay_ms,
                wall_ms,
                host_ms,
                sizes[name],
                floor_ms,
                TARGET_MS if name == "draft" else None,
                (replay_ms or eager_ms) / floor_ms,
            )
        )
    return lines


def agreement(case: Case) -> float:
    """The share of slots whose first token is that of decoding position by position; behind a near tie texts may part."""
    plain, found = case.fill(in_tensors=False), case.fill(in_tensors=True)
    return sum(a[:1] == b[:1] for (a, _), (b, _) in zip(plain, found, strict=True)) / len(plain)


def conditions(case: Case) -> dict[str, Any]:
    return {
        **asdict(case.shape),
        "dtype": str(case.dtype).removeprefix("torch."),
        "device": device_name(case.device),
        "torch": torch.__version__,
        "commit": commit(),
    }


def show(lines: list[Line]) -> None:
    table = Table("part", "eager ms", "replay ms", "wall ms", "host ms", "floor ms", "x floor")
    for line in lines:
        numbers = (line.eager_ms, line.replay_ms, line.wall_ms, line.host_ms, line.floor_ms)
        cells = ["" if x is None else f"{x:.3f}" for x in numbers]
        table.add_row(line.part, *cells, f"{line.ratio_to_floor:.1f}")
    Console(stderr=True, width=100).print(table)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--quick", action="store_true", help="tiny shapes")
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--out", type=Path, help="JSON lines; default: stdout")
    args = parser.parse_args(arguments)
    case = Case(TINY if args.quick else SMOLLM3_3B, torch.device(args.device))
    share = agreement(case)
    # The best two of 128,256 random logits are often closer than bfloat16 can tell.
    if share < (0.9 if case.dtype == torch.float32 else 0.6):
        raise SystemExit(
            f"only {share:.0%} of the slots begin as position-by-position decoding has it"
        )
    lines = measured(case, 3 if args.quick else args.repeats)
    more = {"slots_equal_at_first": share, "repeats": args.repeats, **conditions(case)}
    text = "".join(json.dumps({**asdict(line), **more}) + "\n" for line in lines)
    if args.out:
        args.out.write_text(text)
    else:
        sys.stdout.write(text)
    show(lines)


if __name__ == "__main__":
    main(sys.argv[1:])
