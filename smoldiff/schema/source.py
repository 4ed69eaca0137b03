"""What a caller may pass as a schema, in one form: tools with their parameters, or one bare schema."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from smoldiff.errors import InvalidSchema
from smoldiff.schema.closing import closed
from smoldiff.schema.keywords import show
from smoldiff.schema.nullable import with_null
from smoldiff.schema.pointers import child

_NO_PARAMETERS = {"type": "object", "properties": {}}


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that may be called. `pointer` is where `parameters` stands in what the caller gave.

    `parameters` is closed to unknown arguments unless it says otherwise, for the grammar and the drafts;
    `given_parameters` is not, for the last gate. `raw` is the tool as it was given.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    raw: dict[str, Any]
    pointer: str
    given_parameters: dict[str, Any] | None = None

    @property
    def judging_parameters(self) -> dict[str, Any]:
        """The parameters by which an answer is judged: the caller's own."""
        return self.parameters if self.given_parameters is None else self.given_parameters


@dataclass(frozen=True, slots=True)
class Source:
    """Tools, or a bare schema and no tools. `given_schema` is the schema before it was closed, if it was."""

    tools: tuple[Tool, ...]
    schema: dict[str, Any] | bool | None
    given_schema: dict[str, Any] | None = None

    @property
    def judging_schema(self) -> dict[str, Any] | bool | None:
        """The schema by which an answer is judged: the caller's own."""
        return self.schema if self.given_schema is None else self.given_schema

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(tool.name for tool in self.tools)


def read_source(schema: object) -> Source:
    """The tools or the schema in: a JSON Schema, an OpenAI or flat tool, a list of tools, a Pydantic model class.

    Raises InvalidSchema with a pointer such as "/0/function/name".
    """
    if isinstance(schema, list | tuple):
        return _read_tools(schema)
    if is_model_class(schema):
        as_given = with_null(schema.model_json_schema())  # type: ignore[attr-defined]
        return Source((), closed(as_given), as_given)
    if isinstance(schema, bool):
        return Source((), schema)
    if not isinstance(schema, Mapping):
        raise InvalidSchema("", _why_not(schema))
    given = dict(schema)
    return (
        Source((_read_tool(given, ""),), None) if _is_tool(given) else Source((), with_null(given))
    )


def written_out(schema: object) -> object:
    """The same schema with Pydantic model classes as what they stand for: a schema, in a list a tool."""
    if isinstance(schema, list | tuple):
        return [_model_tool(one) if is_model_class(one) else one for one in schema]
    return schema.model_json_schema() if is_model_class(schema) else schema  # type: ignore[attr-defined]


def is_model_class(value: object) -> bool:
    """Whether this is a Pydantic model class; asks no import of pydantic."""
    return inspect.isclass(value) and callable(getattr(value, "model_json_schema", None))


def _why_not(schema: object) -> str:
    if isinstance(schema, str | bytes):
        return "a schema must be an object, not JSON text; pass json.loads(text)"
    if callable(schema):
        return f"{show(schema)} is a function or class; pass its JSON Schema, an OpenAI tool or a Pydantic model class"
    return (
        f"a schema must be an object, a list of tools or a Pydantic model class, not {show(schema)}"
    )


def _is_tool(given: Mapping[str, Any]) -> bool:
    if given.get("type") == "function":
        return True
    is_schema = "type" in given or "properties" in given
    return not is_schema and isinstance(given.get("name"), str) and _has_parameters(given)


def _has_parameters(given: Mapping[str, Any]) -> bool:
    return isinstance(given.get("parameters", given.get("input_schema")), Mapping)


def _read_tools(schemas: list[object] | tuple[object, ...]) -> Source:
    if not schemas:
        raise InvalidSchema("", "the list of tools is empty")
    tools: list[Tool] = []
    for idx, given in enumerate(schemas):
        tool = _read_listed(given, f"/{idx}")
        if tool.name in (other.name for other in tools):
            raise InvalidSchema(f"/{idx}", f"a second tool is called {tool.name!r}")
        tools.append(tool)
    return Source(tuple(tools), None)


def _read_listed(given: object, at: str) -> Tool:
    if is_model_class(given):
        given = _model_tool(given)
    if not isinstance(given, Mapping):
        raise InvalidSchema(
            at, f"a tool must be an object or a Pydantic model class, not {show(given)}"
        )
    return _read_tool(dict(given), at)


def _model_tool(model: Any) -> dict[str, Any]:
    return {
        "name": model.__name__,
        "description": inspect.cleandoc(model.__doc__ or ""),
        "parameters": model.model_json_schema(),
    }


def _read_tool(raw: dict[str, Any], at: str) -> Tool:
    body, inside = raw, at
    if raw.get("type") == "function" and ("function" in raw or "name" not in raw):
        body, inside = raw.get("function"), child(at, "function")  # type: ignore[assignment]
        if not isinstance(body, Mapping):
            raise InvalidSchema(inside, f"a tool's function must be an object, not {show(body)}")
    name = body.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidSchema(
            child(inside, "name"), f"a tool's name must be a non-empty string, not {show(name)}"
        )
    word = "input_schema" if "parameters" not in body and "input_schema" in body else "parameters"
    pointer = child(inside, word)
    description = _description(body, inside)
    as_given = _parameters(body.get(word), pointer)
    return Tool(name, description, closed(as_given), raw, pointer, as_given)


def _description(body: Mapping[str, Any], at: str) -> str:
    description = body.get("description")
    if not isinstance(description, str | None):
        raise InvalidSchema(
            child(at, "description"), f"a description must be a string, not {show(description)}"
        )
    return description or ""


def _parameters(given: object, at: str) -> dict[str, Any]:
    """A tool's parameters as an object schema."""
    if given is None or given == {}:
        given = _NO_PARAMETERS
    if not isinstance(given, Mapping):
        raise InvalidSchema(at, f"parameters must be a JSON Schema object, not {show(given)}")
    parameters = with_null(dict(given))
    if parameters.setdefault("type", "object") != "object":
        raise InvalidSchema(
            child(at, "type"), f"parameters must be of type object, not {show(parameters['type'])}"
        )
    return parameters
