"""How good a head's drafts are, through the code that inference runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

from smoldiff.api import generate_call
from smoldiff.decode.model import Model
from smoldiff.errors import SmoldiffError
from smoldiff_training.data.rows import Row, read_rows

MAX_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Scored:
    """What one answer cost, and whether it is the row's own call."""

    base_passes: int
    accepted: int
    drafts: int
    first_draft_accepted: int
    is_exact: bool


def evaluation(base: Model, path: Path, num_rows: int) -> Callable[[Any, int], dict[str, float]]:
    """Scores a head on the same rows of a file each time. The file is sorted by origin, so its rows are shuffled."""
    rows = read_rows(path)
    Random(0).shuffle(rows)
    chosen = rows[:num_rows]
    return lambda head, step: scores(base.with_head(head), chosen)


def scores(model: Model, rows: Sequence[Row]) -> dict[str, float]:
    """Means over the rows that were answered; `errors` is the share of those that were not."""
    answered = [scored for row in rows if (scored := score(model, row)) is not None]
    if not answered:
        return {"errors": 1.0}
    drafts = sum(one.drafts for one in answered)
    return {
        "base_passes": fmean(one.base_passes for one in answered),
        "accepted_per_draft": sum(one.accepted for one in answered) / max(1, drafts),
        "first_draft_accepted": fmean(one.first_draft_accepted for one in answered),
        "exact": fmean(one.is_exact for one in answered),
        "errors": 1 - len(answered) / len(rows),
    }


def score(model: Model, row: Row) -> Scored | None:
    try:
        result = generate_call(model, row.tools, row.messages, max_tokens=MAX_TOKENS)
    except (
        SmoldiffError
    ):  # counted by the caller: a row that the base cannot answer says nothing of the head
        return None
    stats = result.stats
    made = [{"name": call.name, "arguments": call.arguments} for call in result.calls]
    wanted = [{"name": c["name"], "arguments": c.get("arguments") or {}} for c in row.calls]
    return Scored(
        stats.base_passes,
        stats.accepted,
        stats.drafts,
        stats.first_draft_accepted,
        made == wanted,
    )
