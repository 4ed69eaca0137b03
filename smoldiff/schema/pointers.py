"""JSON pointers (RFC 6901) as text: "" is the whole document, "/a/0" an item inside it."""

from __future__ import annotations


def child(pointer: str, *steps: str | int) -> str:
    """The pointer of something below `pointer`; each step is escaped."""
    for step in steps:
        pointer = f"{pointer}/{step if isinstance(step, int) else escape(step)}"
    return pointer


def escape(step: str) -> str:
    """One step as it is written inside a pointer."""
    if "~" in step or "/" in step:
        return step.replace("~", "~0").replace("/", "~1")
    return step


def steps(pointer: str) -> list[str]:
    """The unescaped steps of a pointer."""
    if not pointer:
        return []
    return [s.replace("~1", "/").replace("~0", "~") for s in pointer[1:].split("/")]
