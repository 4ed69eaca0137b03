"""Whether a value is valid under a schema. The one place where jsonschema judges, and its exceptions end here.

Numbers are read as they are written, so 19.99 is a multiple of 0.01. Nothing is ever fetched.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, localcontext
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from jsonschema import FormatChecker
from jsonschema.exceptions import UnknownType, ValidationError, best_match
from jsonschema.protocols import Validator
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from smoldiff.errors import UnsupportedSchema
from smoldiff.schema.dialect import validator_class
from smoldiff.schema.pointers import child

_DIGITS = 6000  # more than Python reads of an integer (4300), and 632 that a quotient of floats has


class Exact(Decimal):
    """A number as it is written, in messages too."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a value; `pointer` says where in it."""

    pointer: str
    problem: str


def decoder(*, is_exact: bool) -> json.JSONDecoder:
    """Reads JSON with floats, or with exact numbers for `first_error`.

    Raises ValueError for NaN and Infinity, and for a number that no float can hold.
    """
    return json.JSONDecoder(
        parse_float=_exact if is_exact else _float, parse_constant=_refuse_constant
    )


def first_error(value: Any, schema: Any, inside: str = "", at: str = "") -> Fault | None:
    """What is wrong with a value, read by the exact `decoder`, under the part of a schema at the pointer `inside`.

    Raises UnsupportedSchema at the pointer `at` where the schema's pattern or reference cannot be used.
    """
    try:
        return _first_fault(_validator(json.dumps(schema)), value, inside)
    except re.error as problem:
        refusal = f"Python's re cannot read the pattern {problem.pattern!r}: {problem.msg}"
    except Unresolvable as problem:
        refusal = f"the reference {problem.ref!r} leads nowhere in this schema, and nothing is ever fetched"
    except UnknownType as problem:
        refusal = f"there is no type {problem.type!r}"
    except BaseException as problem:
        if not _is_overflow(problem):
            raise
        return Fault("", "nested too deeply to be checked")
    raise UnsupportedSchema(at, refusal)


def _first_fault(validator: Any, value: Any, inside: str) -> Fault | None:
    errors = (
        validator.descend(value, {"$ref": "#" + quote(inside)})
        if inside
        else validator.iter_errors(value)
    )
    error = best_match(errors)
    return error and Fault(child("", *error.absolute_path), error.message)


def _is_overflow(problem: BaseException) -> bool:
    """Whether the stack ran out; inside rpds, which jsonschema uses, that is a panic of Rust, and no Exception."""
    return isinstance(problem, RecursionError) or type(problem).__name__ == "PanicException"


def _exact(text: str) -> Exact:
    return Exact(text) if _float(text) else Exact(0)


def _float(text: str) -> float:
    number = float(text)
    is_lost = number == 0 and re.search("[1-9]", re.split("[eE]", text)[0])
    if math.isinf(number) or is_lost:
        raise ValueError(f"number out of range: {text[:80]}")
    return number


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


@lru_cache(maxsize=256)
def _validator(schema_text: str) -> Validator:
    draft = _with_exact_numbers(validator_class(json.loads(schema_text)))
    schema = decoder(is_exact=True).decode(schema_text)
    return draft(schema, registry=Registry(), format_checker=FormatChecker())


@lru_cache(maxsize=16)
def _with_exact_numbers(draft: type[Validator]) -> type[Validator]:
    types = draft.TYPE_CHECKER
    takes_whole_floats = types.is_type(1.0, "integer")  # not in the oldest drafts

    def is_integer(_: object, value: Any) -> bool:
        if isinstance(value, Decimal):
            return takes_whole_floats and value == value.to_integral_value()
        return types.is_type(value, "integer")

    words = {"multipleOf", "divisibleBy"} & draft.VALIDATORS.keys()
    extended: type[Validator] = extend(  # type: ignore[no-untyped-call]
        draft,
        validators=dict.fromkeys(words, _multiple_of),
        type_checker=types.redefine("integer", is_integer),
    )
    return extended


def _multiple_of(
    validator: Any, step: Any, number: Any, schema: object
) -> Iterator[ValidationError]:
    if not validator.is_type(number, "number"):
        return
    with localcontext(prec=_DIGITS):
        rest = Decimal(number) % step
    if rest:
        yield ValidationError(f"{number!r} is not a multiple of {step}")
