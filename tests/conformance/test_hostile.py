"""Schemas made to hang, crash or exhaust what reads them: a clear error or a correct answer, soon and in little memory.

Each is tried in a process of its own, which may take as much CPU time and memory as the limits here say.
"""

import gc
import json
import multiprocessing
import resource
import sys
import time

import pytest
from conformance.answering import compiled, outcome, refutations, says_why, vocabulary, write
from slowness import fastest_within, slowness

from smoldiff.errors import SchemaError, SmoldiffError

MAX_S = 3.0  # two seconds are promised; other machines are slower
MAX_GROWTH_BYTES = 1 << 30
MAX_HANG_S = 10  # of wall time, on a usual machine


def nested(depth, wrap, schema=None):
    schema = schema or {"type": "string"}
    for _ in range(depth):
        schema = wrap(schema)
    return schema


def shared(depth):
    """A Python value of few objects that is exponentially long as JSON."""
    schema = {"type": "string"}
    for _ in range(depth):
        schema = {"anyOf": [schema, schema]}
    return schema


def cyclic():
    schema = {"type": "object", "properties": {}}
    schema["properties"]["a"] = schema
    return schema


def chain(length):
    """References each of which leads to the next."""
    steps = {f"d{idx}": {"$ref": f"#/$defs/d{idx + 1}"} for idx in range(length)}
    return {"$ref": "#/$defs/d0", "$defs": {**steps, f"d{length}": {"type": "null"}}}


def doubling(depth):
    """References that expand to a tree of 2**depth members."""
    steps = {
        f"d{idx}": {
            "type": "object",
            "properties": {name: {"$ref": f"#/$defs/d{idx + 1}"} for name in "ab"},
            "required": ["a", "b"],
        }
        for idx in range(depth)
    }
    return {"$ref": "#/$defs/d0", "$defs": {**steps, f"d{depth}": {"type": "null"}}}


def objects(names):
    return {
        "type": "object",
        "properties": {name: {"enum": [name]} for name in names},
        "required": names,
        "additionalProperties": False,
    }


SPECIAL_NAMES = ["<|im_end|>", "<tool_call>", "</tool_call>", "<|im_start|>", "<|endoftext|>"]
CONTROL_NAMES = ["\0", "\n", "\x1f", "\x7f", "\u2028", "\ufeff", '"', "\\", "\\u0000", "\U0010ffff"]
ODD_NAMES = ["__proto__", "constructor", "", " ", "~0/~1", "%25", "a" * 1_000, "$ref", "type"]

