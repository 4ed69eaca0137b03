"""Answers from random scores, and judges of them that share no code with the library."""

import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import jsonschema
from fakes import byte_tokenizer
from jsonschema.validators import extend, validator_for
from referencing import Registry

from smoldiff.decode.diffusion import write_answer
from smoldiff.decode.grammar import AnswerForm
from smoldiff.decode.judge import judge
from smoldiff.decode.options import DEFAULT_MAX_REMASKS
from smoldiff.decode.scores import RandomScores
from smoldiff.errors import SmoldiffError
from smoldiff.scaffold.compile import compile_schema
from smoldiff.scaffold.scaffold import Scaffold
from smoldiff.template.fits import check_fits
from smoldiff.template.vocabulary import Vocabulary

MAX_TOKENS = 4096
MAX_CPU_S = 2.0
MAX_CHECKED = 1_000  # characters of a schema that jsonschema itself checks in time, and without running out of stack
MERGES = (("t", "r"), ('"', ","), ('"', ":"), ("Ġ", '"'), ("{", '"'), ("0", "0"), ("a", "b"))

_ATOMS = (
    None,
    True,
    False,
    -3,
    -1,
    -0.5,
    0,
    0.5,
    1,
    1.5,
    2,
    3,
    6,
    7,
    10,
    30,
    100,
    12345,
    "",
    "a",
    "b",
    "ab",
    "aab",
    "abab",
)
PROBES = (
    *_ATOMS,
    *(
        "x-a",
        "1",
        "12",
        " ",
        "é",
        "Ab",
        "a b",
        "2024-02-29",
        "a@b.c",
        "1.2.3.4",
        "::1",
        "https://a.b/c",
        "P1D",
        "/a",
        "0",
    ),
    *(
        "12:00:00Z",
        "2024-02-29T12:00:00Z",
        "00000000-0000-0000-0000-000000000000",
        "abcdef",
        "bbbbbbbbbb",
    ),
    *([], {}, [[]], [{}], [[], []], [{}, []], [1, 2, 3], ["a", "b"], [0, "a", None, {}]),
    *([one] for one in _ATOMS),
    *([one, one] for one in _ATOMS),
    *([one, other] for one in (0, "a", None, True) for other in (1, "b", {}, [], False)),
    *({name: one} for name in ("a", "b", "c", "ab", "x-a", "", "1") for one in (*_ATOMS, [], {})),
    *({"a": one, "b": other} for one in (0, "a", None, {}) for other in (1, "b", [], True)),
    *({"a": one, "b": one, "c": one} for one in (0, 1, "a", None, {}, [])),
)
"""Small values: a schema that allows one of them is not unsatisfiable."""


@dataclass(frozen=True)
class Outcome:
    """What came of a schema and a seed: an answer, or the error that says why there is none."""

    answer: Any
    error: SmoldiffError | None
    cpu_s: float


@lru_cache(maxsize=1)
def vocabulary() -> Vocabulary:
    return Vocabulary.of(byte_tokenizer(MERGES))


def compiled(schema: Any, max_calls: int = 1) -> Scaffold:
    """The scaffold, known to fit the vocabulary."""
    scaffold = compile_schema(schema, max_calls=max_calls)
    check_fits(scaffold, vocabulary())
    return scaffold


def write(
    scaffold: Scaffold, seed: int, find: Any = None, *, max_remasks: int = DEFAULT_MAX_REMASKS
) -> Any:
    """An answer from random scores. `find` judges in place of the last gate."""
    return write_answer(
        scaffold,
        vocabulary(),
        RandomScores(seed),
        find or last_gate(scaffold),
        max_tokens=MAX_TOKENS,
        max_remasks=max_remasks,
    )


def last_gate(scaffold: Scaffold) -> Any:
    form = AnswerForm(
        source=scaffold.source,
        call_style=scaffold.call_style,
        json_style=scaffold.json_style,
        max_calls=scaffold.max_calls,
        may_be_text=False,
    )
    return judge(form)


def outcome(schema: Any, seed: int = 0, max_calls: int = 1) -> Outcome:
    """Compile and answer; any exception that is no SmoldiffError comes through."""
    started = time.process_time()
    answer, error = None, None
    try:
        answer = write(compiled(schema, max_calls), seed)
    except SmoldiffError as problem:
        error = problem
    return Outcome(answer, error, time.process_time() - started)


def refutations(schema: Any, text: str) -> list[str]:
    """What is wrong with a text: strict JSON, one style, no key twice, jsonschema with and without formats."""
    found = [*style_errors(text)]
    try:
        value = read(text)
    except ValueError as problem:
        return [*found, f"not JSON: {problem}"]
    written = json.loads(json.dumps(schema))  # JSON's keys are strings
    for name, validator in validators(written).items():
        try:
            error = next(validator.iter_errors(value), None)
        except re.error:  # a pattern of ECMA-262 that Python cannot read, such as \p{L}
            return found
        if error is not None:
            found.append(f"{name}: {error.validator}: {error.message[:200]}")
            break
    return found


