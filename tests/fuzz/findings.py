"""What is wrong with what came of a schema, in one line, and the smallest schema of which that is still true."""

import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from conformance.answering import MAX_CPU_S, outcome, refutations, says_why, witness

from smoldiff.errors import SmoldiffError, UnsatisfiableSchema

SWALLOWING = frozenset({"gc_callback", "__del__"})
"""Functions out of which no exception comes."""
MAX_MINIMISING_S = 60
"""How long smaller schemas are tried for one finding."""


@dataclass(frozen=True)
class Finding:
    """A kind of fault, the schema that shows it, and what was seen there."""

    kind: str
    schema: Any
    seed: int
    detail: str


class TooSlow(BaseException):
    """Raised inside what takes too long; no Exception, so that nothing on its way takes it for one."""


def examine(schema: Any, seed: int, seen: Counter[str] | None = None) -> Finding | None:
    """None where there is an answer that jsonschema finds valid, or an error that says why not. `seen` counts them."""
    try:
        with time_limit(MAX_CPU_S):
            what = outcome(schema, seed)
    except TooSlow as problem:
        return Finding(
            f"slow in {_places(problem)[0]}",
            schema,
            seed,
            "".join(traceback.format_exception(problem)),
        )
    except Exception as problem:
        kind = f"{type(problem).__name__} in {_places(problem)[-1]}"
        return Finding(kind, schema, seed, "".join(traceback.format_exception(problem)[-12:]))
    if seen is not None:
        seen["answer" if what.error is None else type(what.error).__name__] += 1
    if what.error is not None:
        return _wronged(schema, seed, what.error)
    return _refuted(schema, seed, what.answer.text)


def _wronged(schema: Any, seed: int, error: SmoldiffError) -> Finding | None:
    """An error that does not say why, or that says what is not so."""
    if not says_why(error):
        return Finding("message", schema, seed, repr(error))
    if not isinstance(error, UnsatisfiableSchema):
        return None
    try:
        with time_limit(10 * MAX_CPU_S):
            found = witness(schema)
    except (Exception, TooSlow):  # jsonschema cannot judge
        return None
    return found and Finding("satisfiable", schema, seed, f"{error}\n{found[0]!r}")


def _refuted(schema: Any, seed: int, text: str) -> Finding | None:
    try:
        with time_limit(10 * MAX_CPU_S):
            found = refutations(schema, text)
    except (
        Exception,
        TooSlow,
    ):  # jsonschema cannot judge: an unknown draft, a pattern that Python cannot read
        return None
    if not found:
        return None
    return Finding(
        "refuted: " + ":".join(found[0].split(":")[:2]), schema, seed, f"{found}\n{text}"
    )


@contextmanager
def time_limit(cpu_s: float) -> Iterator[None]:
    """Raise TooSlow after so many seconds of CPU; only between two steps of Python."""

    def stop(_: int, frame: FrameType | None) -> None:
        if frame is None or frame.f_code.co_name not in SWALLOWING:
            raise TooSlow

    previous = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, cpu_s, 0.1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)


def _places(problem: BaseException) -> list[str]:
    """The functions of the library that the problem passed, the innermost last."""
    frames = traceback.extract_tb(problem.__traceback__)
    ours = [
        frame
        for frame in frames
        if "/smoldiff/" in frame.filename and "/tests/" not in frame.filename
    ]
    return [f"{one.filename.rpartition('/smoldiff/')[2]}:{one.name}" for one in ours] or ["?"]


def minimised(finding: Finding) -> Finding:
    """The smallest schema found with a finding of the same kind, by leaving out one part after another."""
    best, stop = finding, time.monotonic() + MAX_MINIMISING_S
    while (smaller := _first_smaller(best, stop)) is not None:
        best = smaller
    return best


def _first_smaller(finding: Finding, stop: float) -> Finding | None:
    for schema in sorted(_smaller(finding.schema), key=size):
        if time.monotonic() > stop:
            return None
        found = examine(schema, finding.seed)
        if found is not None and found.kind == finding.kind:
            return found
    return None


def size(schema: Any) -> int:
    return len(written(schema))


def written(schema: Any) -> str:
    """The schema as Python writes it, whatever the number of digits in it."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        return repr(schema)
    except RecursionError:
        return "nested too deeply to be written"
    finally:
        sys.set_int_max_str_digits(limit)


def _smaller(value: Any) -> Iterator[Any]:
    """The value with one part left out, or put in the place of what holds it; at any depth."""
    if isinstance(value, dict):
        for key, part in value.items():
            rest = {name: other for name, other in value.items() if name != key}
            yield rest
            if isinstance(part, dict | bool):
                yield part
            yield from ({**rest, key: one} for one in _smaller(part))
    elif isinstance(value, list):
        for idx, part in enumerate(value):
            yield value[:idx] + value[idx + 1 :]
            if isinstance(part, dict | bool):
                yield part
            yield from ([*value[:idx], one, *value[idx + 1 :]] for one in _smaller(part))


def shown(finding: Finding) -> str:
    return f"{finding.kind}\nseed {finding.seed}\n{written(finding.schema)}\n\n{finding.detail}\n"
