"""What of a call's arguments may stay: values that are valid under the schema and sure enough.

They become constants of the schema, so that every mode and drafter keeps them, and what is left open is written anew.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from smoldiff.decode.confidence import is_inside
from smoldiff.decode.foreign import ForeignCall, is_json, values
from smoldiff.schema.dialect import validator_class
from smoldiff.schema.pointers import child
from smoldiff.schema.source import Source
from smoldiff.schema.validation import Fault, decoder, faults

CLOSING = frozenset({"additionalProperties", "unevaluatedProperties"})
UNIONS = frozenset({"anyOf", "oneOf"})
MENDABLE = frozenset({"required", "dependentRequired", "dependencies", "minProperties"}) | CLOSING
"""Keywords whose faults are mended by what is written besides the values that are there."""


@dataclass(frozen=True, eq=False)
class Keeping:
    """A call's arguments, less the keys that the schema does not know."""

    arguments: Any
    faults: tuple[Fault, ...]
    """What is still wrong with them."""
    kept: Mapping[str, float]
    """The pointers of the values that may stay, each with its confidence, 1 where none is known; in order."""

    @property
    def is_whole(self) -> bool:
        """Whether nothing has to be written anew."""
        return not self.faults and all(at in self.kept for at, _ in values(self.arguments))

    @property
    def doubtful(self) -> tuple[str, ...]:
        """The pointers of the values that are written anew, and of objects that lack something."""
        lacking = (fault.pointer for fault in self.faults if fault.keyword in MENDABLE)
        changed = (at for at, _ in values(self.arguments) if at not in self.kept)
        return tuple(dict.fromkeys([*changed, *lacking]))

    def surest(self, num_dropped: int) -> frozenset[str]:
        """The values that may stay, less that many of the least sure."""
        return frozenset(sorted(self.kept, key=self.kept.__getitem__)[num_dropped:])


def keep_sure(call: ForeignCall, schema: Any, least: float) -> Keeping:
    """What of the call may stay under a schema, where its confidence is known to be `least` or is not known.

    Raises UnsupportedSchema where the schema cannot be judged by.
    """
    arguments = _without_unknown(call.arguments, schema)
    found = _faults(arguments, schema)
    faulty, lacking = _faulty(found), {fault.pointer for fault in found}
    kept = {}
    for pointer, value in values(arguments):
        chance = _confidence(pointer, call.confidence)
        is_wrong = pointer in lacking or any(is_inside(pointer, at) for at in faulty)
        if is_json(value) and not is_wrong and chance >= least:
            kept[pointer] = chance
    return Keeping(arguments, tuple(found), kept)


def _confidence(pointer: str, confidence: Mapping[str, float]) -> float:
    """That of the nearest value around a pointer of which one is known; 1 where none is."""
    around = [at for at in confidence if is_inside(pointer, at)]
    return confidence[max(around, key=len)] if around else 1.0


def _faults(value: Any, schema: Any) -> list[Fault]:
    text = json.dumps(_judgeable(value))
    return faults(decoder(is_exact=True).decode(text), {} if schema is None else schema)


