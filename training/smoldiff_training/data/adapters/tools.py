"""A published tool to the project's form: name, description, and parameters as a JSON Schema object.

Two forms are published: JSON Schema, often with Python's type words in it, and a flat map of name -> {type, description,
default}. A parameter of the flat form is required unless it is called optional or has a default, as in Python.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from smoldiff.schema.keywords import DATA_WORDS, NAMED_WORDS, TYPES
from smoldiff_training.data.adapters.raw import UnusableRow, mapping_of, shown, text_of
from smoldiff_training.data.adapters.typewords import schema_of_words
from smoldiff_training.data.rows import Json


def tools_of(values: Iterable[object], at: str = "tools") -> list[Json]:
    """The tools, the first of each name: a call could not say which of two it means."""
    found: dict[str, Json] = {}
    for i, value in enumerate(values):
        tool = tool_of(value, f"{at}[{i}]")
        found.setdefault(tool["name"], tool)
    return list(found.values())


def tool_of(value: object, at: str) -> Json:
    raw = mapping_of(value, at)
    if isinstance(raw.get("function"), Mapping):
        raw = raw["function"]
    if not text_of(raw, "name").strip():
        raise UnusableRow(f"{at}.name: empty")
    given = raw.get("parameters", raw.get("input_parameters"))
    described = raw.get("description")
    parameters = parameters_of(given, raw.get("required"), f"{at}.parameters")
    tool: Json = {"name": raw["name"], "description": described, "parameters": parameters}
    if not isinstance(described, str):
        del tool["description"]
    return tool


def parameters_of(given: object, required: object, at: str) -> Json:
    """The parameters as a schema. `required` stands beside them in some data sets."""
    raw = mapping_of({} if given is None else given, at)
    if is_json_schema(raw):
        schema = {"type": "object", "properties": {}} | json_schema(raw)
        if schema["type"] != "object" or not isinstance(schema["properties"], dict):
            raise UnusableRow(f"{at}: expected the schema of an object, found {shown(raw)}")
        return schema if "required" in schema else schema | names_in(required, schema)
    flat = {name: flat_parameter(part, f"{at}.{name}") for name, part in raw.items()}
    closed: Json = {
        "type": "object",
        "properties": {name: part for name, (part, _) in flat.items()},
    }
    needed = [name for name, (_, is_required) in flat.items() if is_required]
    listed = names_in(required, closed) or ({"required": needed} if needed else {})
    return closed | listed | {"additionalProperties": False}


def is_json_schema(raw: Mapping[str, Any]) -> bool:
    """A flat map may have a parameter named `type` or `properties`, but there it is an object with a type itself."""
    kind = raw.get("type")
    if isinstance(kind, str | list):
        return True
    return kind is None and isinstance(raw.get("properties"), Mapping)


def names_in(required: object, schema: Json) -> Json:
    if not isinstance(required, list):
        return {}
    return {"required": [n for n in required if isinstance(n, str) and n in schema["properties"]]}


def flat_parameter(part: object, at: str) -> tuple[Json, bool]:
    """The schema of one parameter of a flat map, and whether it is required."""
    if isinstance(part, str):
        part = {"type": part}
    raw = mapping_of(part, at)
    schema, is_optional = typed(raw.get("type"), at)
    rest = {k: v for k, v in raw.items() if k not in ("type", "required")}
    schema = with_typed_enum(schema | json_schema(rest))
    if isinstance(raw.get("required"), bool):
        return schema, raw["required"]
    return schema, not (is_optional or "default" in raw)


def typed(words: object, at: str) -> tuple[Json, bool]:
    if isinstance(words, str):
        return schema_of_words(words)
    if words is None:
        return {}, False
    raise UnusableRow(f"{at}.type: expected a type word, found {shown(words)}")


def json_schema(raw: object) -> Any:
    """A schema with JSON's type words in place of Python's, and `required: true` of a property moved to its object.

    Keys without a value are left out: a table of rows fills in each key that any other row has.
    """
    if not isinstance(raw, Mapping):
        return raw
    schema: Json = {}
    for word, value in raw.items():
        if value is None:
            continue
        if word == "type":
            schema |= json_type(value)
        elif word in NAMED_WORDS and isinstance(value, Mapping):
            named = {k: json_schema(v) for k, v in value.items() if v is not None}
            schema[word] = {k: without_flag(v) for k, v in named.items()}
        elif word in DATA_WORDS or word == "required":
            schema[word] = value
        else:
            schema[word] = (
                [json_schema(v) for v in value] if isinstance(value, list) else json_schema(value)
            )
    return with_required(with_typed_enum(schema), raw.get("properties"))


def json_type(value: object) -> Json:
    if isinstance(value, str) and value not in TYPES:
        return schema_of_words(value)[0]
    return {"type": value}


def without_flag(schema: Any) -> Any:
    if isinstance(schema, dict) and isinstance(schema.get("required"), bool):
        return {k: v for k, v in schema.items() if k != "required"}
    return schema


def with_required(schema: Json, properties: object) -> Json:
    if "required" in schema or not isinstance(properties, Mapping):
        return schema
    named = [
        k for k, v in properties.items() if isinstance(v, Mapping) and v.get("required") is True
    ]
    return schema | ({"required": named} if named else {})


def with_typed_enum(schema: Json) -> Json:
    """The schema with numbers in an enum of a numeric type, which some data sets write as text."""
    enum, kind = schema.get("enum"), schema.get("type")
    if kind not in ("integer", "number") or not isinstance(enum, list):
        return schema
    try:
        values = [
            (int if kind == "integer" else float)(v) if isinstance(v, str) else v for v in enum
        ]
    except ValueError:
        return schema
    return schema | {"enum": values}
