"""From a schema to an answer, without a model: what each step takes, beside llguidance on the same schemas and tokenizer.

    python benchmarks/bench_compile.py --schemas jsonschemabench.jsonl.gz --tokenizer DIR --limit 440

smoldiff compiles, binds, and answers with random scores (`mode="diffusion"`); llguidance compiles, and computes a mask
for every token of that same answer. CPU time, one thread, the engines taking turns schema by schema; the vocabulary's
own tables are built before, and their time is its own line. A schema that an engine refuses, or an answer that it does
not let pass, counts for the share and for nothing else. JSON lines, one a step, go to --out or stdout.
"""

import argparse
import gzip
import json
import os
import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

os.environ.setdefault("SMOLDIFF_CACHE", "")  # the disk would hide what building costs

import numpy as np
import torch
from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from transformers import PreTrainedTokenizerFast

from smoldiff.decode.diffusion import write_answer
from smoldiff.decode.grammar import AnswerForm
from smoldiff.decode.judge import judge
from smoldiff.decode.options import DEFAULT_MAX_REMASKS
from smoldiff.decode.scores import RandomScores
from smoldiff.errors import SmoldiffError
from smoldiff.scaffold.compile import compile_schema
from smoldiff.scaffold.scaffold import Scaffold
from smoldiff.template.template import unroll
from smoldiff.template.trie import Trie
from smoldiff.template.vocabulary import Vocabulary

MAX_TOKENS = 1 << 14
Result = TypeVar("Result")
TABLES, COMPILE, CACHED, BIND, REBIND, ANSWER, AGAIN = (
    "vocabulary tables",
    "compile",
    "compile, cached",
    "bind a new schema",
    "bind again",
    "answer, first",
    "answer, again",
)
LL_TABLES, LL_COMPILE, LL_MASKS, LL_MASK = (
    "llguidance: tables",
    "llguidance: compile",
    "llguidance: masks of an answer",
    "llguidance: one mask",
)


class Clock:
    """CPU milliseconds by step."""

    def __init__(self) -> None:
        self.ms: dict[str, list[float]] = defaultdict(list)

    def time(self, step: str, do: Callable[[], Result]) -> Result:
        began = time.process_time()
        result = do()
        self.ms[step].append(1e3 * (time.process_time() - began))
        return result


def main(arguments: Sequence[str] | None = None) -> None:
    args = parse(arguments)
    torch.set_num_threads(1)
    console = Console(stderr=True, width=args.width)
    schemas = sample(args.schemas, args.limit, args.seed)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(args.tokenizer)
    clock = Clock()
    vocabulary = clock.time(TABLES, lambda: tables(tokenizer))
    engine = clock.time(LL_TABLES, lambda: from_tokenizer(tokenizer))
    refused = {"smoldiff": 0, "llguidance": 0}
    for num, schema in enumerate(track(schemas, "schemas", console=console, transient=True)):
        text = ours(clock, schema, vocabulary, num)
        refused["smoldiff"] += text is None
        refused["llguidance"] += not theirs(clock, schema, engine, vocabulary, text)
    console.print(table(clock, f"{len(schemas)} schemas, {len(vocabulary):,} tokens"))
    shares = [f"{name} {len(schemas) - n}/{len(schemas)}" for name, n in refused.items()]
    console.print("answered (smoldiff) or compiled (llguidance): " + ", ".join(shares))
    write(clock, len(schemas), refused, args.out)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--schemas", type=Path, required=True, help="rows with a schema, .jsonl.gz")
    add("--tokenizer", type=Path, required=True, help="folder of a fast tokenizer")
    add("--limit", type=int, help="how many schemas (default: all)")
    add("--seed", type=int, default=0, help="of the shuffle")
    add("--out", type=Path, help="where the JSON lines go (default: stdout)")
    add("--width", type=int, help="columns of the table (default: the terminal's)")
    return parser.parse_args(arguments)


def sample(path: Path, limit: int | None, seed: int) -> list[Any]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        schemas = [json.loads(line)["schema"] for line in lines]
    random.Random(seed).shuffle(schemas)
    return schemas if limit is None else schemas[:limit]


def tables(tokenizer: PreTrainedTokenizerFast) -> Vocabulary:
    vocabulary = Vocabulary.of(tokenizer)
    Trie.of(vocabulary)
    return vocabulary


def ours(clock: Clock, schema: Any, vocabulary: Vocabulary, seed: int) -> str | None:
    """The answer's text; None where there is none."""
    try:
        scaffold = clock.time(COMPILE, lambda: compile_schema(schema))
        clock.time(CACHED, lambda: compile_schema(schema))
        clock.time(BIND, lambda: unroll(scaffold, vocabulary))
        clock.time(ANSWER, lambda: answer(scaffold, vocabulary, seed))
        return clock.time(AGAIN, lambda: answer(scaffold, vocabulary, seed))
    except SmoldiffError:
        return None


def answer(scaffold: Scaffold, vocabulary: Vocabulary, seed: int) -> str:
    form = AnswerForm(
        scaffold.source, scaffold.call_style, scaffold.json_style, max_calls=1, may_be_text=False
    )
    return write_answer(
        scaffold,
        vocabulary,
        RandomScores(seed),
        judge(form),
        max_tokens=MAX_TOKENS,
        max_remasks=DEFAULT_MAX_REMASKS,
    ).text


def theirs(
    clock: Clock, schema: Any, engine: LLTokenizer, vocabulary: Vocabulary, text: str | None
) -> bool:
    """Whether the schema compiles."""
    options = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}

    def compiled() -> LLMatcher:
        grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=options)
        return LLMatcher(engine, grammar, log_level=0)

    try:
        matcher = clock.time(LL_COMPILE, compiled)
    except ValueError:
        return False
    if matcher.is_error():
        clock.ms[LL_COMPILE].pop()
        return False
    if text is not None:
        masks_ms = masks(matcher, vocabulary.encode_bytes(text.encode()), len(vocabulary))
        if masks_ms is not None:
            clock.ms[LL_MASKS].append(sum(masks_ms))
            clock.ms[LL_MASK] += masks_ms
    return True


def masks(matcher: LLMatcher, ids: Sequence[int], num_tokens: int) -> list[float] | None:
    """CPU milliseconds of the mask before each token; None where one is not let pass."""
    words = np.empty((num_tokens + 31) // 32, dtype=np.uint32)
    taken = []
    for token_id in ids:
        began = time.thread_time_ns()
        matcher.unsafe_compute_mask_ptr(words.ctypes.data, words.nbytes)
        taken.append((time.thread_time_ns() - began) / 1e6)
        if matcher.is_error() or not matcher.consume_token(token_id):
            return None
    return taken


def table(clock: Clock, title: str) -> Table:
    shown = Table("CPU ms", "n", "median", "p95", "max", title=title)
    for step, ms in clock.ms.items():
        points = np.percentile(ms, (50, 95, 100))
        shown.add_row(step, str(len(ms)), *(f"{point:.3f}" for point in points))
    return shown


def write(clock: Clock, num_schemas: int, refused: dict[str, int], path: Path | None) -> None:
    lines = []
    for step, ms in clock.ms.items():
        median, p95, most = np.percentile(ms, (50, 95, 100))
        row = {"step": step, "n": len(ms), "median_ms": median, "p95_ms": p95, "max_ms": most}
        lines.append(json.dumps({**row, "schemas": num_schemas, "refused": refused}) + "\n")
    if path is None:
        sys.stdout.writelines(lines)
    else:
        path.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
