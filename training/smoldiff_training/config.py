"""Reads a training run's configuration: YAML in, frozen dataclasses out, checked before anything loads.

The dataclasses stand in base/config.py and head/config.py; `kind` says which one a file is read as. Their types say
what is allowed: `Literal` for known names, the annotated numbers below for ranges.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import typing
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

if TYPE_CHECKING:
    from smoldiff_training.base.config import BaseTrainConfig
    from smoldiff_training.head.config import HeadTrainConfig


class ConfigError(Exception):
    """The configuration is at fault; the message names the key and the nearest right one."""


@dataclass(frozen=True, slots=True)
class Range:
    """What a number may be, in words for the message. Not a number and the infinities are never inside."""

    words: str
    low: float
    high: float = math.inf
    has_low: bool = True
    has_high: bool = True

    def __contains__(self, value: float) -> bool:
        is_above = value >= self.low if self.has_low else value > self.low
        is_below = value <= self.high if self.has_high else value < self.high
        return is_above and is_below and math.isfinite(value)


Share = Annotated[float, Range("0 to 1", 0, 1)]
ShareBelowOne = Annotated[float, Range("0 to 1, 1 itself excluded", 0, 1, has_high=False)]
Positive = Annotated[float, Range("more than 0", 0, has_low=False)]
PositiveOrZero = Annotated[float, Range("0 or more", 0)]
Count = Annotated[int, Range("1 or more", 1)]
CountOrZero = Annotated[int, Range("0 or more", 0)]

KIND_WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


def from_mapping(cls: type, raw: object, at: str = "") -> Any:
    """`raw` as a `cls`. Raises ConfigError on an unknown or missing key or a value that is not allowed."""
    if not isinstance(raw, dict):
        raise ConfigError(f"{at or 'the file'}: expected keys and values, found {raw!r}")
    hints = typing.get_type_hints(cls, include_extras=True)
    prefix = f"{at}." if at else ""
    for key in raw:
        if key not in hints:
            raise ConfigError(f"{prefix}{key}: no such key; {nearest_key(str(key), cls)}")
    values = {}
    for f in dataclasses.fields(cls):
        if f.name in raw:
            values[f.name] = checked(hints[f.name], raw[f.name], f"{prefix}{f.name}")
        elif f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{prefix}{f.name}: missing; add it")
    return cls(**values)


def checked(hint: Any, value: object, at: str) -> Any:
    """`value` as the type that `hint` says. Raises ConfigError, naming `at` and what is right."""
    if dataclasses.is_dataclass(hint):
        return from_mapping(typing.cast(type, hint), value, at)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return in_range(checked(args[0], value, at), args[1], at)
    if origin is Literal:
        return known_name(value, args, at)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{at}: expected a list, found {value!r}")
        return tuple(checked(args[0], item, f"{at}[{i}]") for i, item in enumerate(value))
    return plain(hint, value, at)


def plain(hint: Any, value: object, at: str) -> Any:
    if hint is float:
        number = as_float(value)
        value = value if number is None else number
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise ConfigError(f"{at}: expected {KIND_WORDS[hint]}, found {value!r}")
    return value


def as_float(value: object) -> float | None:
    """The number a value stands for. YAML 1.1 reads `1e-3` as text; only `1.0e-3` is a number to it."""
    if isinstance(value, bool):
        return None
    try:
        return float(value) if isinstance(value, str | int | float) else None
    except (ValueError, OverflowError):
        return None


def in_range(value: float, allowed: Range, at: str) -> float:
    if value not in allowed:
        raise ConfigError(f"{at}: {value}; expected {allowed.words}")
    return value


def known_name(value: object, names: tuple[str, ...], at: str) -> str:
    if isinstance(value, str) and value in names:
        return value
    raise ConfigError(f"{at}: {value!r} is not known; {nearest(str(value), names)}")


def nearest(word: str, names: Iterable[str]) -> str:
    """Which of `names` was meant, or all of them where none is near."""
    names = list(names)
    near = difflib.get_close_matches(word, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"


def nearest_key(word: str, cls: type) -> str:
    """Which key was meant: one of this part, else the same or a near one of a part below it."""
    own = [f.name for f in dataclasses.fields(cls)]
    if difflib.get_close_matches(word, own, n=1):
        return nearest(word, own)
    below = {path.rsplit(".", 1)[-1]: path for path in key_paths(cls)}
    near = difflib.get_close_matches(word, below, n=1)
    return f"did you mean {below[near[0]]!r}?" if near else nearest(word, own)


def key_paths(cls: type) -> Iterator[str]:
    """The dotted keys of the parts below `cls`."""
    for name, hint in typing.get_type_hints(cls).items():
        if dataclasses.is_dataclass(hint):
            yield from (f"{name}.{f.name}" for f in dataclasses.fields(hint))


def check_limit(max_steps: int, max_seconds: float) -> None:
    if not (max_steps or max_seconds):
        raise ConfigError("optim: set max_steps or max_seconds, or training never ends")


def kinds() -> dict[str, type]:
    # Imported here: these modules take their types from this one.
    from smoldiff_training.base.config import BaseTrainConfig
    from smoldiff_training.head.config import HeadTrainConfig

    return {"base": BaseTrainConfig, "head": HeadTrainConfig}


def read_config(path: Path, settings: Sequence[str] = ()) -> BaseTrainConfig | HeadTrainConfig:
    """The configuration in a YAML file, checked. `settings`, as `optim.max_steps=5`, go before the file's values.

    Raises ConfigError.
    """
    import yaml

    if not path.is_file():
        raise ConfigError("no such file; give the path of a configuration")
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        raise ConfigError(f"not YAML: {problem}") from problem
    if not isinstance(raw, dict):
        raise ConfigError(f"the file: expected keys and values, found {raw!r}")
    for setting in settings:
        set_value(raw, setting)
    known = kinds()
    if "kind" not in raw:
        raise ConfigError(f"kind: missing; add it, one of {', '.join(known)}")
    cfg = from_mapping(known[known_name(raw["kind"], tuple(known), "kind")], raw)
    cfg.check()
    return typing.cast("BaseTrainConfig | HeadTrainConfig", cfg)


def set_value(raw: dict[str, Any], setting: str) -> None:
    """Put one `key.of.parts=value` into a file's content; the value is YAML. Raises ConfigError."""
    import yaml

    key, equals, text = setting.partition("=")
    if not (key and equals):
        raise ConfigError(f"--set {setting}: expected key=value, as optim.max_steps=100")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"--set {setting}: {text!r} is not YAML") from None
    *parts, last = key.split(".")
    for i, part in enumerate(parts):
        below = raw.setdefault(part, {})
        if not isinstance(below, dict):
            raise ConfigError(f"--set {setting}: {'.'.join(parts[: i + 1])} has no keys below it")
        raw = below
    raw[last] = value
