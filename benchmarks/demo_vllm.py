"""Serve the bundled model with drafts and without, send the requests kept beside this file to both, and compare.

make demo-vllm
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import openai
from rich.console import Console
from rich.table import Table
from serving.asking import Answer, ask, kept_requests
from serving.server import STEPS, Server, serving, with_drafts, without_drafts

MODEL = "smoldiff-nano"
FLAGS = ("--dtype", "float32", "--enforce-eager", "--max-model-len", "2048", "--max-num-seqs", "16")


def main() -> None:
    console = Console()
    requests = kept_requests()
    with tempfile.TemporaryDirectory() as folder:
        with serving(without_drafts(MODEL, *FLAGS), Path(folder, "without.log")) as server:
            plain = measured(server, requests)
        with serving(with_drafts(MODEL, *FLAGS), Path(folder, "with.log")) as server:
            drafted = measured(server, requests)
            drafts = server.total("smoldiff:draft_tokens_total")
            accepted = server.total("smoldiff:accepted_tokens_total")
    table = Table("request", "answer", "steps", "ms", title="without drafts / with drafts")
    for request, one, other in zip(requests, plain, drafted, strict=True):
        same = "" if one[0] == other[0] else "[red]differs[/red] "
        pair = f"{one[1]:.0f} / {other[1]:.0f}", f"{one[2]:.0f} / {other[2]:.0f}"
        table.add_row(request["name"], same + text_of(other[0]), *pair)
    console.print(table)
    steps = [sum(row[1] for row in rows) for rows in (plain, drafted)]
    times = [sum(row[2] for row in rows) for rows in (plain, drafted)]
    console.print(
        f"{steps[0] / steps[1]:.1f} times fewer engine steps, {times[0] / times[1]:.1f} times as fast; "
        f"{accepted:.0f} of {drafts:.0f} draft tokens were confirmed"
    )


def measured(server: Server, requests: list[dict[str, Any]]) -> list[tuple[Answer, float, float]]:
    """Answer, engine steps and milliseconds of each request, behind a first round that warms up."""
    client = openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0)
    for request in requests:
        ask(client, MODEL, request)
    found = []
    for request in requests:
        before, began = server.total(STEPS), time.perf_counter()
        answer = ask(client, MODEL, request)
        elapsed_ms = 1e3 * (time.perf_counter() - began)
        found.append((answer, server.total(STEPS) - before, elapsed_ms))
    return found


def text_of(answer: Answer) -> str:
    calls = " ".join(f"{name}({arguments})" for name, arguments in answer.calls)
    return calls or (answer.content or "")


if __name__ == "__main__":
    main()
