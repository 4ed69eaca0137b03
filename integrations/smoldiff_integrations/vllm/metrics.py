"""The workers' numbers on the server's Prometheus page, beside vLLM's own."""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from typing import Any

from smoldiff_integrations.vllm.counters import (
    HELP,
    LABELS,
    NAMES,
    end_run,
    read_run,
    start_run,
)

PREFIX = "smoldiff:"


class Collector:
    """Read at every visit of the page; shows nothing where no worker drafts."""

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily

        values = read_run()
        if values is None:
            return
        families = {
            name: CounterMetricFamily(PREFIX + name, HELP[name], labels=labels)
            for name, labels in LABELS.items()
        }
        for (name, labels), value in zip(NAMES, values.tolist(), strict=True):
            if value or not labels:
                families[name].add_metric([text for _, text in labels], value)
        yield from families.values()


def show_metrics() -> None:
    """Put the numbers on the page of the process that starts the server's run; safe to repeat."""
    if not start_run():
        return
    from prometheus_client import REGISTRY

    REGISTRY.register(Collector())
    atexit.register(end_run)
