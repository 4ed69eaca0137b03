"""Random values drawn from nodes validate: measured on the official suite, where it is there."""

import json
import random
import re
import tarfile
from fractions import Fraction
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from referencing.exceptions import Unresolvable

from smoldiff.automata.errors import NoAutomaton
from smoldiff.automata.regex import compile_pattern
from smoldiff.errors import SchemaError
from smoldiff.schema.matching import matches
from smoldiff.schema.nodes import (
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
from smoldiff.schema.parse import parse_schema

SUITE = Path(__file__).parents[4] / "shared" / "data" / "json_schema_test_suite.tar.gz"
NUM_TRIES = 20

FORMATS = {
    "date": "2024-02-29",
    "date-time": "2024-02-29T12:00:00Z",
    "time": "12:00:00Z",
    "duration": "P1D",
    "email": "a@b.de",
    "idn-email": "a@b.de",
    "hostname": "a.de",
    "idn-hostname": "a.de",
    "ipv4": "1.2.3.4",
    "ipv6": "::1",
    "uri": "http://a.de/",
    "uri-reference": "/a",
    "iri": "http://a.de/",
    "iri-reference": "/a",
    "uuid": "123e4567-e89b-12d3-a456-426614174000",
    "uri-template": "/a",
    "json-pointer": "/a",
    "relative-json-pointer": "0",
    "regex": "a*",
}


class NoSample(Exception):
    """No value was found in a few tries."""


def sample(node, rng, depth=0):
    match node:
        case Const():
            return json.loads(node.text)
        case Enum():
            return json.loads(rng.choice(node.texts))
        case Boolean():
            return rng.random() < 0.5
        case Integer() | Number():
            return _number(node, rng)
        case String():
            return _string(node, rng)
        case Opaque():
            return _anything(node, rng)
        case Union():
            return _first(
                [
                    lambda b=b: sample(b, rng, depth + 1)
                    for b in rng.sample(node.branches, len(node.branches))
                ]
            )
        case Array():
            return _array(node, rng, depth)
        case Object():
            return _object(node, rng, depth)


def _first(makers):
    error = NoSample()
    for make in makers:
        try:
            return make()
        except NoSample as problem:
            error = problem
    raise error


def _anything(node, rng):
    values = {"object": {}, "array": [], "string": "x", "number": 7, "boolean": True, "null": None}
    return values[rng.choice(node.types)]


def _number(node, rng):
    low, high = node.minimum, node.maximum
    above = getattr(node, "exclusive_minimum", None)
    below = getattr(node, "exclusive_maximum", None)
    lows = [Fraction(str(v)) for v in (low, above) if v is not None]
    highs = [Fraction(str(v)) for v in (high, below) if v is not None]
    lowest = max(lows, default=min(highs, default=Fraction(5)) - 5)
    highest = min(highs, default=lowest + 10)
    step = Fraction(str(node.multiple_of)) if node.multiple_of else None
    if isinstance(node, Integer) and (step is None or step.denominator != 1):
        step = Fraction(1) if step is None else Fraction(step.numerator)
    for _ in range(20):
        value = lowest + (highest - lowest) * Fraction(rng.choice([0, 1, rng.random(), 0.5]))
        if step is not None:
            value = round(value / step) * step
        value = int(value) if value.denominator == 1 else float(value)
        exact = Fraction(str(value))
        if (
            exact < lowest
            or exact > highest
            or (above is not None and exact <= Fraction(str(above)))
        ):
            continue
        if below is not None and exact >= Fraction(str(below)):
            continue
        return value
    raise NoSample(node)


def _string(node, rng):
    for _ in range(30):
        if node.formats:
            text = FORMATS.get(node.formats[0], "x")
        elif node.patterns:
            text = _of_pattern(rng.choice(node.patterns), rng)
        else:
            longest = (
                node.min_length + 4
                if node.max_length is None
                else min(node.max_length, node.min_length + 4)
            )
            text = "".join(
                rng.choice("abcxyz") for _ in range(rng.randint(node.min_length, longest))
            )
        text += "a" * max(0, min(node.min_length - len(text), 50))
        if node.max_length is not None and len(text) > node.max_length:
            continue
        if (
            len(text) >= node.min_length
            and all(matches(p, text) for p in node.patterns)
            and not any(matches(p, text) for p in node.excluded)
        ):
            return text
    raise NoSample(node)


def _of_pattern(pattern, rng):
    """A text of the pattern's automaton, by a random walk over printable characters."""
    try:
        dfa = compile_pattern(pattern)
    except NoAutomaton:
        raise NoSample(pattern) from None
    if dfa.is_empty:
        raise NoSample(pattern)
    state, data = 0, bytearray()
    for _ in range(60):
        if dfa.accepts[state] and rng.random() < 0.4:
            break
        bytes_ = [b for b in range(32, 127) if dfa.table[state, b] >= 0] or [
            b for b in range(256) if dfa.table[state, b] >= 0
        ]
        if not bytes_:
            break
        byte = rng.choice(bytes_)
        data.append(byte)
        state = dfa.table[state, byte]
    return data.decode(errors="ignore")


def _array(node, rng, depth):
    behind = len(node.prefix) + len(node.contained) if node.contained else 0
    fewest = max(node.min_items, behind)
    most = len(node.prefix) if node.items is None else node.max_items
    most = min(fewest + 2, fewest + 2 if most is None else most)
    count = rng.randint(fewest, max(fewest, most)) if depth < 8 else fewest
    if count > 2000:
        raise NoSample(node)
    values = []
    for idx in range(count):
        part = node.prefix[idx] if idx < len(node.prefix) else node.items
        if node.contained and idx >= count - len(node.contained):
            part = node.contained[idx - count]
        if part is None:
            raise NoSample(node)
        for _ in range(20):
            value = sample(part, rng, depth + 1)
            if not node.is_unique or all(repr(value) != repr(other) for other in values):
                break
        values.append(value)
    return values


def _object(node, rng, depth):
    optional = [p.name for p in node.properties if not p.is_required]
    names = {p.name for p in node.properties if p.is_required}
    names |= {name for name in optional if rng.random() < (0.5 if depth < 4 else 0.1)}
    while len(names) < node.min_properties and set(optional) - names:
        names.add(rng.choice(sorted(set(optional) - names)))
    needs = dict(node.needs)
    values = {}
    for _ in range(5):
        names |= {n for key in list(names) for n in needs.get(key, ())}
    if node.max_properties is not None and len(names) > node.max_properties:
        names = {p.name for p in node.properties if p.is_required}
    for p in node.properties:
        if p.name in names:
            try:
                values[p.name] = sample(p.node, rng, depth + 1)
            except NoSample:
                if p.is_required:
                    raise
    known = {p.name for p in node.properties} | set(node.forbidden)
    extra = [n for n in sorted(names) if n not in values and n not in known]
    goal = max(node.min_properties, len(values) + rng.choice([0, 0, 1]) if depth < 5 else 0)
    if node.max_properties is not None:
        goal = min(goal, node.max_properties)
    for _ in range(30):
        if not node.others or (len(values) >= goal and not extra):
            break
        kind = rng.choice(node.others)
        try:
            key = extra.pop() if extra else _string(kind.keys, rng)
            if key not in known and key not in values:
                values[key] = sample(kind.node, rng, depth + 1)
        except NoSample:
            continue
    if len(values) < node.min_properties:
        raise NoSample(node)
    return values


def groups():
    """The groups of draft 2020-12 that have a valid instance, remote references left out."""
    if not SUITE.exists():
        pytest.skip(f"{SUITE} is not here: random values were not tried")
    with tarfile.open(SUITE) as tar:
        for member in tar.getmembers():
            path = Path(member.name)
            if path.parent.name != "draft2020-12" or path.parents[1].name != "tests":
                continue
            if path.suffix == ".json" and path.name != "refRemote.json":
                for group in json.load(tar.extractfile(member)):
                    if any(test["valid"] for test in group["tests"]):
                        yield group["schema"]


def num_valid(schema, rng):
    node, validator = parse_schema(schema), Draft202012Validator(schema)
    found = 0
    for _ in range(NUM_TRIES):
        try:
            found += validator.is_valid(sample(node, rng))
        except NoSample:
            continue
    return found


def test_values_drawn_from_the_nodes_of_the_suite_are_valid():
    rng, counts = random.Random(0), []
    for schema in groups():
        try:
            counts.append(num_valid(schema, rng))
        except (SchemaError, Unresolvable):
            counts.append(0)
        except re.error:
            continue  # jsonschema reads patterns as Python does, so it cannot judge here
    assert sum(count > 0 for count in counts) / len(counts) >= 0.95
    assert sum(counts) / len(counts) / NUM_TRIES >= 0.93


KEYWORDS = [
    {"type": "object", "minProperties": 2, "properties": {"a": {"type": "integer"}}},
    {"type": "object", "patternProperties": {"^a": {"type": "integer"}, "b$": {"minimum": 3}}},
    {"type": "object", "propertyNames": {"pattern": "^[a-c]{2}$"}, "minProperties": 1},
    {"type": "object", "dependentRequired": {"a": ["b"], "b": ["c"]}, "required": ["a"]},
    {"type": "array", "contains": {"type": "integer", "minimum": 5}, "maxItems": 3},
    {"type": "array", "items": {"enum": [1, 2, 3]}, "uniqueItems": True, "minItems": 2},
    {"not": {"type": "object", "required": ["a"]}, "type": ["object", "string"]},
    {"oneOf": [{"minimum": 2}, {"maximum": 5}], "type": "integer"},
    {"if": {"type": "integer"}, "then": {"minimum": 3}, "else": {"const": "x"}},
    {"allOf": [{"minLength": 2}, {"pattern": "^a"}, {"not": {"pattern": "b"}}], "type": "string"},
    {
        "type": "object",
        "allOf": [{"properties": {"a": {"type": "string"}}}],
        "properties": {"b": {"type": "null"}},
        "unevaluatedProperties": {"type": "boolean"},
    },
]


@pytest.mark.parametrize("schema", KEYWORDS, ids=str)
def test_most_values_of_a_keyword_are_valid(schema):
    assert num_valid(schema, random.Random(1)) >= NUM_TRIES // 2
