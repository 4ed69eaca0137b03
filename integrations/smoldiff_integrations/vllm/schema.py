"""What a request's answer must look like, from what vLLM gives its own grammar engine, as scaffolds.

vLLM keeps it in `sampling_params.structured_outputs`: a JSON schema, or a structural tag, which holds the text around
each tool's call and the schema inside.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from smoldiff.decode.request import MAX_CALLS
from smoldiff.errors import SchemaError
from smoldiff.scaffold.answer import CallStyle
from smoldiff.scaffold.compile import compile_schema
from smoldiff.scaffold.scaffold import Scaffold
from smoldiff.scaffold.style import COMPACT, SPACED, JsonStyle
from smoldiff.template.vocabulary import Vocabulary

TOOL_MARK = "# smoldiff tool: "
"""In front of a tool in the first line of a grammar that our tool parser writes; a comment to the grammar's reader."""
_BEGIN = re.compile(
    r'(?P<frame>.*?)\{"(?P<name_key>\w+)": (?P<name>"(?:[^"\\]|\\.)*"), "(?P<arguments_key>\w+)": ',
    re.DOTALL,
)


class NoScaffold(Exception):
    """Nothing can be drafted for a request; the message is a short reason, counted by it."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """The scaffolds of an answer, the likeliest style first; more than one where whitespace is free."""

    scaffolds: tuple[Scaffold, ...]

    @property
    def has_calls(self) -> bool:
        """Whether the answer holds calls, with text in front of them perhaps; else it is one JSON value."""
        return bool(self.scaffolds[0].source.tools)


def is_schema(structured_outputs: Any) -> bool:
    """Whether vLLM's StructuredOutputsParams are of a kind that may be drafted for; None is not."""
    kinds = ("json", "structural_tag")
    return any(getattr(structured_outputs, kind, None) is not None for kind in kinds)


def has_schema(sampling_params: Any) -> bool:
    """Whether a request with vLLM's SamplingParams may be drafted for; None, as of a pooling request, may not."""
    return is_schema(getattr(sampling_params, "structured_outputs", None))


def constraint_of(
    structured_outputs: Any, styles: Sequence[JsonStyle], vocabulary: Vocabulary
) -> Constraint:
    """What may be drafted under vLLM's StructuredOutputsParams. Raises NoScaffold.

    styles: how the server's grammar lets a bare JSON answer be spaced, the likeliest first.
    """
    schema, tag = structured_outputs.json, structured_outputs.structural_tag
    try:
        if schema is not None:
            value = json.loads(schema) if isinstance(schema, str) else schema
            return Constraint(tuple(compile_schema(value, json_style=one) for one in styles))
        if tag is not None:
            return _of_tag(json.loads(tag), vocabulary)
    except SchemaError as problem:
        raise NoScaffold("schema") from problem
    raise NoScaffold("kind")


def styles_of(is_fixed: bool, has_blanks: bool) -> tuple[JsonStyle, ...]:
    """The styles of a bare JSON answer: the one that the server asks for, or the one that models like best first."""
    if is_fixed:
        return (SPACED,) if has_blanks else (COMPACT,)
    return (SPACED, COMPACT)


@dataclass(frozen=True, slots=True)
class _Tagged:
    """One tool of a structural tag."""

    style: CallStyle
    tool: Mapping[str, Any]
    is_fixed: bool
    """Whether its arguments can be spaced in one way only."""


def _of_tag(tag: Mapping[str, Any], vocabulary: Vocabulary) -> Constraint:
    """The calls that a structural tag allows, in the first frame that it gives them."""
    root = tag.get("format")
    if not isinstance(root, Mapping):
        raise NoScaffold("tag")
    groups = [node for node in _nodes(root) if isinstance(node.get("tags"), list)]
    if len(groups) != 1:
        raise NoScaffold("tag")
    (group,) = groups
    separator = str(group.get("separator", "")) if group["type"] == "tags_with_separator" else "\n"
    found = [_tagged(one, separator) for one in group["tags"]]
    first = [one for one in found if one.style == found[0].style]
    frame = first[0].style.begin + first[0].style.end + separator
    special = tuple(text for text in vocabulary.added if text in frame)
    style = replace(first[0].style, special=special)
    styles = (SPACED,) if all(one.is_fixed for one in first) else (SPACED, COMPACT)
    tools = [one.tool for one in first]
    max_calls = 1 if group.get("stop_after_first") else MAX_CALLS
    return Constraint(
        tuple(
            compile_schema(tools, call_style=style, json_style=one, max_calls=max_calls)
            for one in styles
        )
    )


def _nodes(node: object) -> Iterator[Mapping[str, Any]]:
    """The formats inside a format; schemas are none."""
    if isinstance(node, Mapping):
        yield node
        for key in ("content", "elements", "tags"):
            yield from _nodes(node.get(key))
    elif isinstance(node, list):
        for one in node:
            yield from _nodes(one)


def _tagged(tag: Mapping[str, Any], separator: str) -> _Tagged:
    begin, end, content = tag.get("begin"), tag.get("end"), tag.get("content")
    read = _BEGIN.fullmatch(begin) if isinstance(begin, str) else None
    if (
        read is None
        or not isinstance(end, str)
        or end[:1] != "}"
        or not isinstance(content, Mapping)
    ):
        raise NoScaffold("tag")
    style = CallStyle(
        read["frame"], end[1:], separator, read["name_key"], read["arguments_key"], special=()
    )
    tool, is_fixed = _tool(json.loads(read["name"]), content)
    return _Tagged(style, tool, is_fixed)


def _tool(name: str, content: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
    match content.get("type"):
        case "grammar" if str(content.get("grammar", "")).startswith(TOOL_MARK):
            line = content["grammar"].partition("\n")[0]
            return json.loads(line.removeprefix(TOOL_MARK)), True
        case "json_schema" if content.get("style", "json") == "json":
            schema = content.get("json_schema")
            if isinstance(schema, Mapping):
                return {"name": name, "parameters": schema}, False
            raise NoScaffold("free arguments")
        case _:
            raise NoScaffold("tag")
