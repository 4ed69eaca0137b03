"""Arguments that the caller has fixed: the schema is narrowed to them, so every mode and drafter keeps them."""

import copy
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from smoldiff.errors import InvalidGiven, UnsupportedSchema
from smoldiff.schema.dialect import check_nesting
from smoldiff.schema.keywords import HONOURED, LEFT_TO_GRAMMAR
from smoldiff.schema.parse import parse_schema
from smoldiff.schema.pointers import child, steps
from smoldiff.schema.refs import Document
from smoldiff.schema.source import Source, Tool
from smoldiff.schema.validation import decoder, first_error

_MAX_REFS = 32


def narrow(source: Source, given: Mapping[str, Any]) -> Source:
    """The source with `given` (JSON pointer into the arguments -> value) as constants.

    A tool that has no such argument is left out. Raises InvalidGiven if none is left, or if a value is not allowed;
    SchemaError where a schema itself is at fault.
    """
    if given:
        _check_schemas(source)
    for pointer, value in given.items():
        source = _narrow_one(source, pointer, _written(pointer, value))
    return source


def _check_schemas(source: Source) -> None:
    for tool in source.tools:
        parse_schema(tool.parameters, tool.pointer)
    if not source.tools:
        parse_schema(source.schema)


def _written(pointer: str, value: Any) -> str:
    """The value as JSON text. Raises InvalidGiven."""
    if not pointer.startswith("/"):
        raise InvalidGiven(pointer, "expected a JSON pointer into the arguments, such as '/city'")
    try:
        check_nesting(value, "")
        text = json.dumps(value, allow_nan=False)
        decoder(is_exact=True).decode(text)
    except UnsupportedSchema as problem:
        raise InvalidGiven(pointer, problem.problem.partition(";")[0]) from None
    except (TypeError, ValueError) as problem:
        raise InvalidGiven(pointer, f"not a JSON value: {problem}") from None
    return text


def _narrow_one(source: Source, pointer: str, text: str) -> Source:
    if not source.tools:
        _check(source.judging_schema, pointer, text, "")
        as_given = source.given_schema
        return replace(
            source,
            schema=_fixed(source.schema, pointer, text),
            given_schema=None if as_given is None else _fixed(as_given, pointer, text),
        )
    tools, problems = [], []
    for tool in source.tools:
        try:
            tools.append(_narrow_tool(tool, pointer, text))
        except InvalidGiven as problem:
            problems.append(problem)
    if not tools:
        raise problems[0]
    return replace(source, tools=tuple(tools))


def _narrow_tool(tool: Tool, pointer: str, text: str) -> Tool:
    _check(tool.judging_parameters, pointer, text, tool.pointer)
    as_given = tool.given_parameters
    return replace(
        tool,
        parameters=_fixed(tool.parameters, pointer, text),
        given_parameters=None if as_given is None else _fixed(as_given, pointer, text),
    )


def _check(schema: Any, pointer: str, text: str, at: str) -> None:
    """Raise InvalidGiven unless the value may stand at `pointer`."""
    root, _, inside = _unfolded(schema, pointer)
    fault = first_error(decoder(is_exact=True).decode(text), root, inside, at)
    if fault is not None:
        raise InvalidGiven(pointer, fault.problem)


def _fixed(schema: Any, pointer: str, text: str) -> Any:
    """A copy of `schema` in which the value at `pointer` can only be the one written in `text`."""
    root, properties, _ = _unfolded(schema, pointer)
    properties[steps(pointer)[-1]] = {"const": json.loads(text)}
    return root


def _unfolded(schema: Any, pointer: str) -> tuple[Any, dict[str, Any], str]:
    """A copy of the schema in which no $ref stands on the way to an argument, and every step is required.

    With it, the `properties` that the argument is one of, and the argument's place in the copy.
    """
    root = copy.deepcopy(schema)
    node, inside, last = root, "", ""
    properties: dict[str, Any] = {}
    for depth, key in enumerate(steps(pointer)):
        if depth:
            properties[last] = node = _followed(root, properties[last], pointer)
        properties, last = _properties(node, key, pointer), key
        node["required"] = list(dict.fromkeys([*node.get("required", []), key]))
        inside = child(inside, "properties", key)
    return root, properties, inside


def _properties(node: Any, key: str, pointer: str) -> dict[str, Any]:
    properties = node.get("properties") if isinstance(node, dict) else None
    if not isinstance(properties, dict) or key not in properties:
        raise InvalidGiven(pointer, f"there is no argument {key!r} in the schema's properties here")
    return properties


def _followed(root: Any, node: Any, pointer: str) -> Any:
    """A local $ref replaced by a copy of what it points to. Raises InvalidGiven, UnresolvableRef."""
    for _ in range(_MAX_REFS):
        if not isinstance(node, dict) or "$ref" not in node:
            break
        beside = sorted(node.keys() & (HONOURED | LEFT_TO_GRAMMAR) - {"$ref"})
        if beside:
            raise InvalidGiven(
                pointer, f"a $ref with {beside[0]!r} beside it stands on the way; give all of it"
            )
        node = copy.deepcopy(Document(root, "").resolve(node["$ref"], "")[1])
    return node
