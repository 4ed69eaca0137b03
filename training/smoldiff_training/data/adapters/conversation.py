"""A conversation to rows: one for each assistant turn with calls, with all that was said before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from smoldiff_training.data.adapters.raw import UnusableRow
from smoldiff_training.data.rows import Json, Row, order_call


@dataclass(frozen=True, slots=True)
class Turn:
    role: str  # system, user, assistant or tool
    content: str
    calls: list[Json] = field(default_factory=list)


def rows_of(source: str, tools: list[Json], turns: Sequence[Turn]) -> list[Row]:
    """A row for each turn with calls; none where nothing is called. Words beside a call stay in the history only."""
    rows = []
    messages: list[Json] = []
    for i, turn in enumerate(turns):
        message: Json = {"role": turn.role, "content": turn.content}
        if turn.calls:
            if not any(m["role"] == "user" for m in messages):
                raise UnusableRow(f"turn {i}: a call before the user said anything")
            message["tool_calls"] = [order_call(call, tools) for call in turn.calls]
            rows.append(Row(source, tools, list(messages), message["tool_calls"]))
        messages.append(message)
    return rows


def answered(source: str, tools: list[Json], messages: list[Json], last: Turn) -> Row:
    """One row that ends in `last`: its calls, or its words where it has none."""
    calls = [order_call(call, tools) for call in last.calls]
    return Row(source, tools, messages, calls, answer="" if calls else last.content)
