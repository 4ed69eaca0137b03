"""Strings and numbers as nodes: the tightest of all bounds that hold."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

from smoldiff.errors import UnsatisfiableSchema
from smoldiff.schema.conjunction import Conjunction
from smoldiff.schema.nodes import Const, Enum, Integer, Node, Number, String
from smoldiff.schema.part import Schema

Bound = int | float | None
_MAX_LISTED = 1_000  # a longer range keeps its gaps, and the last gate sees to them


def build_string(conjunction: Conjunction) -> String:
    if conjunction.says_only_types:
        return String(conjunction.pointer)
    schemas = [fact.schema for fact in conjunction.ordered_facts]
    shortest = int(max(_found(schemas, "minLength"), default=0))
    longest = min(_found(schemas, "maxLength"), default=None)
    if longest is not None:
        longest = int(longest)
        if shortest > longest:
            raise UnsatisfiableSchema(
                conjunction.pointer, f"minLength {shortest} is above maxLength {longest}"
            )
    return String(
        conjunction.pointer,
        shortest,
        longest,
        tuple(dict.fromkeys(_found(schemas, "pattern"))),
        tuple(dict.fromkeys(_found(schemas, "format"))),
        (*dict.fromkeys(conjunction.excluded_patterns), *_excluded_texts(conjunction)),
    )


def _excluded_texts(conjunction: Conjunction) -> tuple[str, ...]:
    """A pattern for the strings that the value may not be."""
    texts = [value for value in conjunction.excluded_values if isinstance(value, str)]
    if not texts:
        return ()
    return (f"^(?:{'|'.join(map(literal_pattern, dict.fromkeys(texts)))})$",)


def literal_pattern(text: str) -> str:
    """An ECMA 262 pattern that only this text matches, without anchors."""
    return re.sub(r"[\\^$.*+?()\[\]{}|/]", r"\\\g<0>", text)


def build_number(conjunction: Conjunction) -> Number:
    is_fractional = "integer" in conjunction.excluded_types
    if conjunction.says_only_types:
        return Number(conjunction.pointer, is_fractional=is_fractional)
    schemas = [fact.schema for fact in conjunction.ordered_facts]
    low, above, high, below = _bounds(schemas)
    step = _step(schemas)
    node = Number(conjunction.pointer, low, high, above, below, step, is_fractional)
    lowest = max((v for v in (low, above) if v is not None), default=-math.inf)
    highest = min((v for v in (high, below) if v is not None), default=math.inf)
    is_open = lowest == above or highest == below
    if lowest > highest or (lowest == highest and is_open):
        raise UnsatisfiableSchema(
            conjunction.pointer, f"no number is from {lowest} to {highest} within these bounds"
        )
    if node.multiple_of is not None and _is_between_steps(node.multiple_of, lowest, highest):
        raise UnsatisfiableSchema(
            conjunction.pointer,
            f"no multiple of {node.multiple_of} is from {lowest} to {highest}",
        )
    return node


def build_integer(conjunction: Conjunction) -> Node:
    if conjunction.says_only_types:
        return Integer(conjunction.pointer)
    schemas = [fact.schema for fact in conjunction.ordered_facts]
    low, above, high, below = _bounds(schemas)
    lows = [math.ceil(v) for v in (low,) if v is not None] + [
        math.floor(v) + 1 for v in (above,) if v is not None
    ]
    highs = [math.floor(v) for v in (high,) if v is not None] + [
        math.ceil(v) - 1 for v in (below,) if v is not None
    ]
    least, most = max(lows, default=None), min(highs, default=None)
    node = Integer(conjunction.pointer, least, most, _step(schemas))
    if least is None or most is None:
        return node
    step = None if node.multiple_of is None else _whole_step(node.multiple_of)
    if least > most or (step is not None and _is_between_steps(step, least, most)):
        raise UnsatisfiableSchema(conjunction.pointer, f"no integer is from {least} to {most}")
    return _without_excluded(node, least, most, conjunction)


def _without_excluded(node: Integer, least: int, most: int, conjunction: Conjunction) -> Node:
    """A short range with gaps as the list of what is left."""
    excluded = {value for value in conjunction.excluded_values if _is_plain_number(value)}
    if not excluded or node.multiple_of is not None or most - least >= _MAX_LISTED:
        return node
    texts = tuple(str(value) for value in range(least, most + 1) if value not in excluded)
    if not texts:
        raise UnsatisfiableSchema(node.pointer, f"no integer from {least} to {most} is left")
    return Const(node.pointer, texts[0]) if len(texts) == 1 else Enum(node.pointer, texts)


def _is_plain_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _found(schemas: Iterable[Schema], word: str) -> list[Any]:
    return [schema[word] for schema in schemas if word in schema]


def _bounds(schemas: list[Schema]) -> tuple[Bound, Bound, Bound, Bound]:
    """The inclusive and the exclusive lower bound, then the upper ones."""
    lows = [_pair(schema, "minimum", "exclusiveMinimum") for schema in schemas]
    highs = [_pair(schema, "maximum", "exclusiveMaximum") for schema in schemas]
    low, above = (
        max((pair[side] for pair in lows if pair[side] is not None), default=None)
        for side in (0, 1)
    )
    high, below = (
        min((pair[side] for pair in highs if pair[side] is not None), default=None)
        for side in (0, 1)
    )
    return low, above, high, below


def _pair(schema: Schema, word: str, exclusive_word: str) -> tuple[Any, Any]:
    """The inclusive and the exclusive bound; in draft 4 the exclusive word is a boolean about the other."""
    bound, exclusive = schema.get(word), schema.get(exclusive_word)
    if isinstance(exclusive, bool):
        return (None, bound) if exclusive else (bound, None)
    return bound, exclusive


def _step(schemas: list[Schema]) -> int | float | None:
    """What the number is a multiple of: the least common multiple of all steps, read as they are written."""
    steps = list(dict.fromkeys(_found(schemas, "multipleOf")))
    if len(steps) < 2:
        return steps[0] if steps else None
    common = Fraction(str(steps[0]))
    for step in steps[1:]:
        common = _least_common_multiple(common, Fraction(str(step)))
    return int(common) if common.denominator == 1 else float(common)


def _least_common_multiple(first: Fraction, second: Fraction) -> Fraction:
    return Fraction(
        math.lcm(first.numerator, second.numerator), math.gcd(first.denominator, second.denominator)
    )


def _whole_step(step: int | float) -> int:
    """The least whole number that is a multiple of the step."""
    return Fraction(str(step)).numerator


def _is_between_steps(step: int | float, low: float, high: float) -> bool:
    """Whether no multiple lies within bounds that are both finite."""
    if -math.inf in (low, high) or math.inf in (low, high):
        return False
    exact = Fraction(str(step))
    return math.ceil(Fraction(str(low)) / exact) * exact > Fraction(str(high))
