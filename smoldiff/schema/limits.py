"""How much of a schema is worked out before a part of it is left to the grammar engine and the last gate."""

from __future__ import annotations

from dataclasses import dataclass

from smoldiff.errors import UnsupportedSchema


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one compilation. Past the first two the schema is refused, past the others a node allows more."""

    max_characters: int = 4_000_000
    """Length of the schema as JSON text."""
    max_nesting: int = 160
    """Levels of JSON; beyond it, the libraries that read a schema recursively would overflow."""
    max_depth: int = 48
    """Levels of nodes and of schemas inside schemas; each costs the compiler a few Python frames."""
    max_recursions: int = 3
    """How often references that contain themselves are expanded on one path; once, when `max_deep_steps` are spent."""
    max_deep_steps: int = 800
    """Schemas looked at before such references are expanded only once: what recurs in several places multiplies."""
    max_steps: int = 8_000
    """Schemas looked at in one document."""
    max_alternatives: int = 64
    """Combinations of the choices (anyOf, oneOf, not, if, dependent schemas) that hold at one place."""
    max_branches: int = 5_000
    """Branches of one choice."""
    max_exclusions: int = 16
    """Branches of a oneOf that are told apart by what each may not be."""
    max_negated: int = 4
    """Ways in which a branch of a oneOf may fail while another holds."""
    max_judged: int = 100_000
    """Schemas looked at to see which values of enums and const the words beside them allow."""
    max_contained: int = 64
    """Items that minContains is written out as."""


DEFAULT_LIMITS = Limits()


def check_length(text: str, limits: Limits) -> None:
    """Raise UnsupportedSchema if a schema's text is longer than it may be."""
    if len(text) > limits.max_characters:
        raise UnsupportedSchema(
            "",
            f"{len(text)} characters of JSON, more than {limits.max_characters}; "
            "pass limits=Limits(max_characters=...) to raise this",
        )
