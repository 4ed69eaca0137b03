"""Numbers that the worker counts and the server's process shows: one small file a worker, mapped into memory."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from smoldiff.decode.drafters import DRAFTERS
from smoldiff.head.inputs import KINDS

RUN = "SMOLDIFF_VLLM_RUN"
"""In the environment: the name of a server's run, the same in all its processes."""
STRUCTURE = "structure"
"""The slot type of what is no slot: braces, keys, markers, the end."""
REASONS = ("kind", "schema", "tag", "free arguments", "states", "fault", "head", "load")

Name = tuple[str, tuple[tuple[str, str], ...]]

LABELS = {
    "requests": ("kind",),
    "drafts": (),
    "draft_tokens": ("drafter", "slot"),
    "accepted_tokens": ("drafter", "slot"),
    "draft_microseconds": (),
    "fallbacks": ("reason",),
}
HELP = {
    "requests": "Requests by whether they have a schema.",
    "drafts": "Drafts that a pass verified.",
    "draft_tokens": "Tokens of these drafts.",
    "accepted_tokens": "Tokens of these drafts that the model confirmed.",
    "draft_microseconds": "Time spent on drafting.",
    "fallbacks": "How often something was done without, by reason.",
}
_VALUES = {
    "drafter": DRAFTERS,
    "slot": (STRUCTURE, *KINDS),
    "reason": REASONS,
    "kind": ("schema", "free"),
}


def _names() -> Iterator[Name]:
    for name, labels in LABELS.items():
        for values in product(*(_VALUES[label] for label in labels)):
            yield name, tuple(zip(labels, values, strict=True))


NAMES = tuple(_names())
_INDEX = {name: i for i, name in enumerate(NAMES)}


class Counters:
    """The numbers of this process, in the run's folder if there is a run."""

    def __init__(self) -> None:
        folder = run_folder()
        if folder is None:
            self._values: Any = np.zeros(len(NAMES), np.int64)
            return
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / f"{os.getpid()}.counters"
        self._values = np.memmap(path, np.int64, "w+", shape=(len(NAMES),))

    def add(self, name: str, count: int = 1, **labels: str) -> None:
        """Count. The labels are those of LABELS, in their order."""
        self._values[_INDEX[name, tuple(labels.items())]] += count

    def read(self, name: str, **labels: str) -> int:
        return int(self._values[_INDEX[name, tuple(labels.items())]])


def start_run() -> bool:
    """Name this server's run, unless a parent or this process has done so: then False."""
    mine = f"{os.getpid()}-"
    if multiprocessing.parent_process() is not None or os.environ.get(RUN, "").startswith(mine):
        return False
    os.environ[RUN] = mine + os.urandom(8).hex()
    return True


def run_folder() -> Path | None:
    name = os.environ.get(RUN)
    return Path(tempfile.gettempdir()) / f"smoldiff-{os.getuid()}-{name}" if name else None


def read_run() -> Any:
    """The numbers of all workers of this run, in the order of NAMES; None where nobody counts."""
    folder = run_folder()
    if folder is None or not folder.is_dir():
        return None
    total = np.zeros(len(NAMES), np.int64)
    for path in folder.glob("*.counters"):
        total += np.fromfile(path, np.int64, len(NAMES))
    return total


def end_run() -> None:
    """Remove what the run's workers wrote."""
    folder = run_folder()
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
