"""Many mixed requests to a server with drafts, aborted and bad ones among them; status 1 if anything is not as it should be.

    python benchmarks/soak_vllm.py --requests 2000 --at-once 16 -- --dtype float32 --max-model-len 1024

A good request must get a valid answer, a bad one a 400 with a reason, and the server must be alive and not much larger at
the end than after a quarter of the requests. Prints one JSON line.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jsonschema
import openai
from serving.asking import Answer, ask, kept_requests, tools_of
from serving.server import (
    Server,
    serving,
    split_flags,
    stop_when_terminated,
    with_drafts,
    without_drafts,
)

MODEL = "smoldiff-nano"
MAX_GROWTH_MIB = 150
"""vLLM alone grows by about 100 over 2,000 of these requests (--without-drafts)."""
TEXT = [{"role": "user", "content": "Hello, who are you?"}]
KINDS = {"call": 12, "sampled call": 3, "text": 2, "abort": 2, "bad schema": 1, "too long": 1}


def main(arguments: Sequence[str] | None = None) -> int:
    own, flags = split_flags(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--at-once", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--without-drafts", action="store_true", help="vLLM alone, whose memory grows too"
    )
    args = parser.parse_args(own)
    stop_when_terminated()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "server.log")
        command_of = without_drafts if args.without_drafts else with_drafts
        with serving(command_of(MODEL, *flags), log) as server:
            found = soak(server, args.requests, args.at_once, args.seed)
        found["faults"] = log.read_text(errors="replace").count("a fault of the drafter")
    is_good = not found["wrong"] and not found["faults"] and found["grown_mib"] <= MAX_GROWTH_MIB
    print(json.dumps({"benchmark": "vllm soak", **found, "is_good": is_good}))
    return 0 if is_good else 1


def soak(server: Server, num_requests: int, at_once: int, seed: int) -> dict[str, Any]:
    """Send everything; what came of it, by kind, and how the server's memory grew."""
    client = openai.OpenAI(base_url=server.base_url, api_key="none", timeout=600, max_retries=0)
    rng = random.Random(seed)
    kinds = rng.choices(list(KINDS), list(KINDS.values()), k=num_requests)
    requests = rng.choices(kept_requests(), k=num_requests)
    memory: list[int] = []
    began = time.perf_counter()
    outcomes: list[tuple[str, str]] = []
    num_parts = 8
    with ThreadPoolExecutor(at_once) as pool:
        for part in range(num_parts):
            some = slice(num_requests * part // num_parts, num_requests * (part + 1) // num_parts)
            todo = zip(kinds[some], requests[some], strict=True)
            outcomes += pool.map(lambda one: (one[0], outcome(client, *one)), todo)
            memory.append(sum(server.memory_bytes()))
    wrong = Counter(f"{kind}: {what}" for kind, what in outcomes if what)
    return {
        "memory_by_process_mib": [size >> 20 for size in server.memory_bytes()],
        "num_requests": num_requests,
        "at_once": at_once,
        "by_kind": dict(Counter(kinds)),
        "wrong": dict(wrong),
        "seconds": round(time.perf_counter() - began),
        "memory_mib": [size >> 20 for size in memory],
        "grown_mib": (memory[-1] - memory[num_parts // 4]) >> 20,
    }


def outcome(client: Any, kind: str, request: dict[str, Any]) -> str:
    """ "" where the server did what it should, else what it did."""
    try:
        match kind:
            case "call":
                return problem(request, ask(client, MODEL, request))
            case "sampled call":
                return problem(request, ask(client, MODEL, request, temperature=0.8, top_p=0.9))
            case "text":
                answer = ask(client, MODEL, {"messages": TEXT}, max_tokens=30)
                return "" if answer.num_tokens else "no text"
            case "abort":
                arguments = {k: v for k, v in request.items() if k != "name"}
                stream = client.chat.completions.create(model=MODEL, stream=True, **arguments)
                next(iter(stream))
                stream.close()
                return ""
            case _:
                return refused(client, kind, request)
    except (openai.OpenAIError, jsonschema.ValidationError, ValueError) as problem_found:
        return f"{type(problem_found).__name__}: {str(problem_found)[:120]}"


def problem(request: dict[str, Any], answer: Answer) -> str:
    """What is wrong with an answer; one that ran into max_tokens is cut, and not judged."""
    if answer.finish_reason == "length":
        return ""
    tools = tools_of(request)
    for name, arguments in answer.calls:
        jsonschema.validate(json.loads(arguments), tools[name])
    if "response_format" in request:
        schema = request["response_format"]["json_schema"]["schema"]
        jsonschema.validate(json.loads(answer.content or ""), schema)
    wants_call = request.get("tool_choice", "auto") != "auto"
    return "no call" if wants_call and not answer.calls else ""


def refused(client: Any, kind: str, request: dict[str, Any]) -> str:
    if kind == "too long":
        bad = {**request, "messages": [{"role": "user", "content": "word " * 5000}]}
    else:
        schema = {"name": "bad", "schema": {"type": "strin"}}
        form = {"type": "json_schema", "json_schema": schema}
        bad = {"messages": TEXT, "response_format": form}
    try:
        ask(client, MODEL, bad)
    except openai.BadRequestError as reason:
        return "" if reason.message else "no reason"
    return "was answered"


if __name__ == "__main__":
    sys.exit(main())
