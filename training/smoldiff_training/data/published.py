"""The raw rows of a data set: a local file or folder, or a name on the Hugging Face hub.

JSON is read line by line with the standard library, not through `datasets`: it gives all rows one common type, and so
puts every parameter that any tool has, as null, into each of them. Published rows on the hub hold such parts as text.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from smoldiff_training.config import ConfigError

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")
HUB_NAME = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(:(?P<config>[\w.-]+))?(@(?P<split>[\w.-]+))?")


class SourceError(ConfigError):
    """A source cannot be read at all, or is not in the format that was said; the message says what to change."""


def raw_rows(path: str, limit: int) -> Iterator[Any]:
    """The raw rows, at most `limit` of them (0: all). A line that is no JSON comes as the ValueError it raised.

    A hub name is `owner/name`, with `:config` and `@split` where they are not the default one and `train`.
    """
    if not path:
        raise SourceError("an empty path; give a file, a folder or a hub name")
    place = Path(path)
    for i, raw in enumerate(folder_rows(place) if place.exists() else hub_rows(path, limit)):
        if limit and i >= limit:
            return
        yield raw


def folder_rows(place: Path) -> Iterator[Any]:
    files = [place] if place.is_file() else sorted(f for f in place.rglob("*") if has_rows(f))
    if not files:
        raise SourceError(f"{place}: no file with rows in it ({', '.join(SUFFIXES)})")
    for file in files:
        yield from parquet_rows(file) if file.suffix == ".parquet" else json_rows(file)


def has_rows(file: Path) -> bool:
    return file.is_file() and file.name.endswith(SUFFIXES)


def json_rows(file: Path) -> Iterator[Any]:
    """The members of a JSON list, or a row a line."""
    if not has_rows(file):
        raise SourceError(f"{file}: not a file of rows; use one of {', '.join(SUFFIXES)}")
    with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as lines:
        first = lines.read(1)
        while first.isspace():
            first = lines.read(1)
        lines.seek(0)
        if first == b"[":
            yield from json_list(lines.read(), file)
            return
        for line in lines:
            if line.strip():
                yield json_line(line)


def json_list(text: bytes, file: Path) -> list[Any]:
    try:
        rows: list[Any] = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise SourceError(f"{file}: not a JSON list: {problem}") from problem
    return rows


def json_line(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as problem:
        return ValueError(f"no JSON: {problem}")


def parquet_rows(file: Path) -> Iterator[Any]:
    # Streamed, so that `datasets` keeps no second copy of a local file in its cache.
    yield from load(str(file), "parquet", data_files=str(file), split="train", streaming=True)


def hub_rows(path: str, limit: int) -> Iterator[Any]:
    match = HUB_NAME.fullmatch(path)
    if match is None or path.endswith(SUFFIXES):
        raise SourceError(f"{path}: no such file or folder, and no hub name (owner/name)")
    split = match["split"] or "train"
    yield from load(path, match["name"], match["config"], split=split, streaming=bool(limit))


def load(path: str, *args: str | None, **options: Any) -> Iterator[Any]:
    """The rows that `datasets.load_dataset` gives. Raises SourceError."""
    try:
        from datasets import load_dataset
    except ImportError as problem:
        raise SourceError(
            f"{path}: read through `datasets`, which is missing; pip install 'smoldiff[train]'"
        ) from problem
    try:
        yield from load_dataset(*args, **options)
    except Exception as problem:  # `datasets` passes on what its file systems and parsers raise
        raise SourceError(f"{path}: `datasets` cannot read it: {problem}") from problem
