"""Why a pattern has no automaton. Private to the compiler: it then decodes under a superset and validates.

NoAutomaton
├── BrokenPattern   not a regular expression at all; `.position` says where
├── Unsupported     not a regular language, or syntax that is not read
└── TooComplex      the automaton would pass a limit
"""


class NoAutomaton(Exception):
    """No automaton can be had for a language."""


class BrokenPattern(NoAutomaton):
    """Not a regular expression. `position` counts characters from the start of the pattern."""

    def __init__(self, position: int, problem: str) -> None:
        self.position = position
        super().__init__(f"at character {position}: {problem}")


class Unsupported(NoAutomaton):
    """A pattern with syntax outside the regular languages, or outside what is read."""


class TooComplex(NoAutomaton):
    """An automaton that would pass a limit."""
