"""The chat template in plain Python: the same text as chat_template.jinja, about forty times faster.

The Jinja file is the contract; a test renders both over real and hostile schemas and compares.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

GENERATION_PROMPT = "<|im_start|>assistant\n"
TOOLS_HEAD = "### Tools\nAnswer with <tool_call> when a tool fits.\n<tools>\n"


def dumps(value: object) -> str:
    """JSON as the template writes it: `", "` and `": "`, and no ASCII escapes."""
    return json.dumps(value, ensure_ascii=False)


def is_list(value: object) -> bool:
    return isinstance(value, (list, tuple))


def bounds(s: Mapping[str, Any]) -> str:
    """What narrows a plain type, in brackets: its format, else its pattern, else its range."""
    for word in ("format", "pattern"):
        if isinstance(s.get(word), str):
            return f"({s[word]})"
    lo = s.get("minimum") if s.get("minimum") is not None else s.get("exclusiveMinimum")
    hi = s.get("maximum") if s.get("maximum") is not None else s.get("exclusiveMaximum")
    if lo is None and hi is None:
        return ""
    return f"({'' if lo is None else dumps(lo)}..{'' if hi is None else dumps(hi)})"


def describe(key: str, s: object) -> str:
    """The description in quotes, or "" where it only repeats the key."""
    text = s.get("description") if isinstance(s, dict) else None
    if not isinstance(text, str):
        return ""
    text = " ".join(text.split())
    if not text or text.lower() == key.replace("_", " ").replace(".", " ").lower():
        return ""
    return f' "{text}"'


def fields(s: Mapping[str, Any]) -> str:
    required = s.get("required") if is_list(s.get("required")) else ()
    return "; ".join(
        f"{key}{'' if key in (required or ()) else '?'}: {kind(value)}{describe(key, value)}"
        for key, value in s["properties"].items()
    )


def single(s: Mapping[str, Any], type_name: object) -> str:
    if type_name == "object":
        if isinstance(s.get("properties"), dict):
            return "{" + fields(s) + "}"
        if isinstance(s.get("additionalProperties"), dict):
            return "{string: " + kind(s["additionalProperties"]) + "}"
        return "object"
    if type_name == "array":
        if is_list(s.get("prefixItems")):
            return "[" + ", ".join(map(kind, s["prefixItems"])) + "]"
        return "[" + kind(s["items"]) + "]" if isinstance(s.get("items"), dict) else "array"
    return type_name + bounds(s) if isinstance(type_name, str) else "any"


def kind(s: object) -> str:
    """A schema as a short type: `string(date)`, `"a"|"b"`, `[integer(1..5)]`, `{x: number}`."""
    if not isinstance(s, dict):
        return "any"
    if isinstance(s.get("$ref"), str):
        return str(s["$ref"]).split("/")[-1]
    if "const" in s:
        return dumps(s["const"])
    if is_list(s.get("enum")):
        return "|".join(map(dumps, s["enum"]))
    for word, separator in (("anyOf", "|"), ("oneOf", "|"), ("allOf", "&")):
        if is_list(s.get(word)):
            return separator.join(map(kind, s[word]))
    type_name = s.get("type")
    if is_list(type_name):
        return "|".join(single(s, t) for t in type_name or ())
    if isinstance(type_name, str):
        return single(s, type_name)
    if isinstance(s.get("properties"), dict):
        return single(s, "object")
    return single(s, "array") if isinstance(s.get("items"), dict) else "any"


def tool_line(tool: Mapping[str, Any]) -> str:
    """One tool on one line: `name(key: type "text"; key?: type) - description`."""
    f = tool["function"] if isinstance(tool.get("function"), dict) else tool
    p = f.get("parameters")
    line = ""
    if isinstance(p, dict):
        if isinstance(p.get("properties"), dict):
            line = fields(p)
        elif isinstance(p.get("$ref"), str) or p.get("anyOf") or p.get("oneOf") or p.get("allOf"):
            line = kind(p)
    line = f"{f.get('name')}({line})"
    text = f.get("description")
    if isinstance(text, str) and text.split():
        line += " - " + " ".join(text.split())
    if isinstance(p, dict):
        for word in ("$defs", "definitions"):
            if isinstance(p.get(word), dict):
                for name, value in p[word].items():
                    line += f" where {name} = {kind(value)}{describe(name, value)}"
    return line


def call_text(name: str, arguments: object) -> str:
    """One call with its tags, as the template writes it and as the model is trained to."""
    text = arguments if isinstance(arguments, str) else dumps(arguments or {})
    return f'<tool_call>\n{{"name": {dumps(name)}, "arguments": {text}}}\n</tool_call>'


def calls_text(calls: Sequence[Mapping[str, Any]]) -> str:
    bare = (c["function"] if isinstance(c.get("function"), dict) else c for c in calls)
    return "\n".join(call_text(c["name"], c.get("arguments")) for c in bare)


def message_text(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if message["role"] == "tool":
        body = f"<|im_start|>user\n<tool_response>\n{content}\n</tool_response>"
    elif message["role"] == "assistant" and message.get("tool_calls"):
        gap = "\n" if content else ""
        body = f"{GENERATION_PROMPT}{content}{gap}{calls_text(message['tool_calls'])}"
    else:
        body = f"<|im_start|>{message['role']}\n{content}"
    return body + "<|im_end|>\n"


def prompt_text(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> str:
    """The whole prompt, with the opening of the assistant's turn."""
    has_system = bool(messages) and messages[0]["role"] == "system"
    parts = []
    if has_system or tools:
        parts.append("<|im_start|>system\n")
        if has_system:
            parts.append((messages[0].get("content") or "") + ("\n\n" if tools else ""))
        if tools:
            parts.append(TOOLS_HEAD)
            parts.extend(tool_line(tool) + "\n" for tool in tools)
            parts.append("</tools>")
        parts.append("<|im_end|>\n")
    parts.extend(message_text(m) for m in messages[has_system:])
    parts.append(GENERATION_PROMPT)
    return "".join(parts)
