"""Which part of an answer is wrong, whatever may still follow it.

A part of a schema applies to a value without condition where only properties, items, allOf and references lead to it.
A value that breaks such a part is wrong by itself, so the innermost such value is found by judging each value alone.
Where a condition is broken (oneOf, not, if, ...), the value that the condition speaks of is the guilty part.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeGuard
from urllib.parse import unquote

from smoldiff.decode.grammar import AnswerForm
from smoldiff.decode.spans import Member, Part, arguments, members
from smoldiff.schema.dialect import validator_class
from smoldiff.schema.pointers import child, steps
from smoldiff.schema.validation import decoder, first_error

_EXACT = decoder(is_exact=True)


def find_guilty(text: str, form: AnswerForm) -> Part | None:
    """The first part of a whole answer that nothing behind it can make right; None where all arguments are valid."""
    for part, tool in arguments(text, form.source, form.call_style):
        schema = form.source.judging_schema if tool is None else tool.judging_parameters
        judge = Judge(text, {} if schema is None else schema)
        if judge.is_wrong(part, [""]):
            return judge.innermost(part)
    return None


@dataclass(frozen=True)
class Judge:
    """Judges parts of a text by parts of a schema, which are named by their pointers."""

    text: str
    schema: Any

    def is_wrong(self, part: Part, pointers: Sequence[str]) -> bool:
        """Whether the value breaks one of these parts of the schema, or cannot be read at all."""
        try:
            value = _EXACT.decode(self.text[part.start : part.end])
            json.dumps(
                value, ensure_ascii=False, default=str
            ).encode()  # half a surrogate pair cannot be
        except (ValueError, RecursionError):
            return True
        return any(first_error(value, self.schema, pointer) for pointer in pointers)

    def innermost(self, part: Part) -> Part:
        """The first innermost part that is wrong by itself, inside a value that the whole schema refuses."""
        pointers = [""]
        while (found := self._wrong_member(part, list(self._applied(pointers)))) is not None:
            part, pointers = found
        return self._cut_at_length(part, pointers)

    def _cut_at_length(self, part: Part, pointers: Sequence[str]) -> Part:
        """A string that is too long is wrong from its first character too many on."""
        limits = [s["maxLength"] for _, s in self._applied(pointers) if "maxLength" in s]
        written = self.text[part.start : part.end]
        if limits and written.startswith('"') and "\\" not in written:
            return Part(part.start, min(part.end, part.start + 2 + int(min(limits))))
        return part

    def _wrong_member(
        self, part: Part, applied: Sequence[tuple[str, Mapping[str, Any]]]
    ) -> tuple[Part, list[str]] | None:
        """The first wrong key or value with the pointers that apply to it."""
        for member in members(self.text, part):
            inner = [p for at, schema in applied for p in self._of_member(at, schema, member.key)]
            if member.name is not None:
                by_name = [child(at, "propertyNames") for at, s in applied if "propertyNames" in s]
                if self.is_wrong(member.name, by_name):
                    return member.name, by_name
                if any(self._at(p) is False for p in inner) or _is_unevaluated(inner, applied):
                    return member.name, []
            if self.is_wrong(member.value, inner):
                return member.value, inner
            if self._is_too_much(part, member, applied):
                return member.name or member.value, []
        return None

    def _is_too_much(
        self, part: Part, member: Member, applied: Sequence[tuple[str, Mapping[str, Any]]]
    ) -> bool:
        """Whether the members up to this one break a limit that further members cannot mend."""
        limits = ITEM_LIMITS if member.name is None else KEY_LIMITS
        words = [
            {w: s[w]} for _, s in applied for w in limits if w in s and _can_only_grow(w, s[w])
        ]
        close = "]" if member.name is None else "}"
        cut = Judge(self.text[part.start : member.value.end] + close, {"allOf": words})
        return bool(words) and cut.is_wrong(Part(0, len(cut.text)), [""])

    def _applied(self, pointers: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """These parts of the schema, and those that they refer to or are made of."""
        todo, seen = list(reversed(pointers)), set()
        while todo:
            pointer = todo.pop()
            schema = self._at(pointer)
            if pointer in seen or not isinstance(schema, Mapping):
                continue
            seen.add(pointer)
            ref = schema.get("$ref")
            if _is_pointer(ref):
                todo.append(unquote(ref[1:]))
            if ref is not None and not self._reads_beside_refs:
                continue
            todo += [child(pointer, "allOf", i) for i in range(len(schema.get("allOf", ())))]
            yield pointer, schema

    @cached_property
    def _words(self) -> frozenset[str]:
        return frozenset(validator_class(self.schema).VALIDATORS)

    @property
    def _reads_beside_refs(self) -> bool:
        return "unevaluatedItems" in self._words  # from 2019-09 on

    def _of_member(self, at: str, schema: Mapping[str, Any], key: str | int) -> Iterator[str]:
        """Pointers to what a schema says of the member at `key`."""
        if isinstance(key, int):
            yield from self._of_item(at, schema, key)
            return
        is_named = key in schema.get("properties", {})
        if is_named:
            yield child(at, "properties", key)
        for pattern in schema.get("patternProperties", {}):
            if re.search(pattern, key):
                is_named = True
                yield child(at, "patternProperties", pattern)
        if not is_named and "additionalProperties" in schema:
            yield child(at, "additionalProperties")

    def _of_item(self, at: str, schema: Mapping[str, Any], idx: int) -> Iterator[str]:
        listed, rest = (
            ("prefixItems", "items")
            if "prefixItems" in self._words
            else ("items", "additionalItems")
        )
        first = schema.get(listed, [])
        if not isinstance(first, list):
            yield child(at, listed)
        elif idx < len(first):
            yield child(at, listed, idx)
        elif rest in schema and (listed in schema or rest == "items"):
            yield child(at, rest)

    def _at(self, pointer: str) -> Any:
        """The part of the schema at a pointer; None where there is none."""
        schema = self.schema
        for step in steps(pointer):
            if isinstance(schema, list):
                schema = schema[int(step)] if step.isdigit() and int(step) < len(schema) else None
            else:
                schema = schema.get(step) if isinstance(schema, Mapping) else None
        return schema


def _is_unevaluated(inner: Sequence[str], applied: Sequence[tuple[str, Mapping[str, Any]]]) -> bool:
    """Whether a key is refused because nothing speaks of it, and nothing could do so on some condition."""
    words = {word for _, schema in applied for word in schema}
    is_closed = any(schema.get("unevaluatedProperties") is False for _, schema in applied)
    is_known = all("$ref" not in schema or _is_pointer(schema["$ref"]) for _, schema in applied)
    return is_closed and is_known and not inner and not words & CONDITIONS


def _is_pointer(ref: Any) -> TypeGuard[str]:
    return isinstance(ref, str) and (ref == "#" or ref.startswith("#/"))


CONDITIONS = frozenset({"anyOf", "oneOf", "if", "dependentSchemas", "$dynamicRef", "$recursiveRef"})
ITEM_LIMITS = ("uniqueItems", "maxItems")
KEY_LIMITS = ("maxProperties", "not")


def _can_only_grow(word: str, value: Any) -> bool:
    """Whether a container that breaks this keyword still breaks it with more members."""
    return word != "not" or (isinstance(value, Mapping) and value.keys() == {"required"})
