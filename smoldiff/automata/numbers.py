"""Languages of JSON numbers in canonical writing: no exponent, no "-0", no leading zeros, no trailing decimal zeros.

Bounds are exact: a float means the shortest decimal that is read back as it, which is how a schema writes it. A
multiple must be one both in exact arithmetic and in that of floats, with which most validators divide.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from itertools import islice
from math import ceil, floor, isinf

import numpy as np

from smoldiff.automata.dfa import DEAD, Dfa
from smoldiff.automata.magnitudes import Bound, magnitudes
from smoldiff.automata.operations import EMPTY, finite, intersect, minimise, reachable, trim, union

MAX_DIGITS = 15
"""Digits before the point where nothing bounds a number: every such integer is exact as a float."""
MAX_DECIMALS = 6
MAX_BOUND_DIGITS = 400
"""Digits of a bound, on either side of the point, that are followed; a bound with more is taken for less far out."""
MAX_REMAINDER_STATES = 20_000
"""States of digits times remainders, up to which multiples are counted by an automaton."""
MAX_MULTIPLES = 4_096
"""Multiples that are listed one by one where no automaton counts them."""
FLOAT_DIGITS = 15
"""Significant digits that a float always keeps."""

Number = int | float

_FARTHEST = Fraction(10) ** MAX_BOUND_DIGITS
Range = tuple[Bound | None, Bound | None]


def exact(number: Number) -> Fraction:
    """The value that a schema means by a number. Raises ValueError for NaN and infinities."""
    return Fraction(repr(number)) if isinstance(number, float) else Fraction(number)


@lru_cache(maxsize=512, typed=True)
def integer_language(
    minimum: int | None = None,
    maximum: int | None = None,
    multiple_of: Number | None = None,
    max_digits: int = MAX_DIGITS,
) -> tuple[Dfa, bool]:
    """The integers between inclusive bounds, and whether it holds all of them with at most `max_digits` digits.

    Where nothing bounds a side, integers of that sign have at most `max_digits` digits, or one more than the other
    bound. False: the step is too large or too uneven for an automaton, and only the multiples nearest to zero that
    validators accept are there.
    """
    within = (_bound(minimum, False), _bound(maximum, False))
    if multiple_of is None:
        return _signed(within, max_digits, 0), _are_followed(minimum, maximum)
    step = Fraction(exact(multiple_of).numerator)
    is_even = _divides_evenly(within, multiple_of, max_digits)
    counted = _counted(within, int(step), max_digits) if is_even else None
    if counted is not None:
        return counted, _are_followed(minimum, maximum)
    return _listed(within, step, multiple_of, max_digits)


@lru_cache(maxsize=512, typed=True)
def number_language(
    minimum: Number | None = None,
    maximum: Number | None = None,
    exclusive_minimum: Number | None = None,
    exclusive_maximum: Number | None = None,
    multiple_of: Number | None = None,
    max_digits: int = MAX_DIGITS,
    max_decimals: int = MAX_DECIMALS,
) -> tuple[Dfa, bool]:
    """The decimals between bounds, and whether it holds all of them with so many digits before and behind the point.

    More digits are allowed as far as the bounds have them, at most MAX_BOUND_DIGITS. False: multiples are missing, as
    `integer_language` says.
    """
    lows = [_bound(minimum, False), _bound(exclusive_minimum, True)]
    highs = [_bound(maximum, False), _bound(exclusive_maximum, True)]
    low = max(filter(None, lows), key=lambda b: (b.value, b.is_strict), default=None)
    high = min(filter(None, highs), key=lambda b: (b.value, not b.is_strict), default=None)
    if multiple_of is None:
        num_decimals = _num_decimals(low, high, max_decimals)
        is_exact = _are_followed(minimum, maximum, exclusive_minimum, exclusive_maximum)
        return _signed((low, high), max_digits, num_decimals), is_exact
    step = exact(multiple_of)
    if step.denominator == 1:
        return _multiples_of_integer((low, high), multiple_of, max_digits)
    found, is_exact = _listed((low, high), step, multiple_of, max_digits)
    if is_exact:
        return found, True
    whole, _ = _multiples_of_integer((low, high), multiple_of, max_digits)
    return minimise(union(found, whole, MAX_REMAINDER_STATES)), False


def fractional(numbers: Dfa) -> Dfa:
    """Of these decimals those that are not whole, nor as floats; all of them where there are none.

    They have at most FLOAT_DIGITS significant digits: with more, what is behind the point may be lost in a float.
    """
    found = intersect(numbers, _with_a_point())
    return numbers if found.is_empty else minimise(found)


@lru_cache(maxsize=1)
def _with_a_point() -> Dfa:
    """Texts with a point among at most FLOAT_DIGITS significant digits: zeros in front are not."""
    num = FLOAT_DIGITS + 1
    start, behind_sign, whole, point, fraction = 0, 1, 2, 2 + num, 2 + 2 * num  # and digits so far
    table = np.full((2 + 3 * num, 256), DEAD, np.int32)
    table[start, ord("-")] = behind_sign
    for first in (start, behind_sign):
        table[first, ord("0")] = whole
        table[first, ord("1") : ord("9") + 1] = whole + 1
    for so_far in range(num):
        table[whole + so_far, ord(".")] = point + so_far
        if so_far < FLOAT_DIGITS:
            digits = slice(ord("0"), ord("9") + 1)
            table[[point + so_far, fraction + so_far], digits] = fraction + so_far + 1
            if so_far:
                table[whole + so_far, digits] = whole + so_far + 1
    table[[point, fraction], ord("0")] = fraction
    accepts = np.zeros(len(table), np.bool_)
    accepts[fraction + 1 :] = True
    return trim(reachable(Dfa(table, accepts)))


def _bound(value: Number | None, is_strict: bool) -> Bound | None:
    if value is None or (isinstance(value, float) and isinf(value)):
        return None
    return Bound(min(max(exact(value), -_FARTHEST), _FARTHEST), is_strict)


def _are_followed(*bounds: Number | None) -> bool:
    return all(b is None or abs(b) <= _FARTHEST for b in bounds)


def _num_decimals(low: Bound | None, high: Bound | None, max_decimals: int) -> int:
    """One digit more than the bounds have, so that something lies between them, unless a float would lose it."""
    found = max_decimals
    for bound in filter(None, (low, high)):
        decimals = bound.decimals
        is_short = len((bound.whole + decimals).strip("0")) < FLOAT_DIGITS
        found = max(found, min(len(decimals) + is_short, MAX_BOUND_DIGITS))
    return found


def _multiples_of_integer(within: Range, multiple_of: Number, max_digits: int) -> tuple[Dfa, bool]:
    low, high = within
    smallest = None if low is None else _first_inside(low)
    largest = None if high is None else -_first_inside(Bound(-high.value, high.is_strict))
    return integer_language(smallest, largest, multiple_of, max_digits)


def _first_inside(low: Bound, step: Fraction = Fraction(1)) -> int:
    """The smallest k with k * step inside a lower bound."""
    k = ceil(low.value / step)
    return k + 1 if low.is_strict and k * step == low.value else k


# Signs ----------------------------------------------------------------------------------------


def _signed(
    within: Range, max_digits: int, max_decimals: int, step: int = 1, num_zeros: int = 0
) -> Dfa:
    """The multiples of `step` within bounds, times a power of ten."""
    low, high = within
    zero = Bound(Fraction(0), is_strict=False)
    above_zero = Bound(Fraction(0), is_strict=True)
    positive = negative = EMPTY
    if high is None or high.value >= 0:
        bottom = zero if low is None or low.value < 0 else low
        positive = _side(bottom, high, max_digits, max_decimals)
    if low is None or low.value < 0:
        bottom = above_zero if high is None or high.value >= 0 else _negated(high)
        top = None if low is None else _negated(low)
        negative = _side(bottom, top, max_digits, max_decimals)
    if step > 1:
        positive, negative = (_divisible(side, step) for side in (positive, negative))
    if num_zeros:
        positive, negative = (_with_zeros(side, num_zeros) for side in (positive, negative))
    return minimise(_with_sign(positive, negative))


def _negated(bound: Bound) -> Bound:
    return Bound(-bound.value, bound.is_strict)


def _side(low: Bound, high: Bound | None, max_digits: int, max_decimals: int) -> Dfa:
    if high is None:
        high = Bound(Fraction(10) ** max(max_digits, len(low.whole) + 1), is_strict=True)
    return magnitudes(low, high, len(high.whole), max_decimals)


def _with_sign(positive: Dfa, negative: Dfa) -> Dfa:
    """The numbers of `positive`, and those of `negative` behind a minus. No number's text leads back to a start."""
    if negative.is_empty:
        return positive
    if positive.is_empty:
        positive = Dfa(np.full((1, 256), DEAD, np.int32), np.zeros(1, np.bool_))
    num_before = len(positive.table)
    table = positive.table.copy()
    table[0, ord("-")] = num_before
    behind = np.where(negative.table == DEAD, DEAD, negative.table + num_before)
    return Dfa(
        np.concatenate([table, behind.astype(np.int32)]),
        np.concatenate([positive.accepts, negative.accepts]),
    )


