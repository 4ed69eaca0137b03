"""The jsonschema validator of a schema, with this library's judgement of some keywords in it."""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from typing import Any

from jsonschema.protocols import Validator
from jsonschema.validators import extend, validator_for
from referencing import Registry

from smoldiff.schema import assertions, evaluated, references
from smoldiff.schema.dialect import validator_class

_KEYWORDS = {
    "multipleOf": assertions.multiple_of,
    "divisibleBy": assertions.multiple_of,
    "uniqueItems": assertions.unique_items,
    "enum": assertions.enum,
    "const": assertions.const,
    "format": assertions.format_,
    "pattern": assertions.pattern,
    "patternProperties": assertions.pattern_properties,
    "additionalProperties": assertions.additional_properties,
    "unevaluatedProperties": evaluated.unevaluated_properties,
    "unevaluatedItems": evaluated.unevaluated_items,
    "$ref": references.reference,
    "$dynamicRef": references.reference,
    "$recursiveRef": references.recursive_reference,
}


def judge(schema: Any, exact_schema: Any) -> Validator:
    """A validator of exact values. `exact_schema` is the schema with its numbers read exactly."""
    return _judging(validator_class(schema))(exact_schema, registry=Registry())


@lru_cache(maxsize=16)
def _judging(draft: type[Validator]) -> type[Validator]:
    """A draft's validator class with our keywords, of those that the draft knows."""
    types = draft.TYPE_CHECKER
    takes_whole_floats = types.is_type(1.0, "integer")  # not in the oldest drafts

    def is_integer(_: object, value: Any) -> bool:
        if isinstance(value, Decimal):
            return takes_whole_floats and value == value.to_integral_value()
        return types.is_type(value, "integer")

    words: dict[str, Any] = {"type": assertions.quick_type(draft.VALIDATORS["type"])}
    words |= {word: _KEYWORDS[word] for word in _KEYWORDS.keys() & draft.VALIDATORS.keys()}
    extended: Any = extend(  # type: ignore[no-untyped-call]
        draft,
        validators=words,
        type_checker=types.redefine("integer", is_integer),
    )
    extended.evolve = _evolve
    return extended


def _evolve(validator: Any, *, schema: Any, _resolver: Any = None) -> Any:
    """The validator of a part of the schema, judging with our keywords there too; jsonschema's own would not."""
    kind = type(validator)
    if type(schema) is dict and "$schema" in schema:
        named = validator_for(schema, default=kind)
        kind = kind if named is kind else _judging(named)
    return kind(schema, registry=validator._registry, _resolver=_resolver or validator._resolver)
