"""Fuzz everything from a schema to an answer: python tests/fuzz/fuzz_compiler.py --minutes 30 --out findings

Schemas come from the strategies, plain and hostile, and from real ones with changes. A finding is an exception that is no
SmoldiffError, an answer that jsonschema refutes, a schema that is called unsatisfiable and is not, and anything that
takes too long, too much memory, or the process with it. Each kind of finding is written to one file, minimised.
"""

import argparse
import faulthandler
import json
import multiprocessing
import pickle
import random
import resource
import sys
import time
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # tests/, as pytest has it

import torch
from fuzz.findings import Finding, examine, minimised, shown, size
from fuzz.mutations import mutated, real_schemas
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from strategies import hostile_schemas, schemas

CHUNK = 200
"""Schemas of one worker process."""
MAX_HANG_S = 60
MAX_BYTES = 8 << 30
"""Address space of a worker, libraries included."""


class Worker:
    """Examines schemas one after another, and notes the one at hand, in case it takes the process with it."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.counts: Counter[str] = Counter()

    def examine(self, source: str, schema: Any, seed: int) -> None:
        (self.out / "at_hand.pickle").write_bytes(_pickled((source, schema, seed)))
        faulthandler.dump_traceback_later(MAX_HANG_S, exit=True)
        found = examine(schema, seed)
        faulthandler.cancel_dump_traceback_later()
        self.counts[source] += 1
        if found is not None:
            self.counts[found.kind] += 1
            faulthandler.dump_traceback_later(10 * MAX_HANG_S, exit=True)
            keep(self.out, found)
            faulthandler.cancel_dump_traceback_later()


def keep(out: Path, found: Finding) -> None:
    """Write a finding to the file of its kind, unless a smaller one is there."""
    name = out / (sha256(found.kind.encode()).hexdigest()[:12] + ".txt")
    known = json.loads(name.with_suffix(".json").read_text()) if name.exists() else None
    if known is not None and known["size"] <= size(found.schema):
        return
    smallest = minimised(found)
    name.write_text(shown(smallest), encoding="utf-8", errors="backslashreplace")
    summary = {"kind": smallest.kind, "size": size(smallest.schema)}
    name.with_suffix(".json").write_text(json.dumps(summary))


def _pickled(value: object) -> bytes:
    try:
        return pickle.dumps(value)
    except Exception:  # a Python value that is no JSON and no data
        return pickle.dumps(repr(value))


def work(out: Path, number: int) -> None:
    """One chunk of each source; prints its counts as JSON."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))
    torch.set_num_threads(1)
    worker, rng = Worker(out), random.Random(number)
    for source, strategy in (("schemas", schemas()), ("hostile", hostile_schemas())):
        draw(number, strategy, lambda schema, nonce, s=source: worker.examine(s, schema, nonce))
    for _ in range(CHUNK if real_schemas() else 0):
        worker.examine("real", mutated(rng), rng.randrange(1000))
    print(json.dumps(worker.counts))


def draw(number: int, strategy: Any, use: Any) -> None:
    @seed(number)
    @settings(
        max_examples=CHUNK,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy, st.integers(0, 999))
    def each(schema: Any, nonce: int) -> None:
        use(schema, nonce)

    each()


def lost(out: Path, exit_code: int | None) -> Finding:
    """The schema that a worker died of."""
    at_hand = pickle.loads((out / "at_hand.pickle").read_bytes())
    source, schema, nonce = at_hand if isinstance(at_hand, tuple) else ("?", at_hand, 0)
    return Finding(f"process ended with {exit_code} on {source}", schema, nonce, "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("findings"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    stop, number = time.monotonic() + 60 * args.minutes, args.seed
    context = multiprocessing.get_context("spawn")
    while time.monotonic() < stop:
        process = context.Process(target=work, args=(args.out, number))
        process.start()
        process.join(max(1, stop - time.monotonic()))
        if process.is_alive():
            process.terminate()
            process.join()
        elif process.exitcode:
            found = lost(args.out, process.exitcode)
            (args.out / f"lost-{number}.txt").write_text(shown(found), errors="backslashreplace")
        number += 1
    for name in sorted(args.out.glob("*.txt")):
        print(name, name.read_text().split("\n")[0])


if __name__ == "__main__":
    main()
