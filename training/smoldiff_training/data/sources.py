"""The rows of all sources of a configuration: read, checked, deduplicated, and drawn by weight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from random import Random

from smoldiff_training.data.adapters import READERS
from smoldiff_training.data.adapters.raw import UnusableRow
from smoldiff_training.data.identity import Key, answer_key, question_key
from smoldiff_training.data.published import SourceError, raw_rows
from smoldiff_training.data.rows import Row
from smoldiff_training.data.validity import calls_fault
from smoldiff_training.head.config import HeadDataConfig, SourceConfig

UNREADABLE = "unreadable"
NO_CALL = "no call in it"
INVALID = "invalid call"
DUPLICATE = "seen before"
EVALUATION = "in an evaluation file"


@dataclass(slots=True)
class SourceReport:
    """What became of a source. One published row may give several rows, or none."""

    path: str
    num_read: int = 0  # published rows
    num_rows: int = 0  # rows that are trained on
    dropped: Counter[str] = field(default_factory=Counter)  # a count for each reason
    examples: dict[str, str] = field(default_factory=dict)  # the first row dropped for each reason

    def drop(self, reason: str, example: str) -> None:
        self.dropped[reason] += 1
        self.examples.setdefault(reason, f"row {self.num_read}: {example}")

    def __str__(self) -> str:
        """One line for the log of a run."""
        parts = [f"{n} {reason} ({self.examples[reason]})" for reason, n in self.dropped.items()]
        return "; ".join([f"{self.path}: {self.num_read} read, {self.num_rows} rows", *parts])


@dataclass(frozen=True, slots=True)
class LoadedSource:
    weight: float
    rows: tuple[Row, ...]
    report: SourceReport


@dataclass(frozen=True, slots=True)
class LoadedRows:
    sources: tuple[LoadedSource, ...]

    @property
    def rows(self) -> list[Row]:
        """Each row once, in the order of the sources."""
        return [row for source in self.sources for row in source.rows]

    @property
    def report(self) -> list[str]:
        """A line for each source: what was read, what was dropped and why."""
        return [str(source.report) for source in self.sources]


def load_rows(cfg: HeadDataConfig) -> LoadedRows:
    """The rows of all sources. Raises SourceError, naming the source, where one cannot be read or has no usable row.

    A row is dropped if it equals an earlier one, or asks what a row of `exclude` or `dev` asks.
    """
    files = [("data.dev", cfg.dev), *((f"data.exclude[{i}]", p) for i, p in enumerate(cfg.exclude))]
    held_out: set[Key] = set()
    for at, path in files:
        with located(at):
            held_out.update(question_keys(path))
    seen: set[Key] = set()
    loaded = []
    for i, source in enumerate(cfg.sources):
        with located(f"data.sources[{i}]"):
            loaded.append(load_source(source, held_out, seen))
    return LoadedRows(tuple(loaded))


@contextmanager
def located(at: str) -> Iterator[None]:
    """Puts the key of the configuration before what a SourceError says."""
    try:
        yield
    except SourceError as problem:
        raise SourceError(f"{at}: {problem}") from problem


def question_keys(path: str) -> Iterator[Key]:
    """The questions of an evaluation file in the project's format, all of which must be readable."""
    for i, raw in enumerate(raw_rows(path, 0)):
        try:
            yield from map(question_key, read_raw("smoldiff", raw))
        except UnusableRow as problem:
            raise SourceError(f"{path}: row {i + 1}: {problem}") from problem


def load_source(cfg: SourceConfig, held_out: set[Key], seen: set[Key]) -> LoadedSource:
    """The usable rows of a source, their keys added to `seen`."""
    report = SourceReport(cfg.path)
    rows = []
    for row in read_rows(cfg, report):
        reason, example = fault_of(row, held_out, seen)
        if reason:
            report.drop(reason, example)
        else:
            seen.add(answer_key(row))
            rows.append(row)
    report.num_rows = len(rows)
    check_usable(cfg, report)
    return LoadedSource(cfg.weight, tuple(rows), report)


def read_rows(cfg: SourceConfig, report: SourceReport) -> Iterator[Row]:
    """Every row that can be read, the others counted in `report`."""
    for raw in raw_rows(cfg.path, cfg.limit):
        report.num_read += 1
        try:
            rows = read_raw(cfg.format, raw)
        except UnusableRow as problem:
            report.drop(UNREADABLE, str(problem))
            continue
        if not rows:
            report.drop(NO_CALL, "nothing is called")
        yield from rows


def read_raw(format_name: str, raw: object) -> list[Row]:
    """The rows of one published row. Raises UnusableRow."""
    if isinstance(raw, ValueError):
        raise UnusableRow(str(raw))
    if not isinstance(raw, Mapping):
        raise UnusableRow(f"expected an object, found {type(raw).__name__}")
    try:
        return READERS[format_name](raw)
    except RecursionError:
        raise UnusableRow("nested too deeply") from None


def fault_of(row: Row, held_out: set[Key], seen: set[Key]) -> tuple[str, str]:
    """Why a row is dropped, and what shows it; ("", "") for a row that stays."""
    fault = calls_fault(row)
    if fault:
        return INVALID, fault
    question = question_key(row)
    if question in held_out:
        return EVALUATION, repr(question[0][:60])
    if answer_key(row) in seen:
        return DUPLICATE, repr(question[0][:60])
    return "", ""


def check_usable(cfg: SourceConfig, report: SourceReport) -> None:
    """Raise SourceError where most rows are unreadable: the format is another, and what is left would be an accident."""
    if 2 * report.dropped[UNREADABLE] > report.num_read:
        raise SourceError(
            f"{report.dropped[UNREADABLE]} of {report.num_read} rows of {cfg.path} are not in the format"
            f" {cfg.format!r}; {report.examples[UNREADABLE]}; set `format` to the one it is in"
        )
    if not report.num_rows:
        raise SourceError(f"no usable row; {report}; take another file or leave it out")


def weighted_rows(loaded: LoadedRows, num_rows: int, seed: int) -> list[Row]:
    """`num_rows` rows drawn by weight; 0 gives each row once, in order. The same seed draws the same rows first.

    A row of weight 2 comes up twice as often as one of weight 1. No source repeats a row before all of it was drawn.
    """
    if not num_rows:
        return loaded.rows
    rng = Random(f"{seed}/sources")
    decks = [deck(source, Random(f"{seed}/{i}")) for i, source in enumerate(loaded.sources)]
    masses = list(accumulate(source.weight * len(source.rows) for source in loaded.sources))
    return [next(chosen) for chosen in rng.choices(decks, cum_weights=masses, k=num_rows)]


def deck(source: LoadedSource, rng: Random) -> Iterator[Row]:
    """The source's rows without end, in a new order each time they are through."""
    while True:
        yield from rng.sample(source.rows, len(source.rows))
