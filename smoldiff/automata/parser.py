r"""Reads the patterns of JSON Schema (ECMA-262, section 22.2.1) into syntax trees.

Where ECMA-262 and Python's `re` mean different sets by `\w`, `\s`, `\d` or `$`, `Reading` says whose meaning counts.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import NoReturn

from smoldiff.automata import charset as cs
from smoldiff.automata.charset import Charset
from smoldiff.automata.errors import BrokenPattern, TooComplex, Unsupported
from smoldiff.automata.pattern import EMPTY, Begin, Chars, Choice, End, Look, Node, Repeat, Sequence

MAX_PATTERN_CHARS = 50_000
MAX_GROUP_DEPTH = 50

_BRACES = re.compile(r"\{(\d+)(,(\d*))?\}", re.ASCII)
_FLAGS = re.compile(r"\(\?([a-zA-Z]*)(?:-([a-zA-Z]+))?([:)])")
_NAME = re.compile(r"<([^\W\d][\w$]*)>")
_PROPERTY = re.compile(r"\{([^{}]*)\}")
_CONTROLS = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13}
_HEX = {"x": re.compile(r"[0-9a-fA-F]{2}"), "u": re.compile(r"[0-9a-fA-F]{4}")}
_HEX_BRACED = re.compile(r"\{([0-9a-fA-F]+)\}")
_LOW_SURROGATE = re.compile(r"\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_SET_ESCAPES = frozenset("dDwWsSpP")


class Reading(Enum):
    """Whose meaning of a pattern counts: the strings that match under ..."""

    ECMA = "ECMA-262"
    BOTH = "ECMA-262 and Python's re"
    EITHER = "ECMA-262 or Python's re"

    def inverse(self) -> Reading:
        """The reading that is right below a negation."""
        return {Reading.BOTH: Reading.EITHER, Reading.EITHER: Reading.BOTH}.get(self, self)


def parse(text: str, reading: Reading = Reading.ECMA) -> Node:
    """The syntax tree of a pattern. Raises BrokenPattern, Unsupported, TooComplex."""
    if len(text) > MAX_PATTERN_CHARS:
        raise TooComplex(
            f"a pattern of {len(text)} characters; at most {MAX_PATTERN_CHARS} are read"
        )
    return _Parser(text, reading).whole()


class _Parser:
    def __init__(self, text: str, reading: Reading) -> None:
        self.text = text
        self.at = 0
        self.reading = reading
        self.depth = 0
        self.ignores_case = False
        self.dot_is_all = False

    # Reading the text -------------------------------------------------------------------------

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def take(self, token: str) -> bool:
        found = self.text.startswith(token, self.at)
        self.at += len(token) * found
        return found

    def scan(self, expression: re.Pattern[str]) -> re.Match[str] | None:
        found = expression.match(self.text, self.at)
        self.at = found.end() if found else self.at
        return found

    def broken(self, problem: str) -> NoReturn:
        raise BrokenPattern(self.at, problem)

    # Structure --------------------------------------------------------------------------------

    def whole(self) -> Node:
        node = self.choice()
        if self.at < len(self.text):
            self.broken("a closing parenthesis that nothing opened")
        return node

    def choice(self) -> Node:
        options = [self.sequence()]
        while self.take("|"):
            options.append(self.sequence())
        return options[0] if len(options) == 1 else Choice(tuple(options))

    def sequence(self) -> Node:
        parts: list[Node] = []
        while (char := self.peek()) and char not in "|)":
            parts.append(self.quantified(self.atom(char)))
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def quantified(self, node: Node) -> Node:
        bounds = self.quantifier()
        if bounds is None:
            return node
        self.take("?")
        if self.peek() == "+":
            raise Unsupported("a possessive quantifier")
        if self.peek() in ("*", "?") or _BRACES.match(self.text, self.at):
            self.broken("a quantifier behind a quantifier")
        least, most = bounds
        if most is not None and most < least:
            self.broken("a quantifier whose bounds are out of order")
        return EMPTY if most == 0 else Repeat(node, least, most)

    def quantifier(self) -> tuple[int, int | None] | None:
        for token, bounds in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self.take(token):
                return bounds
        found = self.scan(_BRACES)
        if found is None:
            return None
        if found.end() - found.start() > 18:
            raise TooComplex("a quantifier with a bound of many digits")
        least = int(found[1])
        return least, least if found[2] is None else int(found[3]) if found[3] else None

    def atom(self, char: str) -> Node:
        self.at += 1
        match char:
            case "^":
                return Begin()
            case "$":
                return self.end()
            case ".":
                return Chars(cs.SCALARS if self.dot_is_all else cs.complement(self.line_ends()))
            case "(":
                return self.group()
            case "[":
                return Chars(self.char_class())
            case "\\":
                return self.escape()
            case "*" | "+" | "?":
                self.broken("nothing to repeat")
            case "{" if re.match(r",\d+\}", self.text[self.at : self.at + 12]):
                raise Unsupported("{,n}: a quantifier to Python, literal text to ECMA-262")
        return self.literal(ord(char))

    def line_ends(self) -> Charset:
        return cs.single(0x0A) if self.reading is Reading.EITHER else cs.LINE_ENDS

    def end(self) -> Node:
        """The end, or for Python also a last line break, which is taken here: what follows a `$` does not see it."""
        if self.reading is not Reading.EITHER:
            return End()
        return Choice((End(), Sequence((Chars(cs.single(0x0A)), End()))))

    def literal(self, code: int) -> Node:
        return Chars(self.cased(cs.single(code)))

    def cased(self, charset: Charset) -> Charset:
        return cs.ignoring_case(charset) if self.ignores_case else charset

    # Groups -----------------------------------------------------------------------------------

    def group(self) -> Node:
        """What stands behind an opening parenthesis."""
        if self.depth == MAX_GROUP_DEPTH:
            raise TooComplex(f"groups nested more than {MAX_GROUP_DEPTH} deep")
        before = (self.reading, self.ignores_case, self.dot_is_all)
        self.depth += 1
        node = self.extended_group() if self.take("?") else self.closed(self.choice())
        self.depth -= 1
        if node is not None:
            self.reading, self.ignores_case, self.dot_is_all = before
        return EMPTY if node is None else node

    def closed(self, node: Node) -> Node:
        if not self.take(")"):
            self.broken("a group that is never closed")
        return node

    def extended_group(self) -> Node | None:
        """A group behind `(?`; None for flags that hold from here on."""
        for token, is_behind, is_negative in (
            ("=", False, False), ("!", False, True), ("<=", True, False), ("<!", True, True),
        ):  # fmt: skip
            if self.take(token):
                return self.look(is_behind, is_negative)
        if self.take(":"):
            return self.closed(self.choice())
        if self.take("P"):
            if self.peek() in ("=", ">"):
                raise Unsupported("a reference to a group")
            if self.peek() != "<":
                self.broken("an unknown group")
        if self.peek() == "<":
            if not self.scan(_NAME):
                self.broken("a group with a broken name")
            return self.closed(self.choice())
        self.at -= 2
        return self.flags()

    def look(self, is_behind: bool, is_negative: bool) -> Node:
        if is_negative:
            self.reading = self.reading.inverse()
        return Look(self.closed(self.choice()), is_behind, is_negative)

    def flags(self) -> Node | None:
        found = _FLAGS.match(self.text, self.at)
        if found is None or not (found[1] or found[2]):
            raise Unsupported(f"the group {self.text[self.at : self.at + 3]!r}")
        if set(found[1]) - set("isua") or set(found[2] or "") - set("is"):
            raise Unsupported(f"the flags {found[0]!r}")
        if found[3] == ")" and (self.at or found[2]):
            raise Unsupported("flags that hold from the middle of a pattern")
        self.at = found.end()
        self.ignores_case = (self.ignores_case or "i" in found[1]) and "i" not in (found[2] or "")
        self.dot_is_all = (self.dot_is_all or "s" in found[1]) and "s" not in (found[2] or "")
        return None if found[3] == ")" else self.closed(self.choice())

    # Escapes ----------------------------------------------------------------------------------

    def escape(self) -> Node:
        char = self.peek()
        if char in ("b", "B"):
            self.at += 1
            return self.word_boundary(is_negative=char == "B")
        if char in ("A", "Z", "z"):
            self.at += 1
            return Begin() if char == "A" else End()
        if char in tuple("123456789k"):
            raise Unsupported("a back reference")
        found = self.class_escape(self.reading)
        return Chars(self.cased(cs.single(found) if isinstance(found, int) else found))

    def word_boundary(self, is_negative: bool) -> Node:
        ascii_words = _boundary(cs.WORD, is_negative)
        if self.reading is Reading.ECMA:
            return ascii_words
        readings = (ascii_words, _boundary(cs.python_word(), is_negative))
        return Sequence(readings) if self.reading is Reading.BOTH else Choice(readings)

    def class_escape(self, reading: Reading) -> int | Charset:
        """The code point or the set behind a backslash, inside or outside a class."""
        char = self.peek()
        if not char:
            self.broken("a backslash at the end")
        self.at += 1
        if char in _SET_ESCAPES:
            return self.named_set(char, reading)
        if char in _CONTROLS:
            return _CONTROLS[char]
        match char:
            case "c" if re.match("[A-Za-z]", self.peek()):
                self.at += 1
                return ord(self.text[self.at - 1]) % 32
            case "0" if not self.peek().isdigit():
                return 0
            case "x" | "u":
                return self.hex_escape(char)
        if char.isalnum():
            self.at -= 1
            self.broken(f"the unknown escape \\{char}")
        return ord(char)

    def hex_escape(self, kind: str) -> int:
        if kind == "u" and (braced := self.scan(_HEX_BRACED)):
            if len(braced[1]) > 8 or int(braced[1], 16) > cs.LAST:
                self.broken("a code point beyond Unicode")
            return int(braced[1], 16)
        found = self.scan(_HEX[kind])
        if found is None:
            self.broken(f"\\{kind} without its hexadecimal digits")
        code = int(found[0], 16)
        if 0xD800 <= code <= 0xDBFF and (low := self.scan(_LOW_SURROGATE)):
            return 0x10000 + ((code - 0xD800) << 10) + (int(low[1], 16) - 0xDC00)
        return code

    def named_set(self, char: str, reading: Reading) -> Charset:
        if char in "pP":
            found = self.scan(_PROPERTY)
            charset = found and cs.unicode_property(found[1])
            if charset is None:
                raise Unsupported("an unknown Unicode property")
            return cs.complement(charset) if char == "P" else charset
        if char.isupper():
            return cs.complement(self.named_set(char.lower(), reading.inverse()))
        match char, reading:
            case "d", Reading.EITHER:
                return cs.python_digits()
            case "d", _:
                return cs.DIGITS
            case "w", Reading.EITHER:
                return cs.python_word()
            case "w", _:
                return cs.WORD
            case _, Reading.EITHER:
                return cs.union(cs.SPACE, cs.PYTHON_SPACE)
            case _, Reading.BOTH:
                return cs.intersection(cs.SPACE, cs.PYTHON_SPACE)
        return cs.SPACE

    # Classes ----------------------------------------------------------------------------------

    def char_class(self) -> Charset:
        is_negative = self.take("^")
        reading = self.reading.inverse() if is_negative else self.reading
        ranges: list[tuple[int, int]] = []
        while not self.take("]"):
            ranges += self.class_item(reading)
        charset = self.cased(cs.normal(ranges))
        return cs.complement(charset) if is_negative else charset

    def class_item(self, reading: Reading) -> Charset:
        low = self.class_atom(reading)
        if not (self.peek() == "-" and self.text[self.at + 1 : self.at + 2] not in ("", "]")):
            return cs.single(low) if isinstance(low, int) else low
        self.at += 1
        high = self.class_atom(reading)
        if isinstance(low, int) and isinstance(high, int):
            if high < low:
                self.broken("a range out of order")
            return cs.between(low, high)
        sides = (cs.single(side) if isinstance(side, int) else side for side in (low, high))
        return cs.union(*sides, cs.single(ord("-")))

    def class_atom(self, reading: Reading) -> int | Charset:
        char = self.peek()
        if not char:
            self.broken("a class that is never closed")
        self.at += 1
        if char != "\\":
            return ord(char)
        if self.take("b"):
            return 8
        return self.class_escape(reading)


def _boundary(word: Charset, is_negative: bool) -> Node:
    r"""`\b` or `\B` as what stands before and behind: a word's character on one side, or on both or none."""
    body = Chars(word)
    return Choice(
        tuple(
            Sequence((Look(body, True, not before), Look(body, False, before != is_negative)))
            for before in (False, True)
        )
    )
