"""Summaries as a table for people and as JSON lines for programs."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from calls.summary import Summary
from rich.table import Table

# What each line of the table shows: its label, the summary's field, the format.
LINES = (
    ("examples", "n", "d"),
    ("exact calls %", "exact_pct", ".1f"),
    ("acceptable calls %", "accepted_pct", ".1f"),
    ("tool names right %", "name_right_pct", ".1f"),
    ("valid %", "valid_pct", ".1f"),
    ("exact calls, % of ar's", "exact_vs_ar_pct", ".1f"),
    ("ar's exact calls kept %", "kept_pct", ".1f"),
    ("same tokens as ar %", "identical_pct", ".1f"),
    ("  not the same", "num_different", "d"),
    ("  of these, same text", "num_different_same_text", "d"),
    ("  of these, near tie", "num_different_near_tie", "d"),
    ("base passes after prefill", "base_passes", ".2f"),
    ("  times fewer than parallel+copy", "fewer_passes_vs_untrained", ".2f"),
    ("head passes", "head_passes", ".2f"),
    ("tokens of an answer", "answer_tokens", ".1f"),
    ("drafts an answer", "drafts", ".2f"),
    ("drafted tokens a draft", "drafted_per_draft", ".1f"),
    ("right tokens a draft", "accepted_per_draft", ".1f"),
    ("right tokens, first draft", "first_draft_accepted", ".1f"),
    ("  % of the answer", "first_draft_pct", ".1f"),
    ("ms a call, median", "total_median_ms", ".1f"),
    ("ms a call, mean", "total_mean_ms", ".1f"),
    ("ms prefill, median", "prefill_median_ms", ".1f"),
    ("ms after prefill, median", "decode_median_ms", ".1f"),
    ("  in the head, mean", "head_mean_ms", ".1f"),
    ("ms around both, median", "other_median_ms", ".1f"),
    ("ms to compile tools, once", "compile_median_ms", ".1f"),
    ("times as fast as ar", "speed_vs_ar", ".2f"),
    ("  after prefill", "decode_speed_vs_ar", ".2f"),
    ("calls slower than ar", "num_slower_than_ar", "d"),
    ("  %", "slower_than_ar_pct", ".1f"),
    ("time over ar's, mean of calls", "mean_time_vs_ar", ".2f"),
    ("  worst call", "worst_time_vs_ar", ".2f"),
)


def table(title: str, summaries: Mapping[str, Summary]) -> Table:
    """Systems side by side, a line for each metric that any of them has."""
    out = Table(title=title, title_justify="left")
    out.add_column("")
    for system in summaries:
        out.add_column(system.replace(":", ":\n"), justify="right")
    for label, field, form in LINES:
        values = [getattr(summary, field) for summary in summaries.values()]
        if any(value is not None for value in values):
            out.add_row(label, *("-" if v is None else format(v, form) for v in values))
    for error in sorted({e for summary in summaries.values() for e in summary.errors}):
        out.add_row(error, *(str(s.errors.get(error, 0)) for s in summaries.values()))
    return out


def json_line(system: str, source: str, summary: Summary, under: Mapping[str, Any]) -> str:
    """One system's metrics with the conditions they hold under."""
    metrics = {k: round(v, 3) if isinstance(v, float) else v for k, v in asdict(summary).items()}
    row = {"benchmark": "calls", "system": system, "source": source, **metrics, **under}
    return json.dumps(row, ensure_ascii=False)


def in_words(under: Mapping[str, Any]) -> str:
    """The conditions as one line under the table."""
    return ", ".join(f"{key} {value}" for key, value in under.items() if value is not None)


def missing_peers_note(missing: Iterable[str]) -> str:
    """What to say about peers that are not installed; empty where none is missing."""
    names = ", ".join(missing)
    return (
        f"not installed, so not measured: {names} (pip install 'smoldiff[peers]')" if names else ""
    )