def style_errors(text: str) -> list[str]:
    skeleton = re.sub(r'"(?:[^"\\]|\\.)*"', '""', text)
    return [] if re.fullmatch(r"(?:[^\s,:]|, |: )*", skeleton) else [f"spaces: {skeleton[:80]!r}"]


def read(text: str) -> Any:
    """Strict JSON. Raises ValueError for a constant that is no JSON, a key that stands twice, half a surrogate."""
    text.encode()
    value = json.loads(text, parse_constant=_refuse, object_pairs_hook=_members)
    json.dumps(value, ensure_ascii=False).encode()
    return value


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _members(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError(f"a key stands twice: {[name for name, _ in pairs]}")
    return value


def validators(schema: Any) -> dict[str, Any]:
    """jsonschema with formats as annotations and as assertions; nothing is ever fetched."""
    draft = _draft(schema)
    kind = _with_exact_steps_and_null(draft)
    found = {"format on": kind(schema, registry=Registry(), format_checker=draft.FORMAT_CHECKER)}
    if not may_negate_format(schema):
        found["format off"] = kind(schema, registry=Registry())
    return found


def may_negate_format(schema: Any) -> bool:
    """Whether a value of a format may be wrong where any text would be right, or one too many."""
    text = json.dumps(schema, default=repr)
    negations = ("not", "oneOf", "if", "maxContains", "dependentSchemas")
    return '"format":' in text and any(f'"{word}":' in text for word in negations)


def witness(schema: Any) -> Any:
    """A list of one small value that jsonschema finds valid, formats asserted; None where none of those tried is.

    Words and formats of one draft count in others too, as they do where a schema is read.
    """
    validator, newest = validators(schema)["format on"], jsonschema.Draft202012Validator
    known = {**jsonschema.Draft7Validator.VALIDATORS, **newest.VALIDATORS}
    kind = extend(type(validator), {**known, **validator.VALIDATORS})
    later = kind(schema, registry=Registry(), format_checker=newest.FORMAT_CHECKER)
    return next(
        ([value] for value in PROBES if validator.is_valid(value) and later.is_valid(value)), None
    )


def _draft(schema: Any) -> Any:
    named = validator_for(schema, default=None)
    if named is not None:
        return named
    unnamed = (
        jsonschema.Draft202012Validator,
        jsonschema.Draft7Validator,
        jsonschema.Draft4Validator,
    )
    if len(json.dumps(schema)) > MAX_CHECKED:
        return unnamed[0]
    for kind in unnamed:
        if next(kind(kind.META_SCHEMA).iter_errors(schema), None) is None:
            return kind
    return unnamed[0]


@lru_cache(maxsize=8)
def _with_exact_steps_and_null(draft: Any) -> Any:
    """The draft with multipleOf in exact decimals, which floats get wrong, and OpenAPI's `nullable`."""

    def unless_null(keyword: Any) -> Any:
        def check(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
            is_nullable = schema.get("nullable") is True and isinstance(schema.get("type"), str)
            return (
                ()
                if instance is None and is_nullable
                else keyword(validator, value, instance, schema)
            )

        return check

    words = {word: unless_null(draft.VALIDATORS[word]) for word in ("type", "enum")}
    if "$recursiveRef" in draft.VALIDATORS:
        words["unevaluatedProperties"] = _unevaluated_2019
    return extend(draft, {**words, "multipleOf": _multiple_of})


def _unevaluated_2019(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
    """jsonschema 4.26 forgets in 2019-09, and only there, that additionalProperties evaluates what it looks at."""
    drafts = (jsonschema.Draft201909Validator, jsonschema.Draft202012Validator)
    keywords = (draft.VALIDATORS["unevaluatedProperties"] for draft in drafts)
    found = [list(keyword(validator, value, instance, schema)) for keyword in keywords]
    return found[0] if all(found) else ()


def _multiple_of(validator: Any, step: float, instance: Any, schema: Any) -> Any:
    del schema
    if validator.is_type(instance, "number") and Fraction(repr(instance)) % Fraction(repr(step)):
        yield jsonschema.ValidationError(f"{instance!r} is not a multiple of {step}")


def says_why(error: SmoldiffError) -> bool:
    """Whether the message says where and what: more than a word, on one line, no Python repr of an exception."""
    text = str(error)
    return len(text.split()) >= 3 and "\n" not in text and "Traceback" not in text