# Multiples ------------------------------------------------------------------------------------


def _divides_evenly(within: Range, multiple_of: Number, max_digits: int) -> bool:
    """Whether dividing an integral multiple by the step as a float always gives an integer."""
    if isinstance(multiple_of, int):
        return True
    reach = max(
        [10**max_digits, 100 * exact(multiple_of), *(10 * abs(b.value) for b in within if b)]
    )
    error = abs(Fraction(multiple_of) / exact(multiple_of) - 1)
    return reach <= 2**53 and error <= Fraction(1, 2**54)


def _counted(within: Range, step: int, max_digits: int) -> Dfa | None:
    """The multiples of an integer, by an automaton of remainders; None where it would be too large."""
    num_zeros = len(str(step)) - len(str(step).rstrip("0"))
    factor = step // 10**num_zeros
    low, high = within
    digits = [len(b.whole) for b in within if b is not None]
    if 3 * max([max_digits, *digits]) * factor > MAX_REMAINDER_STATES:
        return None
    power = 10**num_zeros
    scaled = (
        None if low is None else Bound(Fraction(ceil(low.value / power)), False),
        None if high is None else Bound(Fraction(floor(high.value / power)), False),
    )
    return _signed(scaled, max(max_digits - num_zeros, 1), 0, factor, num_zeros)


