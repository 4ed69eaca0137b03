"""Examples of tool calls from JSON lines, plain or gzipped."""

import gzip
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NEEDED = ("id", "source", "tools", "messages", "calls")


@dataclass(frozen=True, slots=True)
class Example:
    """One request with the calls that answer it. `accept` is None, or the acceptable values (calls/accept.py)."""

    id: str
    source: str
    tools: Sequence[Mapping[str, Any]]
    messages: Sequence[Mapping[str, Any]]
    calls: Sequence[Mapping[str, Any]]
    accept: Any = None
    meta: Mapping[str, Any] = field(default_factory=dict)


def read_example(row: Mapping[str, Any]) -> Example:
    """The example of one row. Raises ValueError naming the missing keys."""
    missing = [key for key in NEEDED if key not in row]
    if missing:
        raise ValueError(f"the row lacks {', '.join(missing)}")
    return Example(
        **{key: row[key] for key in NEEDED}, accept=row.get("accept"), meta=row.get("meta") or {}
    )


def read_examples(path: Path) -> list[Example]:
    """Every example of a .jsonl or .jsonl.gz file, in its order. Raises ValueError with the line number."""
    opener = gzip.open if path.suffix == ".gz" else open
    examples = []
    with opener(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                examples.append(read_example(json.loads(line)))
            except ValueError as problem:
                raise ValueError(f"{path.name}, line {number}: {problem}") from problem
    return examples


def sample(examples: Sequence[Example], limit: int | None, seed: int) -> list[Example]:
    """`limit` examples in an order that depends only on the file and the seed; a smaller sample starts a larger one.

    Files are sorted by origin, so their first rows stand for nothing; a shuffle makes 300 rows representative.
    """
    shuffled = list(examples)
    random.Random(seed).shuffle(shuffled)
    return shuffled if limit is None else shuffled[:limit]
