"""The files of a set of targets: numpy arrays that are mapped into memory, and each distinct list of tools once."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from smoldiff_training.data.render import dumps
from smoldiff_training.data.rows import Json
from smoldiff_training.data.targets import Made, Target

# Shapes: N targets, T answer tokens of one, K best tokens of each, S tokens or bytes of all targets.

META = "meta.json"
TOOLS = "tools.jsonl"
Array = np.ndarray[Any, np.dtype[Any]]
COLUMNS: dict[str, Callable[[Target], Array]] = {
    "prompt_ids": lambda target: target.prompt_ids,
    "answer_ids": lambda target: target.answer_ids,
    "answer_text": lambda target: np.frombuffer(target.answer_text.encode(), np.uint8),
    "topk_ids": lambda target: target.topk_ids,
    "topk_logp": lambda target: target.topk_logp,
}
"""What differs in length from target to target: NAME.npy has all of it one behind the other, NAME.ends.npy where each ends."""


class NoTargets(Exception):
    """No row made a target; the message says why each did not."""


class ToolsFile:
    """Writes lists of tools, each distinct one once."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._known: dict[bytes, int] = {}
        self.ends: list[int] = []

    def add(self, tools: list[Json]) -> int:
        """The number of the list."""
        line = dumps(tools).encode() + b"\n"
        known = hashlib.sha256(line).digest()
        if known not in self._known:
            self._known[known] = len(self.ends)
            self._file.write(line)
            self.ends.append(self._file.tell())
        return self._known[known]

    def __enter__(self) -> ToolsFile:
        return self

    def __exit__(self, *problem: object) -> None:
        self._file.close()


def write_targets(folder: Path, made: Iterable[Made]) -> None:
    """Write targets into a new folder. Raises NoTargets."""
    folder.mkdir()
    arrays: dict[str, list[Array]] = {name: [] for name in COLUMNS}
    lengths: dict[str, list[int]] = {name: [] for name in COLUMNS}
    tools_at: list[int] = []
    source_at: list[int] = []
    is_gold: list[bool] = []
    sources: dict[str, int] = {}
    dropped: Counter[str] = Counter()
    with ToolsFile(folder / TOOLS) as tools:
        for one in made:
            dropped += one.dropped
            for target in one.targets:
                tools_at.append(tools.add(target.tools))
                source_at.append(sources.setdefault(target.source, len(sources)))
                is_gold.append(target.is_gold)
            for name, part in COLUMNS.items():
                parts = [part(target) for target in one.targets]
                lengths[name] += [len(array) for array in parts]
                arrays[name] += [compact(np.concatenate(parts))] if parts else []
    if not is_gold:
        raise NoTargets(f"no row made a target; dropped: {dict(dropped)}; take other rows")
    for name in COLUMNS:
        np.save(folder / f"{name}.npy", np.concatenate(arrays.pop(name)))
        np.save(folder / f"{name}.ends.npy", np.cumsum(lengths[name]))
    np.save(folder / "tools.ends.npy", np.array(tools.ends))
    np.save(folder / "tools_at.npy", np.array(tools_at))
    np.save(folder / "source_at.npy", np.array(source_at))
    np.save(folder / "is_gold.npy", np.array(is_gold))
    meta = {"num_targets": len(is_gold), "sources": list(sources), "dropped": dropped}
    (folder / META).write_text(json.dumps(meta), encoding="utf-8")


def compact(array: Array) -> Array:
    """Token ids in the smallest type that holds them; other arrays as they are."""
    if array.dtype != np.int32 or not array.size:
        return array
    return array.astype(np.min_scalar_type(array.max()))


class TargetStore(Sequence[Target]):
    """Targets in a folder. A target is read when it is asked for; a pickled store opens its files again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
        self.sources: list[str] = meta["sources"]
        self.dropped: Counter[str] = Counter(meta["dropped"])
        """Why rows made no target, and how many."""
        self._num_targets: int = meta["num_targets"]
        self._arrays: dict[str, Array] = {}

    def __reduce__(self) -> tuple[type[TargetStore], tuple[Path]]:
        return TargetStore, (self.folder,)

    def __len__(self) -> int:
        return self._num_targets

    @overload
    def __getitem__(self, at: int) -> Target: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Target]: ...
    def __getitem__(self, at: int | slice) -> Target | Sequence[Target]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        idx = range(len(self))[at]  # raises IndexError
        return Target(
            prompt_ids=self._part("prompt_ids", idx).astype(np.int32),
            tools=self._tools(idx),
            answer_ids=self._part("answer_ids", idx).astype(np.int32),
            answer_text=self._part("answer_text", idx).tobytes().decode(),
            topk_ids=self._part("topk_ids", idx).astype(np.int32),
            topk_logp=self._part("topk_logp", idx),
            is_gold=bool(self._array("is_gold")[idx]),
            source=self.sources[self._array("source_at")[idx]],
        )

    def num_tokens(self) -> Array:
        """Tokens of prompt and answer of every target: [N]."""
        return self._lengths("prompt_ids") + self._lengths("answer_ids")

    @property
    def gold_share(self) -> float:
        """How many of the answers make the row's own calls."""
        return float(self._array("is_gold").mean())

    def _lengths(self, name: str) -> Array:
        return np.diff(self._array(f"{name}.ends"), prepend=0)

    def _tools(self, idx: int) -> list[Json]:
        line = self._between(TOOLS, "tools.ends", int(self._array("tools_at")[idx]))
        tools: list[Json] = json.loads(line.tobytes())
        return tools

    def _part(self, name: str, idx: int) -> Array:
        return self._between(name, f"{name}.ends", idx)

    def _between(self, name: str, ends_name: str, idx: int) -> Array:
        ends = self._array(ends_name)
        return self._array(name)[ends[idx - 1] if idx else 0 : ends[idx]]

    def _array(self, name: str) -> Array:
        if name not in self._arrays:
            path = self.folder / name
            if name == TOOLS:
                mapped = np.memmap(path, np.uint8, "r")
            else:
                mapped = np.load(path.with_name(f"{name}.npy"), mmap_mode="r")
            self._arrays[name] = np.asarray(mapped)  # a plain view: slicing a memmap is slow
        return self._arrays[name]
