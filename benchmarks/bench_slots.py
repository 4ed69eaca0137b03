"""Slot languages over a real vocabulary: building the token automaton, decoding a slot, and outlines-core's index beside it.

    python benchmarks/bench_slots.py --tokenizer DIR

CPU milliseconds, one thread, best of --repeat. The vocabulary's own tables are built before. outlines-core gets the same
ordinary tokens and, as far as its syntax goes, the same language as a pattern; it knows no JSON escapes, so its strings
are simpler. JSON lines go to --out or stdout.
"""

import argparse
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ["SMOLDIFF_CACHE"] = ""  # the disk would hide what building costs

import torch
from outlines_core import Index
from outlines_core import Vocabulary as OutlinesVocabulary
from rich.console import Console
from rich.table import Table
from transformers import PreTrainedTokenizerFast

from smoldiff.decode.slots import best_fill
from smoldiff.scaffold.pieces import Language
from smoldiff.schema.nodes import Enum, Integer, String
from smoldiff.template.automaton import token_automaton
from smoldiff.template.languages import length_bounds, slot_dfa
from smoldiff.template.trie import Trie
from smoldiff.template.vocabulary import Vocabulary

WORDS = ("single", "double", "twin", "suite", "dormitory")
LANGUAGES: dict[str, tuple[Language, str]] = {
    "string": (String(""), r'[^"\\\x00-\x1f]*'),
    "string of 3 to 64 characters": (String("", 3, 64), r'[^"\\\x00-\x1f]{3,64}'),
    "integer 1..100": (Integer("", 1, 100), "[1-9][0-9]?|100"),
    "enum of 5 words": (Enum("", tuple(f'"{word}"' for word in WORDS)), "|".join(WORDS)),
    "date": (String("", formats=("date",)), r"\d{4}-\d{2}-\d{2}"),
    "identifier": (String("", patterns=("^[a-z][a-z0-9_-]{0,31}$",)), "[a-z][a-z0-9_-]{0,31}"),
}
POSITIONS = (16, 32)


@dataclass(frozen=True, slots=True)
class Line:
    """One language; times in CPU milliseconds."""

    language: str
    states: int
    tokens: int
    """How large the slot's own vocabulary is."""
    build_ms: float
    fill_16_ms: float
    fill_32_ms: float
    outlines_ms: float


def main(arguments: Sequence[str] | None = None) -> None:
    args = parse(arguments)
    torch.set_num_threads(1)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(args.tokenizer)
    vocabulary = Vocabulary.of(tokenizer)
    Trie.of(vocabulary)
    indexed = outlines_vocabulary(vocabulary)
    lines = [
        measure(name, language, pattern, vocabulary, indexed, args.repeat)
        for name, (language, pattern) in LANGUAGES.items()
    ]
    Console(stderr=True, width=args.width).print(table(lines, len(vocabulary)))
    text = "".join(json.dumps(asdict(line)) + "\n" for line in lines)
    if args.out is None:
        sys.stdout.write(text)
    else:
        args.out.write_text(text, encoding="utf-8")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--tokenizer", type=Path, required=True, help="folder of a fast tokenizer")
    add("--repeat", type=int, default=5)
    add("--out", type=Path, help="where the JSON lines go (default: stdout)")
    add("--width", type=int, help="columns of the table (default: the terminal's)")
    return parser.parse_args(arguments)


def outlines_vocabulary(vocabulary: Vocabulary) -> OutlinesVocabulary:
    ids: dict[bytes, list[int]] = defaultdict(list)
    for token_id, text in enumerate(vocabulary.token_bytes):
        if text and token_id not in vocabulary.added_ids:
            ids[text].append(token_id)
    return OutlinesVocabulary(min(vocabulary.added_ids), dict(ids))


def measure(
    name: str,
    language: Language,
    pattern: str,
    vocabulary: Vocabulary,
    indexed: OutlinesVocabulary,
    repeat: int,
) -> Line:
    shortest, longest = length_bounds(language)

    def build() -> Any:
        slot_dfa.cache_clear()
        return token_automaton(
            slot_dfa(language),
            vocabulary,
            min_chars=shortest,
            max_chars=longest,
            max_tokens=max(POSITIONS),
        )

    automaton = build()
    fills_ms = []
    for num_positions in POSITIONS:
        scores = torch.randn(1, num_positions, len(automaton.token_ids))
        null = torch.zeros(1, num_positions)
        fills_ms.append(best_ms(lambda s=scores, n=null: best_fill(s, n, automaton), repeat))
    return Line(
        name,
        automaton.num_states,
        len(automaton.token_ids),
        best_ms(build, repeat),
        *fills_ms,
        best_ms(lambda: Index(pattern, indexed), min(repeat, 2)),
    )


def best_ms(do: Callable[[], object], repeat: int) -> float:
    taken = []
    for _ in range(repeat):
        began = time.process_time()
        do()
        taken.append(1e3 * (time.process_time() - began))
    return min(taken)


def table(lines: Sequence[Line], num_tokens: int) -> Table:
    shown = Table(
        "language",
        "states",
        "tokens",
        "build",
        *(f"decode, {num} positions" for num in POSITIONS),
        "outlines-core index",
        title=f"CPU ms over {num_tokens:,} tokens",
    )
    for line in lines:
        times = (line.build_ms, line.fill_16_ms, line.fill_32_ms, line.outlines_ms)
        shown.add_row(
            line.language,
            str(line.states),
            f"{line.tokens:,}",
            *(f"{ms:.2f}" for ms in times),
        )
    return shown


if __name__ == "__main__":
    main()