# What must come: "answer", "error", or either.
CASES = {
    "properties nested 10,000 deep": (
        "either",
        lambda: nested(10_000, lambda s: {"properties": {"a": s}}),
    ),
    "required nested 10,000 deep": (
        "error",
        lambda: nested(
            10_000, lambda s: {"type": "object", "properties": {"a": s}, "required": ["a"]}
        ),
    ),
    "items nested 10,000 deep": (
        "either",
        lambda: nested(10_000, lambda s: {"type": "array", "items": s}),
    ),
    "not nested 10,000 deep": ("error", lambda: nested(10_000, lambda s: {"not": s})),
    "allOf nested 10,000 deep": ("either", lambda: nested(10_000, lambda s: {"allOf": [s]})),
    "if nested 10,000 deep": (
        "either",
        lambda: nested(10_000, lambda s: {"if": s, "then": {"type": "null"}}),
    ),
    "const nested 10,000 deep": ("either", lambda: {"const": nested(10_000, lambda s: [s])}),
    "nested 100 deep": (
        "either",
        lambda: nested(100, lambda s: {"properties": {"a": s}, "required": ["a"]}),
    ),
    "oneOf nested 100 deep": (
        "either",
        lambda: nested(100, lambda s: {"oneOf": [s, {"type": "null"}]}),
    ),
    "not nested 150 deep": ("either", lambda: nested(150, lambda s: {"not": s})),
    "one value shared 60 deep": ("error", lambda: shared(60)),
    "a Python value in itself": ("error", cyclic),
    "enum of 100,000 strings": (
        "answer",
        lambda: {"enum": [f"value {idx}" for idx in range(100_000)]},
    ),
    "enum of 100,000 numbers": ("answer", lambda: {"enum": list(range(100_000))}),
    "enum of 100,000 objects": ("either", lambda: {"enum": [{"a": idx} for idx in range(100_000)]}),
    "enum of 100,000 beside a pattern": (
        "either",
        lambda: {"enum": [f"v{idx}" for idx in range(100_000)], "pattern": "^v(1+)+$"},
    ),
    "anyOf of 20,000 constants": (
        "either",
        lambda: {"anyOf": [{"const": idx} for idx in range(20_000)]},
    ),
    "oneOf of 2,000 overlapping strings": (
        "either",
        lambda: {"oneOf": [{"type": "string", "maxLength": idx} for idx in range(2_000)]},
    ),
    "allOf of anyOfs": (
        "either",
        lambda: {
            "allOf": [
                {"anyOf": [{"required": [f"a{i}"]}, {"required": [f"b{i}"]}]} for i in range(40)
            ]
        },
    ),
    "5,000 required properties": (
        "either",
        lambda: objects([f"name{idx}" for idx in range(5_000)]),
    ),
    "50,000 optional properties": (
        "answer",
        lambda: {
            "type": "object",
            "properties": {f"name{idx}": {"type": "null"} for idx in range(50_000)},
        },
    ),
    "a string of 10 MB": ("either", lambda: {"description": "x" * 10_000_000, "type": "null"}),
    "10 MB of properties": (
        "either",
        lambda: {
            "properties": {
                f"a rather long name of a property {idx}": {"type": "string"}
                for idx in range(160_000)
            }
        },
    ),
    "10 MB of $defs": (
        "either",
        lambda: {
            "$defs": {
                f"definition {idx}": {"type": "string", "minLength": 1} for idx in range(180_000)
            },
            "type": "null",
        },
    ),
    "nested repeats": ("either", lambda: {"type": "string", "pattern": "^(a+)+$"}),
    "alternatives repeated": ("either", lambda: {"type": "string", "pattern": "^(a|aa|aaa)*b$"}),
    "a count of counts": (
        "either",
        lambda: {"type": "string", "pattern": "^((a{1,99}){1,99}){1,99}$"},
    ),
    "a count of 100,000": ("either", lambda: {"type": "string", "pattern": "^a{100000}$"}),
    "a late choice": ("either", lambda: {"type": "string", "pattern": "a.{40}$"}),
    "a far look ahead": (
        "either",
        lambda: {"type": "string", "pattern": "^(?=.*a.{30}$)(?=.*b.{30}$)"},
    ),
    "a pattern of 1 MB": ("either", lambda: {"type": "string", "pattern": "a|" * 500_000}),
    "5,000 open brackets": (
        "either",
        lambda: {"type": "string", "pattern": "(" * 5_000 + ")" * 5_000},
    ),
    "a back reference": ("either", lambda: {"type": "string", "pattern": r"^(a*)\1$"}),
    "a broken pattern": ("error", lambda: {"type": "string", "pattern": "("}),
    "catastrophic key patterns": (
        "either",
        lambda: {
            "type": "object",
            "patternProperties": {"^(a+)+$": {"type": "null"}, "^(a|a)*b": False},
            "minProperties": 2,
        },
    ),
    "a reference to itself": ("error", lambda: {"$ref": "#"}),
    "two references to each other": (
        "error",
        lambda: {
            "$ref": "#/$defs/a",
            "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
        },
    ),
    "an object that needs itself": (
        "error",
        lambda: {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
    ),
    "an array that needs itself": (
        "error",
        lambda: {"type": "array", "items": {"$ref": "#"}, "minItems": 1},
    ),
    "not itself": ("error", lambda: {"not": {"$ref": "#"}}),
    "a list that may end": (
        "answer",
        lambda: {
            "type": "object",
            "properties": {"a": {"$ref": "#"}},
            "additionalProperties": False,
        },
    ),
    "a chain of 10,000 references": ("either", lambda: chain(10_000)),
    "references doubled 30 times": ("error", lambda: doubling(30)),
    "a remote reference": ("error", lambda: {"$ref": "http://localhost:1/a.json"}),
    "a file": ("error", lambda: {"$ref": "file:///etc/passwd"}),
    "minItems of 10**9": (
        "error",
        lambda: {"type": "array", "items": {"type": "null"}, "minItems": 10**9},
    ),
    "minItems of 10**9, maxItems of 1": (
        "error",
        lambda: {"type": "array", "minItems": 10**9, "maxItems": 1},
    ),
    "minItems of 100,000": (
        "either",
        lambda: {"type": "array", "items": {"type": "null"}, "minItems": 100_000},
    ),
    "unique booleans, too many": (
        "error",
        lambda: {"type": "array", "items": {"type": "boolean"}, "uniqueItems": True, "minItems": 3},
    ),
    "minLength of 10**9": ("error", lambda: {"type": "string", "minLength": 10**9}),
    "minLength of 100,000": ("either", lambda: {"type": "string", "minLength": 100_000}),
    "maxLength of 10**9": ("answer", lambda: {"type": "string", "maxLength": 10**9}),
    "minLength above maxLength": (
        "error",
        lambda: {"type": "string", "minLength": 3, "maxLength": 2},
    ),
    "minProperties of 10**9": ("error", lambda: {"type": "object", "minProperties": 10**9}),
    "minContains of 10**9": (
        "error",
        lambda: {"type": "array", "contains": {"type": "null"}, "minContains": 10**9},
    ),
    "minimum above maximum": ("error", lambda: {"type": "number", "minimum": 3, "maximum": 2}),
    "a bound of NaN": ("error", lambda: {"type": "number", "minimum": float("nan")}),
    "a bound of infinity": ("error", lambda: {"type": "number", "maximum": float("inf")}),
    "a length of NaN": ("error", lambda: {"type": "string", "maxLength": float("nan")}),
    "a bound of 5,000 digits": ("either", lambda: {"type": "integer", "minimum": 10**5_000}),
    "a bound of 10**400": ("either", lambda: {"type": "integer", "minimum": 10**400}),
    "bounds of floats": (
        "either",
        lambda: {"type": "number", "minimum": 1e308, "exclusiveMaximum": 1.7e308},
    ),
    "a step of 5e-324": ("either", lambda: {"type": "number", "multipleOf": 5e-324}),
    "a step of 1e300": ("answer", lambda: {"type": "number", "multipleOf": 1e300}),
    "a step of a large prime": ("answer", lambda: {"type": "integer", "multipleOf": 2**31 - 1}),
    "steps without a common multiple nearby": (
        "either",
        lambda: {
            "type": "integer",
            "allOf": [{"multipleOf": p} for p in (997, 991, 983, 977)],
            "minimum": 1,
        },
    ),
    "keys like special tokens": ("answer", lambda: objects(SPECIAL_NAMES)),
    "keys of control characters": ("answer", lambda: objects(CONTROL_NAMES)),
    "odd keys": ("answer", lambda: objects(ODD_NAMES)),
    "half a surrogate as a key": ("error", lambda: objects(["\ud800"])),
    "half a surrogate as a value": ("error", lambda: {"const": "\udfff"}),
    "half a surrogate as an escape": ("error", lambda: json.loads(r'{"const": "\ud800"}')),
    "keys that are no strings": (
        "either",
        lambda: {"properties": {1: {"type": "null"}, None: True}},
    ),
    "a schema that is a list in a property": ("error", lambda: {"properties": {"a": [1]}}),
    "an object of Python": ("error", lambda: {"const": object()}),
    "an unheard-of type": ("error", lambda: {"type": "strin"}),
    "an unheard-of draft": ("either", lambda: {"$schema": "http://a.b/c", "type": "null"}),
    "a type of nothing": ("error", lambda: {"type": []}),
    "an enum of nothing": ("error", lambda: {"enum": []}),
}


@pytest.mark.parametrize(("expected", "build"), CASES.values(), ids=CASES)
def test_a_hostile_schema_ends_soon_in_an_answer_or_a_clear_error(expected, build):
    def measure():
        what = alone(build)
        assert what["came"] in ("answer", "error"), what
        assert expected in ("either", what["came"]), what
        assert what["is_right"], what
        assert what["growth_bytes"] < MAX_GROWTH_BYTES, what
        return what["cpu_s"]

    fastest_within(MAX_S, measure)


def alone(build):
    """What came of a schema, in a forked process: memory is counted, and a hang ends."""
    context = multiprocessing.get_context("fork")
    vocabulary()
    outcome({"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"]})
    source, sink = context.Pipe(duplex=False)
    process = context.Process(target=attempt, args=(build, sink))
    process.start()
    sink.close()
    try:
        return source.recv() if source.poll(MAX_HANG_S * slowness()) else {"came": "hang"}
    except EOFError:
        return {"came": "crash"}
    finally:
        process.kill()
        process.join()


def attempt(build, sink):
    gc.freeze()  # what the other tests left is not collected in the time of this one
    schema = build()
    before, started = peak_bytes(), time.process_time()
    try:
        what = tried(schema)
    except BaseException as problem:
        what = {"came": repr(problem)[:300]}
    what["cpu_s"] = time.process_time() - started - what.pop("judging_s", 0)
    what["growth_bytes"] = peak_bytes() - before
    sink.send(what)


def tried(schema):
    try:
        text = write(compiled(schema), 0).text
    except SmoldiffError as error:
        is_right = says_why(error) and (
            not isinstance(error, SchemaError) or is_pointer(error.pointer)
        )
        return {
            "came": "error",
            "is_right": is_right,
            "error": f"{type(error).__name__}: {error}"[:300],
        }
    started = time.process_time()
    found = refutations(schema, text)
    judging_s = time.process_time() - started
    return {
        "came": "answer",
        "is_right": not found,
        "found": found[:1],
        "text": text[:200],
        "judging_s": judging_s,
    }


def is_pointer(text):
    return not text or text.startswith("/")


def peak_bytes():
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
