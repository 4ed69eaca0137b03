"""ibm-research/nestful (Apache-2.0; huggingface.co/datasets/ibm-research/nestful, arXiv 2409.03797).

A row has `sample_id`, `input` (the question), `gold_answer`, and two JSON texts: `tools`, a list of {name, description,
parameters, output_parameters} with a flat map or a JSON Schema as parameters, and `output`, a list of {name, label,
arguments}. A later call takes the result of an earlier one by its label: {"arg_0": "$var_1.result$"} with the label
"$var_1". The whole sequence is one answer, so each parameter of the row's tools may also be such a reference, and a
system message says how it is written. Labels are numbered in order, so the calls need none of their own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from smoldiff_training.data.adapters.conversation import Turn, answered
from smoldiff_training.data.adapters.raw import UnusableRow, calls_of, list_of, text_of
from smoldiff_training.data.adapters.tools import tools_of
from smoldiff_training.data.rows import Json, Row

REFERENCE: Json = {"type": "string", "pattern": r"^\$var_?[0-9]+\.[A-Za-z0-9_]+\$$"}
IS_REFERENCE = re.compile(r"\$var_?[0-9]+\.[A-Za-z0-9_]+\$")
SYSTEM = "Make all calls at once. Write $var_1.result$ for the result of the first call, and so on."


def read(raw: Mapping[str, Any]) -> list[Row]:
    """The row of one question. Raises UnusableRow."""
    tools, output = tools_of(list_of(raw, "tools")), list_of(raw, "output")
    calls = calls_of(output, "output")
    if not calls:
        raise UnusableRow("output: no call in it")
    messages = [{"role": "user", "content": text_of(raw, "input")}]
    if has_reference(calls):
        messages.insert(0, {"role": "system", "content": SYSTEM})
        tools = [referable(tool) for tool in tools]
    return [answered("nestful", tools, messages, Turn("assistant", "", calls))]


def has_reference(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(map(has_reference, value.values()))
    if isinstance(value, list):
        return any(map(has_reference, value))
    return isinstance(value, str) and IS_REFERENCE.fullmatch(value) is not None


def referable(tool: Json) -> Json:
    """The tool with parameters that take a reference as well."""
    parameters = tool["parameters"]
    properties = {name: or_reference(s) for name, s in parameters["properties"].items()}
    return tool | {"parameters": parameters | {"properties": properties}}


def or_reference(schema: Any) -> Any:
    """The schema, or a reference; also for each item of a list. Text without an enum takes one as it is."""
    if not isinstance(schema, dict) or not schema or is_free_text(schema):
        return schema
    if isinstance(schema.get("items"), dict):
        schema = schema | {"items": or_reference(schema["items"])}
    described = {k: schema[k] for k in ("description",) if k in schema}
    inner = {k: v for k, v in schema.items() if k != "description"}
    return {"anyOf": [inner, REFERENCE]} | described


def is_free_text(schema: Json) -> bool:
    return schema.get("type") == "string" and not {"enum", "pattern", "const"} & schema.keys()
