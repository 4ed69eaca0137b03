"""Salesforce/APIGen-MT-5k (CC-BY-NC-4.0, gated; huggingface.co/datasets/Salesforce/APIGen-MT-5k).

A row has `conversations` in ShareGPT's form, a list of {from: human|gpt|function_call|observation, value}; `system`, the
policy of a shop or an airline; and `tools`, JSON text of a list of {name, description, parameters} with JSON Schemas. A
function_call's value is JSON text of {name, arguments}; the observation after it is what the call returned.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smoldiff_training.data.adapters.conversation import Turn, rows_of
from smoldiff_training.data.adapters.raw import UnusableRow, calls_of, list_of, mapping_of, text_of
from smoldiff_training.data.adapters.tools import tools_of
from smoldiff_training.data.rows import Row

ROLES = {"human": "user", "gpt": "assistant", "observation": "tool"}


def read(raw: Mapping[str, Any]) -> list[Row]:
    """The rows of one conversation. Raises UnusableRow."""
    tools = tools_of(list_of(raw, "tools"))
    turns = [turn_of(t, f"conversations[{i}]") for i, t in enumerate(list_of(raw, "conversations"))]
    system = raw.get("system")
    policy = [Turn("system", system)] if isinstance(system, str) and system.strip() else []
    return rows_of("apigen_mt", tools, policy + turns)


def turn_of(value: object, at: str) -> Turn:
    raw = mapping_of(value, at)
    text = text_of(raw, "value")
    if raw.get("from") == "function_call":
        return Turn("assistant", "", calls_of(text, at))
    role = ROLES.get(str(raw.get("from")))
    if role is None:
        raise UnusableRow(f"{at}.from: unknown speaker {raw.get('from')!r}")
    return Turn(role, text)
