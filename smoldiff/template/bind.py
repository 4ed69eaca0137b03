"""Scaffold + tokenizer -> template, kept by content in memory and on disk."""

import hashlib
import json
import os
import tempfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

from smoldiff.scaffold.cursor import Gap
from smoldiff.scaffold.scaffold import Scaffold
from smoldiff.template.template import Run, Template, unroll
from smoldiff.template.vocabulary import Vocabulary

FORMAT = 1
"""Part of every key: raise it when templates change for the same input."""
MAX_IN_MEMORY = 512
CACHE_VARIABLE = "SMOLDIFF_CACHE"
"""Environment variable: the folder for templates on disk; empty switches the disk off."""

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


def cache_folder() -> Path | None:
    """Where templates lie on disk; None if the user switched that off."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen is not None:
        return Path(chosen) / "templates" if chosen else None
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "smoldiff" / "templates"


def _read(key: str, scaffold: Scaffold, vocabulary: Vocabulary) -> Template | None:
    folder = cache_folder()
    if folder is None:
        return None
    try:
        entry = json.loads((folder / f"{key}.json").read_text())
        ids, spans = tuple(entry["ids"]), entry["runs"]
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
    ):  # absent, or left half-written by another program
        return None
    remainder = scaffold.resume("")
    slots = {piece.pointer: piece.slot for piece in remainder.pieces if isinstance(piece, Gap)}
    if [pointer for pointer, _, _ in spans] != list(slots):
        return None
    runs = tuple(Run(pointer, slots[pointer], start, stop, "") for pointer, start, stop in spans)
    return Template(scaffold, vocabulary, "", remainder.choices, ids, runs)


def _write(key: str, template: Template) -> Template:
    """Write by renaming, so that a reader never sees half a file. A folder that cannot be written is no error."""
    folder = cache_folder()
    if folder is not None:
        entry = {"ids": template.ids, "runs": [(r.pointer, r.start, r.stop) for r in template.runs]}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as file:
                json.dump(entry, file)
            os.replace(file.name, folder / f"{key}.json")
        except OSError:
            return template
    return template