def _judgeable(value: Any) -> Any:
    """The value with null in place of what JSON cannot hold; that is not kept in any case."""
    if isinstance(value, dict):
        return {key: _judgeable(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_judgeable(one) for one in value]
    return value if is_json(value) else None


def _faulty(found: list[Fault]) -> set[str]:
    """Where a value is wrong itself. A union's own fault says no more than those of its branch."""
    plain = {fault.pointer for fault in found if fault.keyword not in MENDABLE | UNIONS}
    told = {fault.pointer for fault in found if fault.keyword not in UNIONS}
    unions = {fault.pointer for fault in found if fault.keyword in UNIONS}
    return plain | {at for at in unions if not any(is_inside(one, at) for one in told)}


def _without_unknown(value: Any, schema: Any) -> Any:
    """The value without the keys that no part of the schema allows."""
    while True:
        closed = {f.pointer for f in _faults(value, schema) if f.keyword in CLOSING}
        unknown = {key for at in closed for key in _unknown(value, at, schema)}
        if not unknown:
            return value
        value = _without(value, unknown)


def _unknown(value: Any, at: str, schema: Any) -> Iterator[str]:
    """The pointers of the keys of an object that are refused there, each tried as the only one."""
    members = dict(_at(value, at))
    for key in members:
        alone = _without(value, {child(at, other) for other in members if other != key})
        if any(f.pointer == at and f.keyword in CLOSING for f in _faults(alone, schema)):
            yield child(at, key)


def _at(value: Any, pointer: str) -> Any:
    return value if not pointer else dict(_inside("", value, pointer))[pointer]


def _inside(at: str, value: Any, pointer: str) -> Iterator[tuple[str, Any]]:
    """The values on the way to a pointer."""
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for key, one in inside:
        below = child(at, key)
        if is_inside(pointer, below):
            yield below, one
            if below != pointer:
                yield from _inside(below, one, pointer)


def _without(value: Any, pointers: set[str], at: str = "") -> Any:
    """A copy less the members of objects at these pointers."""
    if isinstance(value, list):
        return [_without(one, pointers, child(at, idx)) for idx, one in enumerate(value)]
    if not isinstance(value, dict):
        return value
    inside = ((key, child(at, key), one) for key, one in value.items())
    return {
        key: _without(one, pointers, below) for key, below, one in inside if below not in pointers
    }


def narrowed(source: Source, keeping: Keeping, kept: frozenset[str]) -> Source:
    """The source in which the values at the pointers `kept` are constants. It has one tool, or a bare schema."""
    if not kept:
        return source
    if not source.tools:
        as_given = source.given_schema
        return replace(
            source,
            schema=_with(source.schema, keeping, kept),
            given_schema=None if as_given is None else _with(as_given, keeping, kept),
        )
    (tool,) = source.tools
    as_given = tool.given_parameters
    tool = replace(
        tool,
        parameters=_with(tool.parameters, keeping, kept),
        given_parameters=None if as_given is None else _with(as_given, keeping, kept),
    )
    return replace(source, tools=(tool,))


def constant(source: Source, keeping: Keeping) -> Source:
    """The source in which the arguments, all of them valid, are a constant."""
    only = {"enum": [keeping.arguments]}
    if not source.tools:
        as_given = source.judging_schema
        return Source((), only, as_given if isinstance(as_given, dict) else None)
    (tool,) = source.tools
    return replace(
        source,
        tools=(replace(tool, parameters=only, given_parameters=tool.judging_parameters),),
    )


def _with(schema: Any, keeping: Keeping, kept: frozenset[str]) -> dict[str, Any]:
    """The schema with the constants beside all that it says; a $ref moves, since older drafts read nothing beside one."""
    said = schema if isinstance(schema, dict) else {"allOf": [schema is not False]}
    word = "prefixItems" if validator_class(said).__name__ == "Draft202012Validator" else "items"
    constants = _Constants(keeping, kept, word).of(keeping.arguments, "")
    refs = [{"$ref": said["$ref"]}] if "$ref" in said else []
    rest = {key: value for key, value in said.items() if key != "$ref"}
    return {**rest, "allOf": [*said.get("allOf", []), *refs, constants]}


@dataclass(frozen=True, slots=True)
class _Constants:
    """Kept values as a schema. Objects of which all is kept and right get no further members."""

    keeping: Keeping
    kept: frozenset[str]
    word: str
    """The keyword for items by position."""

    def of(self, value: Any, at: str) -> dict[str, Any]:
        """The schema of all values that agree with the kept ones at a pointer and below; {} where there are none."""
        if self._is_all_kept(value, at):
            return {"enum": [value]}
        if isinstance(value, dict):
            found = {key: self.of(one, child(at, key)) for key, one in value.items()}
            inside = {key: one for key, one in found.items() if one}
            return {"type": "object", "properties": inside, "required": [*inside]} if inside else {}
        if isinstance(value, list):
            items = [self.of(one, child(at, idx)) for idx, one in enumerate(value)]
            size = {"type": "array", "minItems": len(items), "maxItems": len(items)}
            return {**size, self.word: items} if any(items) else {}
        return {}

    def _is_all_kept(self, value: Any, at: str) -> bool:
        has_faults = any(is_inside(fault.pointer, at) for fault in self.keeping.faults)
        return not has_faults and all(at + inner in self.kept for inner, _ in values(value))
