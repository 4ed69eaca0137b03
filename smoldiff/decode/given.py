"""Arguments that the caller has fixed: the schema is narrowed to them, so every mode and drafter keeps them."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from smoldiff.errors import InvalidGiven
from smoldiff.schema.source import Source


def narrow(source: Source, given: Mapping[str, Any]) -> Source:
    """The source with `given` (JSON pointer into the arguments -> value) as constants.

    A tool that has no such argument is left out. Raises InvalidGiven if none is left, or if a value is not allowed.
    """
    for pointer, value in given.items():
        source = _narrow_one(source, pointer, value)
    return source


def _narrow_one(source: Source, pointer: str, value: Any) -> Source:
    if not pointer.startswith("/"):
        raise InvalidGiven(pointer, "expected a JSON pointer into the arguments, such as '/city'")
    if not source.tools:
        return replace(source, schema=_fixed(source.schema, pointer, value))
    tools, problems = [], []
    for tool in source.tools:
        try:
            tools.append(replace(tool, parameters=_fixed(tool.parameters, pointer, value)))
        except InvalidGiven as problem:
            problems.append(problem)
    if not tools:
        raise problems[0]
    return replace(source, tools=tuple(tools))


def _fixed(schema: Any, pointer: str, value: Any) -> Any:
    """A copy of `schema` in which the value at `pointer` can only be `value`."""
    root = copy.deepcopy(schema)
    node = root
    keys = [k.replace("~1", "/").replace("~0", "~") for k in pointer[1:].split("/")]
    for depth, key in enumerate(keys):
        properties = node.get("properties") if isinstance(node, dict) else None
        if not isinstance(properties, dict) or key not in properties:
            raise InvalidGiven(
                pointer, f"there is no argument {key!r} in the schema's properties here"
            )
        if key not in node.setdefault("required", []):
            node["required"] = [*node["required"], key]
        if depth + 1 < len(keys):
            properties[key] = node = _resolved(root, properties[key])
        else:
            _check(root, properties[key], pointer, value)
            properties[key] = {"const": value}
    return root


def _resolved(root: Any, node: Any) -> Any:
    """A local $ref replaced by a copy of what it points to."""
    seen = 0
    while (
        isinstance(node, dict)
        and isinstance(node.get("$ref"), str)
        and node["$ref"].startswith("#/")
        and seen < 32
    ):
        target = root
        for key in node["$ref"][2:].split("/"):
            target = (
                target.get(key.replace("~1", "/").replace("~0", "~"), {})
                if isinstance(target, dict)
                else {}
            )
        node = copy.deepcopy(target)
        seen += 1
    return node


def _check(root: Any, schema: Any, pointer: str, value: Any) -> None:
    definitions = {k: root[k] for k in ("$defs", "definitions") if k in root}
    whole = {**definitions, **schema} if isinstance(schema, dict) else schema
    error = best_match(Draft202012Validator(whole).iter_errors(value))
    if error is not None:
        raise InvalidGiven(pointer, error.message)
