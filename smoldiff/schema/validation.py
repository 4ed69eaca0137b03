"""Whether a value is valid under a schema, and what is wrong with it. jsonschema judges, and its exceptions end here.

Numbers are read as they are written, so 19.99 is a multiple of 0.01 (a server that reads floats may differ). A number of more
digits than a float keeps must be valid as that float too. Nothing is ever fetched.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from itertools import groupby, islice
from typing import Any, TypeVar
from urllib.parse import quote

from jsonschema.exceptions import UnknownType, ValidationError, best_match
from jsonschema.protocols import Validator

from smoldiff.errors import InvalidSchema, UnsupportedSchema
from smoldiff.schema.assertions import Unjudgeable
from smoldiff.schema.drafts import judge
from smoldiff.schema.pointers import child
from smoldiff.schema.references import new_trail
from smoldiff.schema.wellformed import check_schemas

MAX_FAULTS = 1_000
"""Errors of a value that are looked into: of more, the first."""

_MAX_SHOWN = 100  # characters of a value or a keyword in a message

T = TypeVar("T")


class Exact(Decimal):
    """A number as it is written, in messages too."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


UNJUDGED = "unjudged"
"""The keyword of a fault that no keyword is guilty of: the value could not be judged."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a value: `pointer` says where in it, `keyword` which keyword of the schema says so.

    `missing` are the keys that the keyword `required` asks for in vain.
    """

    pointer: str
    problem: str
    keyword: str = ""
    missing: tuple[str, ...] = ()


def decoder(*, is_exact: bool) -> json.JSONDecoder:
    """Reads JSON with floats, or with exact numbers for `first_error`.

    Raises ValueError for NaN and Infinity, for a number that no float can hold or an integer that Python cannot read,
    and, with exact numbers, for a key that stands twice in one object.
    """
    return json.JSONDecoder(
        parse_float=_exact if is_exact else _float,
        parse_int=_integer,
        parse_constant=_refuse_constant,
        object_pairs_hook=_object if is_exact else None,
    )


def first_error(value: Any, schema: Any, inside: str = "", at: str = "") -> Fault | None:
    """The most telling fault of a value, read by the exact `decoder`, under the part of a schema at `inside`.

    Of more than MAX_FAULTS errors, of the first. Raises UnsupportedSchema, at a pointer below `at`, where the schema's
    pattern or reference cannot be used.
    """

    def first(errors: Iterable[ValidationError]) -> Fault | None:
        error = best_match(islice(errors, MAX_FAULTS))
        return None if error is None else _fault(error)

    return _judged(value, schema, inside, at, first, lambda fault: fault)


def faults(value: Any, schema: Any, inside: str = "", at: str = "") -> list[Fault]:
    """Everything that is wrong with the value, deepest first; nothing for a valid one.

    Where no branch of a union holds, the faults of the branch that went furthest, and the union's own behind them.
    Of more than MAX_FAULTS errors, the first. Raises as `first_error` does.
    """

    def everything(errors: Iterable[ValidationError]) -> list[Fault]:
        found = [one for error in islice(errors, MAX_FAULTS) for one in _leaves(error)]
        return sorted(found, key=lambda fault: -fault.pointer.count("/"))

    return _judged(value, schema, inside, at, everything, lambda fault: [fault])


def _judged(
    value: Any,
    schema: Any,
    inside: str,
    at: str,
    read: Callable[[Iterable[ValidationError]], T],
    failed: Callable[[Fault], T],
) -> T:
    validator = _prepared(schema, at)
    try:
        with new_trail():
            found = read(_errors(validator, value, inside))
        kept = value if found else _kept_by_floats(value)
        if kept is value:
            return found
        with new_trail():
            return read(_errors(validator, kept, inside))
    except Unjudgeable as problem:
        pointer = _pointer(problem.schema, problem.keyword, validator.schema, at)
        raise UnsupportedSchema(pointer, problem.problem) from None
    except UnknownType as problem:
        pointer = _pointer(problem.schema, "type", validator.schema, at)
        raise UnsupportedSchema(pointer, f"there is no type {problem.type!r}") from None
    except (AttributeError, TypeError, ArithmeticError) as problem:
        _check_schemas(validator.schema, at)
        # Some forms are read by the parser, but not by this draft's validator: a list as `items` in 2020-12.
        raise UnsupportedSchema(at, f"a part of it cannot be judged: {problem}") from problem
    except BaseException as problem:
        if not _is_overflow(problem):
            raise
        return failed(Fault("", "nested too deeply to be checked", UNJUDGED))


