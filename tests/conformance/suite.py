"""The official JSON-Schema-Test-Suite, read out of the archive in the shared data."""

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

ARCHIVE = Path(__file__).parents[2].parent / "shared" / "data" / "json_schema_test_suite.tar.gz"
DRAFTS = {
    "draft7": "http://json-schema.org/draft-07/schema#",
    "draft2019-09": "https://json-schema.org/draft/2019-09/schema",
    "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
}


@dataclass(frozen=True, eq=False)
class Case:
    """One instance under one schema. `name` is unique: file, group, test."""

    name: str
    schema: Any
    text: str
    is_valid: bool


def cases(draft: str) -> list[Case]:
    """Every test of a draft, the optional ones too."""
    return [
        case
        for path, groups in _files()
        if path.startswith(f"{draft}/")
        for case in _cases(path, groups, DRAFTS[draft])
    ]


@dataclass(frozen=True, eq=False)
class Group:
    """Instances under one schema. `name` is unique: file, group."""

    name: str
    schema: Any
    tests: list[dict[str, Any]]


def groups(draft: str) -> list[Group]:
    """The groups of a draft's required tests, schemas as they are published."""
    return [
        Group(f"{path}: {group['description']}", group["schema"], group["tests"])
        for path, groups in _files()
        if path.startswith(f"{draft}/") and path.count("/") == 1
        for group in groups
    ]


def _cases(path: str, groups: list[Any], dialect: str) -> Iterator[Case]:
    for group in groups:
        schema = group["schema"]
        if isinstance(schema, dict):
            schema = {"$schema": dialect, **schema}
        for test in group["tests"]:
            name = f"{path}: {group['description']}: {test['description']}"
            yield Case(name, schema, json.dumps(test["data"]), test["valid"])


@lru_cache(maxsize=1)
def _files() -> list[tuple[str, list[Any]]]:
    with tarfile.open(ARCHIVE) as archive:
        found = [
            (member.name.partition("tests/")[2], json.load(archive.extractfile(member)))
            for member in archive
            if member.isfile() and member.name.partition("tests/")[2].endswith(".json")
        ]
    return sorted(found, key=lambda file: file[0])
