"""Which words of JSON Schema constrain a value, and what value each must have.

Every other word constrains nothing: JSON Schema calls it an annotation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from decimal import Decimal

from smoldiff.errors import InvalidSchema
from smoldiff.schema.pointers import child

OBJECT_WORDS = frozenset(
    {
        "properties",
        "patternProperties",
        "additionalProperties",
        "unevaluatedProperties",
        "propertyNames",
        "required",
        "minProperties",
        "maxProperties",
        "dependentRequired",
        "dependentSchemas",
        "dependencies",
    }
)
ARRAY_WORDS = frozenset(
    {
        "items",
        "prefixItems",
        "additionalItems",
        "unevaluatedItems",
        "contains",
        "minContains",
        "maxContains",
        "minItems",
        "maxItems",
        "uniqueItems",
    }
)
STRING_WORDS = frozenset({"minLength", "maxLength", "pattern", "format"})
NUMBER_WORDS = frozenset(
    {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
)
KIND_WORDS = {
    "object": OBJECT_WORDS,
    "array": ARRAY_WORDS,
    "string": STRING_WORDS,
    "number": NUMBER_WORDS,
}
# A word that says something of the members of a value, or of their number: each such schema object is kept as a fact.
FACT_WORDS = OBJECT_WORDS | ARRAY_WORDS | STRING_WORDS | NUMBER_WORDS
REF_WORDS = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})
HONOURED = (
    FACT_WORDS
    | REF_WORDS
    | {"type", "enum", "const", "allOf", "anyOf", "oneOf", "not", "if", "then", "else"}
)

# They constrain, but say nothing to the nodes: words of draft 3, left to the grammar and the last gate.
LEFT_TO_GRAMMAR = frozenset({"extends", "disallow", "divisibleBy"})

# What stands under the first is data and no schema; under the second, each name has a schema, whatever the name is.
DATA_WORDS = frozenset({"enum", "const", "default", "examples", "example"})
NAMED_WORDS = frozenset(
    {
        "properties",
        "patternProperties",
        "dependentSchemas",
        "dependencies",
        "$defs",
        "definitions",
    }
)

TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")


def is_number(value: object) -> bool:
    """An int or a finite float or Decimal, and no bool."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return is_whole or (isinstance(value, float | Decimal) and math.isfinite(value))


def is_count(value: object) -> bool:
    """A whole number from 0 on; JSON Schema lets it be written 2.0."""
    return is_number(value) and value >= 0 and value == int(value)  # type: ignore[operator, call-overload]


def is_schema(value: object) -> bool:
    return isinstance(value, dict | bool)


def is_name_list(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def is_type(value: object) -> bool:
    names = value if isinstance(value, list) else [value]
    return bool(names) and all(isinstance(name, str) and name in TYPES for name in names)


def _is_schema_list(value: object) -> bool:
    return isinstance(value, list) and bool(value)


def _is_items(value: object) -> bool:
    return is_schema(value) or isinstance(value, list)


def _is_name_lists(value: object) -> bool:
    return isinstance(value, dict) and all(map(is_name_list, value.values()))


def _is_schemas(value: object) -> bool:
    return isinstance(value, dict) and all(map(is_schema, value.values()))


def _is_dependencies(value: object) -> bool:
    return isinstance(value, dict) and all(
        is_schema(part) or isinstance(part, str) or is_name_list(part) for part in value.values()
    )


Check = tuple[Callable[[object], bool], str]
_COUNT: Check = (is_count, "a whole number from 0 on")
_NUMBER: Check = (is_number, "a number")
_BOUND: Check = (lambda v: is_number(v) or isinstance(v, bool), "a number")
_STEP: Check = (lambda v: is_number(v) and v > 0, "a number above 0")  # type: ignore[operator]
_SCHEMAS: Check = (_is_schema_list, "a list with at least one schema")
_SCHEMA: Check = (is_schema, "a schema (an object or a boolean)")
_NAMED: Check = (lambda v: isinstance(v, dict), "an object of schemas")
_TEXT: Check = (lambda v: isinstance(v, str), "a string")

KINDS: dict[str, Check] = {
    "type": (is_type, "one of " + ", ".join(TYPES) + ", or a list of them"),
    "enum": (lambda v: isinstance(v, list), "a list of values"),
    "$id": _TEXT,
    "$ref": _TEXT,
    "$dynamicRef": _TEXT,
    "$recursiveRef": _TEXT,
    "allOf": _SCHEMAS,
    "anyOf": _SCHEMAS,
    "oneOf": _SCHEMAS,
    "not": _SCHEMA,
    "if": _SCHEMA,
    "then": _SCHEMA,
    "else": _SCHEMA,
    "properties": _NAMED,
    "patternProperties": _NAMED,
    "required": (is_name_list, "a list of property names"),
    "additionalProperties": _SCHEMA,
    "unevaluatedProperties": _SCHEMA,
    "propertyNames": _SCHEMA,
    "minProperties": _COUNT,
    "maxProperties": _COUNT,
    "dependentRequired": (_is_name_lists, "an object of lists of property names"),
    "dependentSchemas": (_is_schemas, "an object of schemas"),
    "dependencies": (_is_dependencies, "an object of schemas or lists of property names"),
    "items": (_is_items, "a schema, or a list of schemas"),
    "prefixItems": _SCHEMAS,
    "additionalItems": _SCHEMA,
    "unevaluatedItems": _SCHEMA,
    "contains": _SCHEMA,
    "minContains": _COUNT,
    "maxContains": _COUNT,
    "minItems": _COUNT,
    "maxItems": _COUNT,
    "uniqueItems": (lambda v: isinstance(v, bool), "true or false"),
    "minLength": _COUNT,
    "maxLength": _COUNT,
    "pattern": _TEXT,
    "format": _TEXT,
    "minimum": _NUMBER,
    "maximum": _NUMBER,
    "exclusiveMinimum": _BOUND,
    "exclusiveMaximum": _BOUND,
    "multipleOf": _STEP,
}


def check_words(schema: Mapping[str, object], pointer: str) -> None:
    """Raise InvalidSchema where an honoured word has a value of the wrong kind."""
    for word, value in schema.items():
        check = KINDS.get(word)
        if check is not None and not check[0](value):
            raise InvalidSchema(
                child(pointer, word), f"{word} must be {check[1]}, not {show(value)}"
            )


def show(value: object) -> str:
    """A value as it stands in a message: short, on one line."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
