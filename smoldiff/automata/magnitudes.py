"""Decimal numbers without a sign, between bounds: digit by digit, compared with the digits of both bounds."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

import numpy as np

from smoldiff.automata.dfa import DEAD, Dfa
from smoldiff.automata.operations import EMPTY, trim

State = TypeVar("State", bound=Hashable)


@dataclass(frozen=True)
class Bound:
    """A decimal bound of a magnitude."""

    value: Fraction
    is_strict: bool

    @property
    def whole(self) -> str:
        return str(int(self.value))

    @property
    def decimals(self) -> str:
        """The digits behind the point, without zeros at the end."""
        rest = self.value - int(self.value)
        digits = ""
        while rest:
            rest *= 10
            digits += str(int(rest))
            rest -= int(rest)
        return digits


@dataclass(frozen=True)
class _Whole:
    """Some digits before the point, and how they compare with as many of each bound (-1, 0, 1)."""

    num_digits: int
    low: int
    high: int
    is_zero: bool = False


@dataclass(frozen=True)
class _Part:
    """Some digits behind the point, and how the number so far compares with the bounds cut to as many digits."""

    num_digits: int
    low: int
    high: int
    is_padded: bool


def magnitudes(low: Bound, high: Bound, max_digits: int, max_decimals: int) -> Dfa:
    """The decimals between two bounds with so many digits before and behind the point; one text for each number."""
    machine = _Between(low, high, max_digits, max_decimals)
    start: _Whole | _Part = _Whole(0, 0, 0)
    return _explored(start, machine.step, machine.accepts)


class _Between:
    def __init__(self, low: Bound, high: Bound, max_digits: int, max_decimals: int) -> None:
        self.low, self.high = low, high
        self.max_digits, self.max_decimals = max_digits, max_decimals
        self.whole = (low.whole, high.whole)
        self.decimals = (low.decimals, high.decimals)

    def step(self, state: _Whole | _Part, char: str) -> _Whole | _Part | None:
        if isinstance(state, _Part):
            return None if char == "." else self.next_decimal(state, char)
        if char == ".":
            return self.point(state)
        return self.next_digit(state, char)

    def next_digit(self, state: _Whole, char: str) -> _Whole | None:
        at = state.num_digits
        if state.is_zero or at == self.max_digits:
            return None
        low, high = (
            order or _compare(char, digits[at : at + 1])
            for order, digits in zip((state.low, state.high), self.whole, strict=True)
        )
        if at >= len(self.whole[1]) or (at + 1 == len(self.whole[1]) and high > 0):
            return None
        # Past the last digit of the lower bound a number is larger, whatever its digits.
        is_longer = at >= len(self.whole[0])
        return _Whole(at + 1, 1 if is_longer else low, high, at == 0 and char == "0")

    def resolved(self, state: _Whole) -> tuple[int, int]:
        """How the whole part compares with the bounds' whole parts."""
        low, high = (
            order
            if state.num_digits == len(digits)
            else (1 if state.num_digits > len(digits) else -1)
            for order, digits in zip((state.low, state.high), self.whole, strict=True)
        )
        return low, high

    def point(self, state: _Whole) -> _Part | None:
        low, high = self.resolved(state)
        if not state.num_digits or not self.max_decimals or low < 0 or high > 0:
            return None
        return _Part(0, low, high, True)

    def next_decimal(self, state: _Part, char: str) -> _Part | None:
        at = state.num_digits
        if at == self.max_decimals:
            return None
        low, high = (
            order or _compare(char, digits[at : at + 1] or "0")
            for order, digits in zip((state.low, state.high), self.decimals, strict=True)
        )
        return None if low < 0 or high > 0 else _Part(at + 1, low, high, char == "0")

    def accepts(self, state: _Whole | _Part) -> bool:
        if isinstance(state, _Part):
            return not state.is_padded and self.is_within(state.low, state.high, state.num_digits)
        return bool(state.num_digits) and self.is_within(*self.resolved(state), 0)

    def is_within(self, low: int, high: int, num_decimals: int) -> bool:
        if low == 0:
            is_rest_zero = num_decimals >= len(self.decimals[0])
            low = 1 if is_rest_zero and not self.low.is_strict else -1
        if high == 0:
            is_rest_zero = num_decimals >= len(self.decimals[1])
            high = 1 if is_rest_zero and self.high.is_strict else -1
        return low > 0 and high < 0


def _compare(char: str, other: str) -> int:
    return (char > other) - (char < other)


def _explored(
    start: State, step: Callable[[State, str], State | None], accepts: Callable[[State], bool]
) -> Dfa:
    """The automaton whose states are found by following digits and points from `start`."""
    numbers = {start: 0}
    order = [start]
    table = []
    for state in order:
        row = [DEAD] * 256
        for char in ".0123456789":
            target = step(state, char)
            if target is not None:
                if target not in numbers:
                    numbers[target] = len(order)
                    order.append(target)
                row[ord(char)] = numbers[target]
        table.append(row)
    if not any(ends := [accepts(state) for state in order]):
        return EMPTY
    return trim(Dfa(np.array(table, np.int32), np.array(ends, np.bool_)))
