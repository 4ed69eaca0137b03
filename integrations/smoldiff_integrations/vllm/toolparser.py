"""A Hermes tool parser whose grammar leaves no choice of whitespace, and tells our drafts each tool's schema."""

from __future__ import annotations

import json
from typing import Any

import xgrammar
from vllm.tool_parsers.hermes_tool_parser import Hermes2ProToolParser
from xgrammar.structural_tag import GrammarFormat, JSONSchemaFormat, TagFormat

from smoldiff.scaffold.style import SPACED
from smoldiff_integrations.vllm.schema import TOOL_MARK

try:
    from vllm.tool_parsers.tool_strict_level import ToolStrictLevel

    STRICT_LEVEL: Any = ToolStrictLevel.PARAMETER
except ImportError:  # before 0.32 arguments follow their schema anyway
    STRICT_LEVEL = None


class SmoldiffToolParser(Hermes2ProToolParser):
    """Hermes calls as chat templates write them: one frame, and JSON with ", " and ": "."""

    default_tool_strict_level = STRICT_LEVEL

    def get_structural_tag(self, request: Any, **kwargs: Any) -> Any:
        tag = super().get_structural_tag(request, **kwargs)
        group: Any = getattr(tag, "format", None)
        if not hasattr(group, "tags"):
            return tag
        described = {name: tool for tool in request.tools or () for name, tool in _named(tool)}
        group.tags = [_fixed(one, described) for one in _first_frame(group.tags)]
        return tag


def _named(tool: Any) -> list[tuple[str, dict[str, Any]]]:
    function = getattr(tool, "function", tool)
    name = getattr(function, "name", None)
    if not isinstance(name, str):
        return []
    return [(name, {"name": name, "description": getattr(function, "description", None) or ""})]


def _first_frame(tags: list[TagFormat]) -> list[TagFormat]:
    """The tags in the form with line breaks around the call, which chat templates write."""
    broken = [one for one in tags if isinstance(one.end, str) and one.end.startswith("}\n")]
    return broken or tags


def _fixed(tag: TagFormat, described: dict[str, dict[str, Any]]) -> TagFormat:
    content = tag.content
    if not isinstance(content, JSONSchemaFormat) or not isinstance(content.json_schema, dict):
        return tag
    separators = (SPACED.item_separator, SPACED.key_separator)
    grammar = xgrammar.Grammar.from_json_schema(
        json.dumps(content.json_schema), any_whitespace=False, separators=separators
    )
    named = [tool for name, tool in described.items() if f'"{name}"' in str(tag.begin)]
    tool = {**(named[0] if named else {"name": ""}), "parameters": content.json_schema}
    text = f"{TOOL_MARK}{json.dumps(tool)}\n{grammar}"
    return tag.model_copy(update={"content": GrammarFormat(grammar=text)})