def _divisible(numbers: Dfa, step: int) -> Dfa:
    """The integers of a language that leave no remainder: states are (state, remainder)."""
    if numbers.is_empty:
        return numbers
    num_states = len(numbers.table)
    remainders = (10 * np.arange(step)[:, None] + np.arange(10)) % step
    targets = numbers.table[:, None, 0x30:0x3A]
    table = np.full((num_states, step, 256), DEAD, np.int32)
    table[:, :, 0x30:0x3A] = np.where(targets == DEAD, DEAD, targets * step + remainders)
    accepts = np.zeros((num_states, step), np.bool_)
    accepts[:, 0] = numbers.accepts
    return trim(reachable(Dfa(table.reshape(-1, 256), accepts.reshape(-1))))


def _with_zeros(numbers: Dfa, num_zeros: int) -> Dfa:
    """Each number times a power of ten. The last zeros that were read are held back; a state is (state, zeros held)."""
    if numbers.is_empty:
        return numbers
    num_states, width = len(numbers.table), num_zeros + 1
    steps = np.append(numbers.table[:, 0x30:0x3A], np.full((1, 10), DEAD, np.int32), axis=0)
    table = np.full((num_states * width + 1, 256), DEAD, np.int32)
    held = np.arange(num_states)
    for zeros in range(width):
        targets = steps[held]
        rows = np.where(targets == DEAD, DEAD, targets * width)
        rows[:, 0] = np.arange(num_states) * width + zeros + 1
        if zeros == num_zeros:
            rows[:, 0] = np.where(steps[:-1, 0] == DEAD, DEAD, steps[:-1, 0] * width + zeros)
        table[zeros : num_states * width : width, 0x30:0x3A] = rows
        held = steps[held, 0]
    accepts = np.zeros(len(table), np.bool_)
    accepts[num_zeros:-1:width] = numbers.accepts
    accepts[-1] = True
    table[0, 0x30] = len(table) - 1 if numbers.matches(b"0") else DEAD
    return trim(reachable(Dfa(table, accepts)))


def _listed(
    within: Range, step: Fraction, multiple_of: Number, max_digits: int
) -> tuple[Dfa, bool]:
    """The multiples nearest to zero that a float division accepts too, and whether they are all there are.

    Where it denies them all, those that exact arithmetic accepts.
    """
    nearest = list(islice(_factors(within, step, max_digits), MAX_MULTIPLES + 1))
    num_decimals = len(Bound(step, is_strict=False).decimals)
    unit = int(step * 10**num_decimals)
    texts = [_text(k * unit, num_decimals) for k in nearest[:MAX_MULTIPLES]]
    kept = [text for text in texts if _is_float_multiple(text, multiple_of)]
    is_all = len(nearest) <= MAX_MULTIPLES and len(kept) == len(texts)
    return finite(text.encode() for text in kept or texts), is_all


def _factors(within: Range, step: Fraction, max_digits: int) -> Iterator[int]:
    """The k for which k * step is within bounds, from the nearest to zero on."""
    low, high = within
    reach = max([Fraction(10) ** max_digits, *(10 * abs(b.value) for b in within if b)])
    limit = Bound(reach, is_strict=True)
    first = _first_inside(low or _negated(limit), step)
    last = -_first_inside(_negated(high or limit), step)
    nearest = min(max(0, first), last)
    yield from range(nearest, nearest + 1) if first <= nearest <= last else ()
    for distance in range(1, max(last - nearest, nearest - first) + 1):
        yield from (k for k in (nearest + distance, nearest - distance) if first <= k <= last)


def _is_float_multiple(text: str, multiple_of: Number) -> bool:
    """Whether a validator that divides floats sees a multiple."""
    if not isinstance(multiple_of, float):
        return True
    try:
        quotient = (float(text) if "." in text else int(text)) / multiple_of
    except OverflowError:
        return False
    return not isinf(quotient) and int(quotient) == quotient


def _text(units: int, num_decimals: int) -> str:
    """A decimal in canonical writing, from its number of units of the last decimal place."""
    digits = str(abs(units)).rjust(num_decimals + 1, "0")
    whole, decimals = digits[: len(digits) - num_decimals], digits[len(digits) - num_decimals :]
    decimals = decimals.rstrip("0")
    return ("-" if units < 0 else "") + whole + ("." + decimals if decimals else "")
