"""Published data sets to rows: one file a format, each with `read(raw) -> list[Row]`, which raises UnusableRow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from smoldiff_training.data.adapters import (
    apigen_mt,
    argilla_apigen,
    glaive,
    hermes,
    nestful,
    project,
    when2call,
    xlam,
)
from smoldiff_training.data.rows import Row

READERS: dict[str, Callable[[Mapping[str, Any]], list[Row]]] = {
    "smoldiff": project.read,
    "hermes": hermes.read,
    "xlam": xlam.read,
    "glaive": glaive.read,
    "apigen_mt": apigen_mt.read,
    "when2call": when2call.read,
    "nestful": nestful.read,
    "argilla_apigen": argilla_apigen.read,
}
