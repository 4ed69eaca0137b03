"""Salesforce/xlam-function-calling-60k (CC-BY-4.0, gated; huggingface.co/datasets/Salesforce/xlam-function-calling-60k).

A row has `id`, `query`, and two JSON texts: `answers`, a list of {name, arguments}, and `tools`, a list of {name,
description, parameters}, where `parameters` is a flat map of name -> {type, description, default} in Python's type words:
"str, optional", "List[int]". There is one turn, and its calls are independent of each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smoldiff_training.data.adapters.conversation import Turn, answered
from smoldiff_training.data.adapters.raw import UnusableRow, calls_of, list_of, text_of
from smoldiff_training.data.adapters.tools import tools_of
from smoldiff_training.data.rows import Row


def read(raw: Mapping[str, Any]) -> list[Row]:
    """The row of one query; none where nothing is called. Raises UnusableRow."""
    return read_query(raw, "xlam")


def read_query(raw: Mapping[str, Any], source: str) -> list[Row]:
    query = text_of(raw, "query")
    if not query.strip():
        raise UnusableRow("query: empty")
    tools, calls = tools_of(list_of(raw, "tools")), calls_of(raw.get("answers"), "answers")
    if not calls:
        return []
    messages = [{"role": "user", "content": query}]
    return [answered(source, tools, messages, Turn("assistant", "", calls))]
