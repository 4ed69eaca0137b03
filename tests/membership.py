"""Which values a node admits, in a few lines that share nothing with the parser's own judgement of values."""

import json
from fractions import Fraction

from smoldiff.schema import equality, formats
from smoldiff.schema.matching import matches
from smoldiff.schema.nodes import (
    ALL_TYPES,
    Array,
    Boolean,
    Const,
    Enum,
    Integer,
    Number,
    Object,
    Opaque,
    String,
    Union,
)

PYTHON_TYPES = dict(zip(ALL_TYPES, (dict, list, str, (int, float), bool, type(None)), strict=True))


def admits(node, value):
    match node:
        case Const():
            return equality.is_among(value, [json.loads(node.text)])
        case Enum():
            return equality.is_among(value, [json.loads(text) for text in node.texts])
        case Boolean():
            return is_of(value, "boolean")
        case Integer() | Number():
            return is_of(value, "number") and is_number_of(node, value)
        case String():
            return is_of(value, "string") and is_string_of(node, value)
        case Opaque():
            return any(is_of(value, name) for name in node.types)
        case Union():
            return any(admits(branch, value) for branch in node.branches)
        case Array():
            return is_of(value, "array") and is_array_of(node, value)
        case Object():
            return is_of(value, "object") and is_object_of(node, value)


def is_of(value, name):
    is_bool = isinstance(value, bool)
    return isinstance(value, PYTHON_TYPES[name]) and (name == "boolean" or not is_bool)


def is_number_of(node, value):
    above = getattr(node, "exclusive_minimum", None)
    below = getattr(node, "exclusive_maximum", None)
    step = node.multiple_of
    return (
        (isinstance(node, Number) or value == int(value))
        and (node.minimum is None or value >= node.minimum)
        and (node.maximum is None or value <= node.maximum)
        and (above is None or value > above)
        and (below is None or value < below)
        and (step is None or Fraction(str(value)) % Fraction(str(step)) == 0)
    )


def is_string_of(node, value):
    return (
        node.min_length <= len(value)
        and (node.max_length is None or len(value) <= node.max_length)
        and all(matches(pattern, value) for pattern in node.patterns)
        and not any(matches(pattern, value) for pattern in node.excluded)
        and all(formats.conforms(value, name) for name in node.formats)
    )


def is_array_of(node, value):
    prefix, rest = value[: len(node.prefix)], value[len(node.prefix) :]
    return (
        len(value) >= node.min_items
        and (node.max_items is None or len(value) <= node.max_items)
        and (not node.is_unique or equality.is_unique(value))
        and all(admits(part, item) for part, item in zip(node.prefix, prefix, strict=False))
        and has_contained(node, rest, node.contained)
    )


def has_contained(node, items, wanted):
    """Whether each of `wanted` has an item of its own, and every other item is as `node.items` says."""
    if not wanted:
        return all(node.items is not None and admits(node.items, item) for item in items)
    return any(
        admits(wanted[0], item) and has_contained(node, items[:idx] + items[idx + 1 :], wanted[1:])
        for idx, item in enumerate(items)
    )


def is_object_of(node, value):
    named = {one.name: one for one in node.properties}
    return (
        len(value) >= node.min_properties
        and (node.max_properties is None or len(value) <= node.max_properties)
        and all(one.name in value for one in node.properties if one.is_required)
        and all(name in value for key, names in node.needs if key in value for name in names)
        and all(
            admits(named[key].node, part) if key in named else is_other(node, key, part)
            for key, part in value.items()
        )
    )


def is_other(node, key, value):
    return key not in node.forbidden and any(
        is_string_of(kind.keys, key) and admits(kind.node, value) for kind in node.others
    )
