"""Following references inside one document while a value is judged: never fetched, never without end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from referencing.exceptions import Unresolvable
from referencing.jsonschema import lookup_recursive_ref

from smoldiff.errors import InvalidSchema
from smoldiff.schema.assertions import Errors, Unjudgeable
from smoldiff.schema.wellformed import check_schemas

MAX_REFERENCES = 20_000
"""References followed while one value is judged."""

TARGETS = ("$ref", "$dynamicRef", "$recursiveRef")


@dataclass(slots=True)
class _Trail:
    """What is known while one value is judged. Schemas and values go by their ids: all of them outlive it."""

    num_followed: int = 0
    open: set[tuple[str, int, int]] = field(default_factory=set)
    """What is being judged by what: why, the schema, the value."""
    verdicts: dict[tuple[int, int, tuple[str, ...]], bool] = field(default_factory=dict)
    """By schema, value and the documents through which a dynamic reference looks."""


_TRAIL: ContextVar[_Trail] = ContextVar("_TRAIL")


@contextmanager
def new_trail() -> Iterator[None]:
    """The judgement of one value, in which references are counted."""
    token = _TRAIL.set(_Trail())
    try:
        yield
    finally:
        _TRAIL.reset(token)


def reference(validator: Any, target: Any, value: Any, schema: Any) -> Errors:
    """The keywords `$ref` and `$dynamicRef`."""
    keyword = "$ref" if schema.get("$ref") is target else "$dynamicRef"
    with followed(validator, keyword, value, schema) as resolved:
        yield from validator.descend(value, resolved.contents, resolver=resolved.resolver)


def recursive_reference(validator: Any, target: Any, value: Any, schema: Any) -> Errors:
    """The keyword `$recursiveRef`."""
    with followed(validator, "$recursiveRef", value, schema) as resolved:
        yield from validator.descend(value, resolved.contents, resolver=resolved.resolver)


@contextmanager
def followed(
    validator: Any, keyword: str, value: Any, schema: Any, why: str = "judged"
) -> Iterator[Any]:
    """What a reference points to, while a value is judged by it. Raises Unjudgeable."""
    resolved = _resolved(validator, keyword, schema)
    trail = _TRAIL.get()
    trail.num_followed += 1
    step = (why, id(resolved.contents), id(value))
    if trail.num_followed > MAX_REFERENCES:
        raise Unjudgeable(schema, keyword, f"more than {MAX_REFERENCES} references to follow")
    if step in trail.open:
        raise Unjudgeable(
            schema, keyword, f"the reference {schema[keyword]!r} leads only to itself"
        )
    trail.open.add(step)
    try:
        yield resolved
    except (AttributeError, TypeError, ArithmeticError):
        _check_target(resolved.contents, schema, keyword)
        raise
    finally:
        trail.open.discard(step)


def _check_target(target: Any, schema: Any, keyword: str) -> None:
    """Raise Unjudgeable where a reference leads to what is no schema, which jsonschema stumbles over."""
    try:
        check_schemas(target, "")
    except InvalidSchema as problem:
        raise Unjudgeable(
            schema,
            keyword,
            f"the reference {schema[keyword]!r} leads to what is no schema: {problem.problem}",
        ) from None


def holds(validator: Any, value: Any, part: Any) -> bool:
    """Whether a value satisfies a part of a schema; found out once, or nested questions would double at each level."""
    scope = tuple(uri for uri, _ in validator._resolver.dynamic_scope())
    verdicts, question = _TRAIL.get().verdicts, (id(part), id(value), scope)
    if question not in verdicts:
        verdicts[question] = next(validator.descend(value, part), None) is None
    return verdicts[question]


def _resolved(validator: Any, keyword: str, schema: Any) -> Any:
    try:
        if keyword == "$recursiveRef":
            return lookup_recursive_ref(validator._resolver)
        return validator._resolver.lookup(schema[keyword])
    except (Unresolvable, ValueError):  # urllib's, of what is no URI
        problem = f"the reference {schema[keyword]!r} leads nowhere in this schema, and nothing is ever fetched"
        raise Unjudgeable(schema, keyword, problem) from None
