"""Scaffold + tokenizer -> template, kept by content in memory and on disk."""

import hashlib
import json
from collections import OrderedDict
from typing import Any

from smoldiff.scaffold.cursor import Gap
from smoldiff.scaffold.scaffold import Scaffold
from smoldiff.template.cache import read_cached, write_cached
from smoldiff.template.template import Run, Template, unroll
from smoldiff.template.vocabulary import Vocabulary

FORMAT = 1
"""Part of every key: raise it when templates change for the same input."""
MAX_IN_MEMORY = 512

_MEMORY: OrderedDict[str, Template] = OrderedDict()


def bind(scaffold: Scaffold, tokenizer: Any) -> Template:
    """The template of a scaffold for a Hugging Face fast tokenizer. Raises TemplateError where they do not fit."""
    vocabulary = Vocabulary.of(tokenizer)
    key = content_key(scaffold, vocabulary)
    known = _MEMORY.get(key)
    if known is None:
        known = _read(key, scaffold, vocabulary) or _write(key, unroll(scaffold, vocabulary))
        _MEMORY[key] = known
        if len(_MEMORY) > MAX_IN_MEMORY:
            _MEMORY.popitem(last=False)
    _MEMORY.move_to_end(key)
    return known


def content_key(scaffold: Scaffold, vocabulary: Vocabulary) -> str:
    """A digest of everything that a template depends on."""
    source = scaffold.source
    schemas = [[tool.name, tool.parameters] for tool in source.tools] or source.schema
    style = [scaffold.call_style, scaffold.json_style, scaffold.max_calls]
    text = f"{FORMAT}\0{vocabulary.content_hash}\0{style!r}\0{json.dumps(schemas)}"
    return hashlib.sha256(text.encode()).hexdigest()


def _read(key: str, scaffold: Scaffold, vocabulary: Vocabulary) -> Template | None:
    content = read_cached(f"templates/{key}.json")
    if content is None:
        return None
    try:
        entry = json.loads(content)
        ids, spans = tuple(entry["ids"]), entry["runs"]
    except (ValueError, KeyError, TypeError):  # left half-written by another program
        return None
    remainder = scaffold.resume("")
    slots = {piece.pointer: piece.slot for piece in remainder.pieces if isinstance(piece, Gap)}
    if [pointer for pointer, _, _ in spans] != list(slots):
        return None
    runs = tuple(Run(pointer, slots[pointer], start, stop, "") for pointer, start, stop in spans)
    return Template(scaffold, vocabulary, "", remainder.choices, ids, runs, remainder.decisions)


def _write(key: str, template: Template) -> Template:
    entry = {"ids": template.ids, "runs": [(r.pointer, r.start, r.stop) for r in template.runs]}
    write_cached(f"templates/{key}.json", json.dumps(entry).encode())
    return template
