"""argilla/apigen-function-calling (CC-BY-4.0; huggingface.co/datasets/argilla/apigen-function-calling).

A merge of xLAM-60k and argilla/Synth-APIGen-v0.1 with xLAM's `query`, `tools` and `answers` and its own columns `id`,
`func_name`, `func_desc`, `hash_id`, `model_name` and `origin`. `tools` may be a single tool, and `answers` may be prose
that says why nothing can be called: such a row is an answer without calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smoldiff_training.data.adapters.conversation import Turn, answered
from smoldiff_training.data.adapters.raw import parsed, text_of
from smoldiff_training.data.adapters.tools import tools_of
from smoldiff_training.data.adapters.xlam import read_query
from smoldiff_training.data.rows import Row


def read(raw: Mapping[str, Any]) -> list[Row]:
    """The row of one query. Raises UnusableRow."""
    tools = parsed(raw.get("tools"), "tools")
    listed = tools if isinstance(tools, list) else [tools]
    answers = raw.get("answers")
    if isinstance(answers, str) and not answers.lstrip().startswith(("[", "{")):
        messages = [{"role": "user", "content": text_of(raw, "query")}]
        return [answered("argilla_apigen", tools_of(listed), messages, Turn("assistant", answers))]
    return read_query({**raw, "tools": listed}, "argilla_apigen")
