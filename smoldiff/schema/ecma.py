"""ECMA 262 patterns (in the Unicode reading that JSON Schema asks for) rewritten for the `regex` module.

Beyond the strict grammar, as in its Annex B: any character that is no letter or digit may be escaped, and a brace or
bracket that opens nothing stands for itself. The rewriting takes time linear in the pattern.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

import regex

_LAST = 0x10FFFF
_Ranges = tuple[tuple[int, int], ...]


class BrokenPattern(ValueError):
    """Not an ECMA 262 pattern."""


_TOKEN = re.compile(
    r"""(?P<escape> \\ )
      | (?P<set> \[\^? )
      | (?P<group> \( (?: \?(?: <?[=!] | -?i?: | <(?P<name>[^\W\d][\w$]*|\$[\w$]*)> ) )? (?!\?) )
      | (?P<close> \) )
      | (?P<anchor> [\^$|] )
      | (?P<dot> \. )
      | (?P<repeat> (?: [*+?] | \{(?P<least>[0-9]+)(?P<comma>,(?P<most>[0-9]*))?\} )\?? )
      | (?P<literal> [^()\[\\*+?.^$|{}]+ | (?!\{,[0-9]) [^()\[*+?] )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(
    r"""(?P<kind>[dDwWsS])
      | (?P<edge>[bB])
      | (?P<control>[fnrtv])
      | c(?P<letter>[A-Za-z])
      | (?P<nul>0(?![0-9]))
      | (?P<number>[1-9][0-9]*)
      | k<(?P<name>[^>]+)>
      | x(?P<hex>[0-9A-Fa-f]{2})
      | u(?P<high>[dD][89abAB][0-9A-Fa-f]{2})\\u(?P<low>[dD][c-fC-F][0-9A-Fa-f]{2})
      | u(?P<unit>[0-9A-Fa-f]{4})
      | u\{(?P<point>[0-9A-Fa-f]+)\}
      | (?P<sign>[pP])\{(?P<property>\w+(?:=\w+)?)\}
      | (?P<itself>[^A-Za-z0-9])""",
    re.VERBOSE | re.DOTALL,
)
_SYNTAX = re.compile(r"[^A-Za-z0-9\x80-\U0010ffff]")
_CONTROLS = dict(zip("fnrtv", "\f\n\r\t\v", strict=True))
_WORD = "[0-9A-Z_a-z]"
_EDGES = {
    "b": f"(?:(?<={_WORD})(?!{_WORD})|(?<!{_WORD})(?={_WORD}))",
    "B": f"(?:(?<={_WORD})(?={_WORD})|(?<!{_WORD})(?!{_WORD}))",
}
_ANCHORS = {"^": r"\A", "$": r"\Z", "|": "|"}


def _complement(ranges: _Ranges) -> _Ranges:
    starts = (0, *(high + 1 for _, high in ranges))
    ends = (*(low - 1 for low, _ in ranges), _LAST)
    return tuple((low, high) for low, high in zip(starts, ends, strict=True) if low <= high)


def _ranges(text: str) -> _Ranges:
    return tuple((ord(pair[0]), ord(pair[-1])) for pair in text.split("|"))


_KINDS = {
    "d": _ranges("09"),
    "w": _ranges("09|AZ|_|az"),
    "s": _ranges("\t\r| |\xa0|\u1680|\u2000\u200a|\u2028\u2029|\u202f|\u205f|\u3000|\ufeff"),
}
_KINDS |= {kind.upper(): _complement(ranges) for kind, ranges in _KINDS.items()}
_ANY_BUT_LINE_ENDS = _complement(_ranges("\n|\r|\u2028\u2029"))


@dataclass(frozen=True, slots=True)
class Translated:
    """`text` is for the `regex` module, which writes least repetitions out: `num_steps` characters and sets in all."""

    text: str
    num_steps: int


def is_ecma_pattern(text: str) -> bool:
    """Whether a text is an ECMA 262 pattern."""
    try:
        translate(text)
    except BrokenPattern:
        return False
    return True


def translate(pattern: str) -> Translated:
    """The same language as a pattern of the `regex` module. Raises BrokenPattern."""
    translation = _Translation(pattern)
    text = translation.run()
    return Translated(text, translation.num_steps[0])


@dataclass(slots=True)
class _Translation:
    """One pass over a pattern. `groups` holds the open ones: a number, 0 where it captures nothing, -1 for a look behind."""

    pattern: str
    pos: int = 0
    can_repeat: bool = False
    groups: list[int] = field(default_factory=list)
    num_groups: int = 0
    closed: set[int] = field(default_factory=set)
    names: dict[str, int] = field(default_factory=dict)
    referenced: set[str | int] = field(default_factory=set)
    num_steps: list[int] = field(default_factory=lambda: [0])
    """So far, outside all groups and in each open one."""
    last_steps: int = 0

    def run(self) -> str:
        out = []
        while self.pos < len(self.pattern):
            out.append(self._next())
        if self.groups:
            raise BrokenPattern("a group is not closed")
        for reference in self.referenced:
            if reference not in self.names and reference not in range(1, self.num_groups + 1):
                raise BrokenPattern(f"there is no group {reference}")
        return "".join(out)

    def _next(self) -> str:
        token = self._read(_TOKEN)
        kind, text = token.lastgroup, token[0]
        if kind == "repeat":
            return self._repeat(token)
        if kind == "group":
            return self._open(token)
        if kind == "close":
            return self._close()
        self.can_repeat = kind != "anchor"
        self._count(len(text) if kind == "literal" else 1)
        if kind == "anchor":
            return _ANCHORS[text]
        if kind == "escape":
            return self._escape()
        if kind == "set":
            return self._set(is_negated=text == "[^")
        if kind == "dot":
            return _set_of(_ANY_BUT_LINE_ENDS)
        self.last_steps = 1  # of a run of characters, only the last can be repeated
        return _literal(text)

    def _read(self, shape: re.Pattern[str]) -> re.Match[str]:
        found = shape.match(self.pattern, self.pos)
        if found is None:
            raise BrokenPattern(f"{self.pattern[self.pos - 1 :][:20]!r} means nothing")
        self.pos = found.end()
        return found

    def _repeat(self, token: re.Match[str]) -> str:
        least, most = token["least"], token["most"]
        if not self.can_repeat:
            raise BrokenPattern(f"nothing to repeat before {token[0]!r}")
        if most and _number(least) > _number(most):
            raise BrokenPattern(f"{token[0]!r} has its bounds in the wrong order")
        self.num_steps[-1] += self.last_steps * max(0, _number(least or "0") - 1)
        self.can_repeat = False
        return token[0]

    def _open(self, token: re.Match[str]) -> str:
        text, name = token[0], token["name"]
        self.can_repeat = False
        self.num_steps.append(0)
        if text != "(" and name is None:
            self.groups.append(-1 if text.startswith("(?<") else 0)
            return text
        self.num_groups += 1
        self.groups.append(self.num_groups)
        if name is not None:
            self.names[name] = self.num_groups
        return "("

    def _close(self) -> str:
        if not self.groups:
            raise BrokenPattern("a parenthesis closes nothing")
        group = self.groups.pop()
        self.closed.add(group)
        self.can_repeat = group >= 0
        self._count(1 + self.num_steps.pop())
        return ")"

    def _count(self, num_steps: int) -> None:
        self.num_steps[-1] += num_steps
        self.last_steps = num_steps

    def _escape(self) -> str:
        token = self._read(_ESCAPE)
        if token["edge"]:
            self.can_repeat = False
            return _EDGES[token["edge"]]
        if token["kind"]:
            return _set_of(_KINDS[token["kind"]])
        if token["property"]:
            return _property(token)
        if token["number"] or token["name"]:
            return self._reference(token["name"] or int(token["number"]))
        return _literal(_character(token))

    def _reference(self, to: str | int) -> str:
        self.referenced.add(to)
        number = self.names.get(to) if isinstance(to, str) else to
        # A group that took no part, or stands further on, is an empty text.
        return f"(?({number})\\g<{number}>)" if number in self.closed else "(?:)"

    def _set(self, is_negated: bool) -> str:
        parts = []
        while not self.pattern.startswith("]", self.pos):
            parts.append(self._range())
        self.pos += 1
        if not parts:
            return "(?s:.)" if is_negated else "(?!)"
        return f"[{'^' * is_negated}{''.join(parts)}]"

    def _range(self) -> str:
        low, text = self._member()
        if not self.pattern.startswith("-", self.pos) or self.pattern[self.pos + 1 :][:1] in "]":
            return text
        self.pos += 1
        high, other = self._member()
        if low is None or high is None:
            return text + _literal("-") + other
        if low > high:
            raise BrokenPattern(f"the range {low!r}-{high!r} is in the wrong order")
        return f"{text}-{other}"

    def _member(self) -> tuple[str | None, str]:
        """One member of a set: the character, if it is a single one, and the text."""
        if self.pos >= len(self.pattern):
            raise BrokenPattern("a set is not closed")
        character = self.pattern[self.pos]
        self.pos += 1
        if character != "\\":
            return character, _literal(character)
        token = self._read(_ESCAPE)
        if token["kind"]:
            return None, _ranges_text(_KINDS[token["kind"]])
        if token["property"]:
            return None, _property(token)
        if token["number"] or token["name"] or token["edge"] == "B":
            raise BrokenPattern(f"\\{token[0]} means nothing in a set")
        character = "\b" if token["edge"] else _character(token)
        return character, _literal(character)


def _number(digits: str) -> int:
    return int(digits.lstrip("0")[:18] or "0")  # longer ones are all as good as endless


def _character(token: re.Match[str]) -> str:
    if token["control"]:
        return _CONTROLS[token["control"]]
    if token["letter"]:
        return chr(ord(token["letter"]) % 32)
    if token["nul"]:
        return "\0"
    if token["high"]:
        pair = bytes.fromhex(token["high"] + token["low"])
        return pair.decode("utf-16-be")
    digits = token["hex"] or token["unit"] or token["point"]
    if digits is None:
        return token[0]
    if len(digits.lstrip("0")) > 6 or int(digits, 16) > _LAST:
        raise BrokenPattern(f"there is no character {digits[:20]}")
    return chr(int(digits, 16))


def _property(token: re.Match[str]) -> str:
    _check_property(token["property"])
    return f"\\{token['sign']}{{{token['property']}}}"


@lru_cache(maxsize=256)
def _check_property(name: str) -> None:
    try:
        regex.compile(f"\\p{{{name}}}")
    except regex.error:
        raise BrokenPattern(f"there is no property {name[:40]!r}") from None


@lru_cache(maxsize=16)
def _set_of(ranges: _Ranges) -> str:
    return f"[{_ranges_text(ranges)}]"


@lru_cache(maxsize=16)
def _ranges_text(ranges: _Ranges) -> str:
    return "".join(f"{_literal(chr(low))}-{_literal(chr(high))}" for low, high in ranges)


def _literal(text: str) -> str:
    return text if text.isalnum() else _SYNTAX.sub(r"\\\g<0>", text)
