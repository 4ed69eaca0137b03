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
from fuzz.findings import Finding, examine, minimised, shown, size, written
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
        found = examine(schema, seed, self.counts)
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
    name.with_suffix(".json").write_text(json.dumps({"size": size(smallest.schema)}))
    name.with_suffix(".pickle").write_bytes(_pickled((smallest.schema, smallest.seed)))


def _pickled(value: object) -> bytes:
    try:
        return pickle.dumps(value)
    except Exception:  # a Python value that is no JSON and no data
        return pickle.dumps(written(value))


def work(out: Path, number: int, counts: Any) -> None:
    """One chunk of each source; `counts` is the queue for what was seen."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))
    torch.set_num_threads(1)
    worker, rng = Worker(out), random.Random(number)
    for source, strategy in (("schemas", schemas()), ("hostile", hostile_schemas())):
        draw(number, strategy, lambda schema, nonce, s=source: worker.examine(s, schema, nonce))
    for _ in range(CHUNK if real_schemas() else 0):
        worker.examine("real", mutated(rng), rng.randrange(1000))
    counts.put(worker.counts)


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


def fuzz(out: Path, minutes: float, number: int) -> Counter[str]:
    """Run workers one after another, each with seeds of its own, until the time is over."""
    stop, seen = time.monotonic() + 60 * minutes, Counter[str]()
    context = multiprocessing.get_context("spawn")
    counts = context.Queue()
    while time.monotonic() < stop:
        process = context.Process(target=work, args=(out, number, counts))
        process.start()
        process.join(max(1, stop - time.monotonic()))
        if process.is_alive():
            process.terminate()
            process.join()
        elif process.exitcode:
            found = lost(out, process.exitcode)
            (out / f"lost-{number}.txt").write_text(shown(found), errors="backslashreplace")
            (out / f"lost-{number}.pickle").write_bytes(_pickled((found.schema, found.seed)))
        else:
            seen += counts.get()
            print(json.dumps(seen), flush=True)
        number += 1
    return seen


def again(out: Path) -> None:
    """Examine what was found once more: which findings are still there."""
    for name in sorted(out.glob("*.pickle")):
        if name.stem == "at_hand":
            continue
        schema, seed = pickle.loads(name.read_bytes())
        found = examine(schema, seed)
        print(name.with_suffix(".txt"), found.kind if found else "gone", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("findings"))
    parser.add_argument("--again", action="store_true", help="only examine what was found before")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if not args.again:
        print(json.dumps(fuzz(args.out, args.minutes, args.seed)))
    again(args.out)


if __name__ == "__main__":
    main()