def _kept_by_floats(value: Any) -> Any:
    """The value with its numbers as they are written after floats have held them; itself where none changes.

    Itself too where it is nested more deeply than Python can follow.
    """

    def kept(one: Any) -> Any:
        match one:
            case Exact():
                as_float = Exact(repr(float(one)))
                return one if as_float == one else as_float
            case list():
                items = [kept(item) for item in one]
                return one if all(map(operator.is_, items, one)) else items
            case dict():
                members = {name: kept(member) for name, member in one.items()}
                return one if all(map(operator.is_, members.values(), one.values())) else members
            case _:
                return one

    try:
        return kept(value)
    except RecursionError:
        return value


def _check_schemas(schema: Any, at: str) -> None:
    """Raise UnsupportedSchema where a word has a value of the wrong kind, which jsonschema stumbles over."""
    try:
        check_schemas(schema, at)
    except InvalidSchema as problem:
        raise UnsupportedSchema(problem.pointer, problem.problem) from None


def _errors(validator: Any, value: Any, inside: str) -> Iterator[ValidationError]:
    if inside:
        return validator.descend(value, {"$ref": "#" + quote(inside)})
    return validator.iter_errors(value)


def _leaves(error: ValidationError) -> Iterator[Fault]:
    if error.context:
        for inner in min(_branches(error), key=_distance):
            yield from _leaves(inner)
    yield _fault(error)


def _branches(error: ValidationError) -> list[list[ValidationError]]:
    # A branch that is just `false` has no path.
    branches = groupby(error.context or (), key=lambda inner: [*inner.relative_schema_path][:1])
    return [list(errors) for _, errors in branches]


def _distance(branch: list[ValidationError]) -> tuple[int, int, int]:
    """How far a value is from a branch: wrong at its top before wrong below, another kind of value before the rest."""
    depths = [(len(error.relative_path), error.validator not in _KINDS) for error in branch]
    shallowest, is_same_kind = min(depths)
    return -shallowest, -is_same_kind, len(branch)


_KINDS = frozenset({"type", "const", "enum"})


def _fault(error: ValidationError) -> Fault:
    keyword = error.validator or "false"
    missing: tuple[str, ...] = ()
    if keyword == "required" and isinstance(error.instance, dict):
        names: Any = error.validator_value
        missing = tuple(name for name in names if name not in error.instance)
    return Fault(child("", *error.absolute_path), _message(error), str(keyword), missing)


def _message(error: ValidationError) -> str:
    message = error.message
    if len(message) <= 2 * _MAX_SHOWN:
        return message
    for whole in (repr(error.instance), repr(error.validator_value)):
        message = message.replace(whole, _short(whole))
    return _short(message, 4 * _MAX_SHOWN)


def _short(text: str, most: int = _MAX_SHOWN) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."


def _pointer(part: Any, keyword: str, document: Any, at: str) -> str:
    """The pointer of a keyword in a part of a document, that very object; `at` itself where it is not there."""
    todo: list[tuple[str, Any]] = [(at, document)]
    while todo:
        pointer, value = todo.pop()
        if value is part:
            return child(pointer, keyword)
        steps = value.items() if isinstance(value, dict) else enumerate(value)
        todo += [(child(pointer, step), one) for step, one in steps if isinstance(one, dict | list)]
    return at


def _is_overflow(problem: BaseException) -> bool:
    """Whether the stack ran out; inside rpds, which jsonschema uses, that is a panic of Rust, and no Exception."""
    return isinstance(problem, RecursionError) or type(problem).__name__ == "PanicException"


def _prepared(schema: Any, at: str) -> Any:
    if not isinstance(schema, dict | bool):
        raise UnsupportedSchema(at, "a schema must be an object or a boolean")
    try:
        return _validator(json.dumps(schema))
    except RecursionError:
        raise UnsupportedSchema(at, "nested too deeply to be checked") from None
    except (TypeError, ValueError) as problem:
        raise UnsupportedSchema(at, f"not JSON: {problem}") from None
    except AttributeError as problem:  # of a library that takes an identifier for a text
        raise UnsupportedSchema(at, f"a part of it cannot be read: {problem}") from problem


@lru_cache(maxsize=256)
def _validator(schema_text: str) -> Validator:
    return judge(json.loads(schema_text), decoder(is_exact=True).decode(schema_text))


def _exact(text: str) -> Exact:
    return Exact(text) if _float(text) else Exact(0)


def _float(text: str) -> float:
    number = float(text)
    is_lost = number == 0 and re.search("[1-9]", re.split("[eE]", text)[0])
    if math.isinf(number) or is_lost:
        raise ValueError(f"number out of range: {text[:80]}")
    return number


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"number out of range: an integer of {len(text)} digits") from None


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(members)
    if len(value) < len(members):
        twice = Counter(name for name, _ in members).most_common(1)[0][0]
        raise ValueError(f"the key {_short(repr(twice))} stands twice in one object")
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
