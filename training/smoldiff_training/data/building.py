"""Targets of many rows, in several processes that share the accelerators or the CPU."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from smoldiff.decode.model import default_device, load
from smoldiff_training.data.rows import Row
from smoldiff_training.data.targets import DEFAULT_OPTIONS, Made, TargetMaker, TargetOptions

CHUNK_ROWS = 1024
"""Rows that are sorted by length and decoded together. It does not depend on the number of processes, nor do targets."""
CHUNK_ROWS_ON_CPU = 64
"""There each row is decoded alone, and small chunks show how far the work is."""

Progress = Callable[[int, int], None]
"""Called with the rows that are done and the rows in all."""


@dataclass(frozen=True, slots=True)
class Worker:
    """What a process needs to make targets of its chunks."""

    model_name: str
    options: TargetOptions
    device: str
    num_threads: int

    @property
    def chunk_rows(self) -> int:
        return CHUNK_ROWS_ON_CPU if self.device == "cpu" else CHUNK_ROWS

    def chunks(self, num_rows: int) -> list[range]:
        """The numbers of the rows of each chunk."""
        starts = range(0, num_rows, self.chunk_rows)
        return [range(start, min(start + self.chunk_rows, num_rows)) for start in starts]


def build_targets(
    model_name: str,
    rows: Sequence[Row],
    options: TargetOptions = DEFAULT_OPTIONS,
    *,
    num_processes: int = 1,
    device: str | None = None,
    on_progress: Progress | None = None,
) -> Iterator[Made]:
    """The targets of all rows, a chunk of rows after the other, in the order of the rows.

    rows: a list, or anything that makes its rows when they are asked for, such as `DrawnRows`; the processes share
    that work too. device: as `smoldiff.load` takes it; "cuda" spreads the processes over every GPU.
    """
    num_threads = max(1, (os.cpu_count() or 1) // num_processes)
    worker = Worker(model_name, options, device or default_device(), num_threads)
    chunks = worker.chunks(len(rows))
    num_processes = min(num_processes, len(chunks))
    if num_processes > 1:
        made = make_together(worker, rows, num_processes)
    else:
        made = make_in_turn(worker, rows)
    for numbers, one in zip(chunks, made, strict=True):
        if on_progress is not None:
            on_progress(numbers.stop, len(rows))
        yield one


def make_maker(worker: Worker, device: str) -> TargetMaker:
    options = worker.options
    # a batch saves launches, which a CPU has none of; one row needs neither padding nor a mask
    if device == "cpu":
        options = replace(options, batch_rows=1)
    base = load(worker.model_name, device=device, dtype=options.dtype, head="none")
    return TargetMaker(base, options)


def make_in_turn(worker: Worker, rows: Sequence[Row]) -> Iterator[Made]:
    maker = make_maker(worker, worker.device)
    for numbers in worker.chunks(len(rows)):
        yield maker.make([rows[i] for i in numbers])


def make_together(worker: Worker, rows: Sequence[Row], num_processes: int) -> Iterator[Made]:
    """Fresh processes, because one that has touched CUDA cannot be forked. The rows go to them through a file."""
    context = multiprocessing.get_context("spawn")
    devices = context.SimpleQueue()
    for idx in range(num_processes):
        devices.put(device_of(worker.device, idx))
    with TemporaryDirectory(prefix="smoldiff-rows-") as folder:
        rows_file = Path(folder) / "rows.pickle"
        rows_file.write_bytes(pickle.dumps(rows, pickle.HIGHEST_PROTOCOL))
        pool = ProcessPoolExecutor(
            num_processes, context, start_worker, (worker, devices, rows_file)
        )
        try:
            yield from pool.map(make_chunk, worker.chunks(len(rows)))
        finally:  # also where nobody wants the rest
            pool.shutdown(wait=True, cancel_futures=True)


def device_of(device: str, idx: int) -> str:
    """The device of the process with this number."""
    num_gpus = torch.cuda.device_count() if device == "cuda" else 0
    return f"cuda:{idx % num_gpus}" if num_gpus else device


_state: dict[str, Any] = {}
"""What a started process holds: the executor has no other place for it."""


def start_worker(worker: Worker, devices: Any, rows_file: Path) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes share the cores already
    torch.set_num_threads(worker.num_threads)
    _state["maker"] = make_maker(worker, devices.get())
    _state["rows"] = pickle.loads(rows_file.read_bytes())
    # the rows live as long as the process: without this, collecting garbage looks through them again and again
    gc.collect()
    gc.freeze()


def make_chunk(numbers: range) -> Made:
    maker: TargetMaker = _state["maker"]
    return maker.make([_state["rows"][i] for i in numbers])
