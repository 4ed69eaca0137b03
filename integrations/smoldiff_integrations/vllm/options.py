"""What a server says to the plugin: `--additional-config '{"smoldiff": {...}}'`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from smoldiff.decode.drafters import parse_drafter
from smoldiff.errors import RequestError


@dataclass(frozen=True, slots=True)
class Options:
    """Checked options of the plugin."""

    drafter: frozenset[str] | None = None
    """The parts that draft; None for "diffusion+copy" with a head, else "parallel+copy"."""
    head: str | None = None
    """A head's folder or repository, "none" for none; None for the folder `head` in the model's own, if there is one."""
    log_requests: bool = False
    """Whether each request's statistics are logged when it is done."""
    throughput_first: bool = False
    """Whether drafts may slow requests without a schema where the server as a whole writes more tokens so."""


def read_options(additional_config: Any) -> Options:
    """The options in vLLM's additional configuration. Raises RequestError."""
    given = additional_config.get("smoldiff", {}) if isinstance(additional_config, Mapping) else {}
    if not isinstance(given, Mapping):
        raise RequestError("additional-config: 'smoldiff' must be an object")
    known = {one.name: one.default for one in fields(Options)}
    for name, value in given.items():
        if name not in known:
            raise RequestError(
                f"additional-config: smoldiff.{name} is unknown; known are {', '.join(known)}"
            )
        if isinstance(known[name], bool) and not isinstance(value, bool):
            raise RequestError(f"additional-config: smoldiff.{name} is {value!r}; true or false?")
    values = dict(given)
    if "drafter" in values:
        values["drafter"] = parse_drafter(values["drafter"])
    return Options(**values)
