"""Targets on disk: built once for what they are made of, then read by every process without being loaded.

A folder of the cache is named by a hash of all that its targets depend on. It appears at once and whole: it is written
under another name and renamed, and while one process builds it the others wait for its lock.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from random import Random

from filelock import FileLock

from smoldiff.decode.model import default_device, model_path
from smoldiff_training.data.building import Progress, build_targets
from smoldiff_training.data.draw import DrawnRows, digest_of
from smoldiff_training.data.rows import Row, read_rows
from smoldiff_training.data.store import TargetStore, write_targets
from smoldiff_training.data.targets import DEFAULT_OPTIONS, TargetOptions

FORMAT = 1
"""Raised where the same rows give other targets than before, or the files say it in another way."""
PARTS_OF_A_BASE = ("*.safetensors", "*.bin", "*.json", "*.jinja", "*.model")


def cached_targets(
    model_name: str,
    rows: Sequence[Row],
    cache: Path,
    options: TargetOptions = DEFAULT_OPTIONS,
    *,
    num_processes: int = 1,
    device: str | None = None,
    on_progress: Progress | None = None,
) -> TargetStore:
    """The targets of `rows`, built unless the cache has them. Any number of processes may ask at the same time."""
    device = device or default_device()
    folder = cache / key_of(model_name, rows, options, device)
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            part = folder.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
            made = build_targets(
                model_name,
                rows,
                options,
                num_processes=num_processes,
                device=device,
                on_progress=on_progress,
            )
            write_targets(part, made)
            part.rename(folder)
    return TargetStore(folder)


def evaluation_targets(
    model_name: str,
    path: Path,
    cache: Path,
    options: TargetOptions = DEFAULT_OPTIONS,
    *,
    num_rows: int = 0,
    num_processes: int = 1,
    device: str | None = None,
) -> TargetStore:
    """The targets of an evaluation file in the project's format, of `num_rows` of its rows or of all of them (0).

    Such a file is sorted by origin, so its rows are shuffled first; a smaller sample starts a larger one.
    """
    rows = read_rows(path)
    Random(0).shuffle(rows)
    chosen = rows[:num_rows] if num_rows else rows
    return cached_targets(
        model_name, chosen, cache, options, num_processes=num_processes, device=device
    )


def key_of(model_name: str, rows: Sequence[Row], options: TargetOptions, device: str) -> str:
    """What the targets depend on, as a name: the base's files, its tokenizer's among them, the rows, the options."""
    asked = asdict(options)
    del asked["batch_rows"]  # how, not what
    if options.dtype == "auto":  # see smoldiff.load
        asked["dtype"] = "float32" if device == "cpu" else "the checkpoint's"
    said = rows.digest() if isinstance(rows, DrawnRows) else digest_of(rows)
    parts = [FORMAT, fingerprint(model_name), said, asked]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def fingerprint(model_name: str) -> str:
    """A hash of a base's weights, configuration, tokenizer and chat template; on the hub its commit says as much."""
    folder = Path(model_path(model_name))
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(model_name, allow_patterns=["config.json"])).name
    known = hashlib.sha256()
    for file in sorted({file for part in PARTS_OF_A_BASE for file in folder.glob(part)}):
        with file.open("rb") as content:
            known.update(file.name.encode() + hashlib.file_digest(content, "sha256").digest())
    return known.hexdigest()
