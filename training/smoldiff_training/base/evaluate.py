"""How often the model's greedy call is right on held-out rows, over all rows and by source."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch

from smoldiff_training.base.config import DataConfig
from smoldiff_training.base.model import eager_layers, packed_hidden
from smoldiff_training.data.render import calls_text, prompt_text
from smoldiff_training.data.rows import Row, read_rows
from smoldiff_training.data.stream import END

CALL = re.compile(r"<tool_call>\s*(.*?)\s*</tool_call>", re.S)
Scores = dict[str, dict[str, float]]


def held_out(cfg: DataConfig, count: int, seed: int = 0) -> list[Row]:
    rows = read_rows(Path(cfg.dev))
    Random(seed).shuffle(rows)
    return rows[:count] if count else rows


def name_tokens(row: Row, offsets: Sequence[tuple[int, int]]) -> int:
    """How many tokens of the answer reach to the end of the first tool's name."""
    end = (
        len('<tool_call>\n{"name": "')
        + len(json.dumps(row.calls[0]["name"], ensure_ascii=False))
        - 1
    )
    return sum(1 for start, _ in offsets if start < end)


def table(hits: Sequence[tuple[str, bool, bool]]) -> Scores:
    """Shares of right names and right calls, by source and for all."""
    by: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    for source, name, whole in hits:
        for key in ("all", source):
            by[key].append((name, whole))
    return {
        k: {
            "rows": len(v),
            "name": round(sum(n for n, _ in v) / len(v), 4),
            "call": round(sum(w for _, w in v) / len(v), 4),
        }
        for k, v in by.items()
    }


def chunks(documents: Sequence[tuple[Row, list[int], int, int]], size: int) -> Iterator[list[Any]]:
    chosen: list[Any] = []
    room = size
    for doc in documents:
        if chosen and len(doc[1]) > room:
            yield chosen
            chosen, room = [], size
        chosen.append(doc)
        room -= len(doc[1])
    if chosen:
        yield chosen


@torch.no_grad()
def forced_scores(model: Any, tokenizer: Any, rows: Sequence[Row], size: int = 65_536) -> Scores:
    """Greedy decoding's score from one pass: a greedy answer is right iff each argmax is the gold token."""
    device = next(model.parameters()).device
    documents = []
    for row in rows:
        prompt = tokenizer.encode(prompt_text(row.messages, row.tools), add_special_tokens=False)
        answer = tokenizer.encode(calls_text(row.calls) + END, add_special_tokens=False)
        ids = prompt.ids + answer.ids
        documents.append((row, ids, len(prompt.ids), name_tokens(row, answer.offsets)))
    hits = []
    for chosen in chunks(documents, size):
        ids = torch.tensor([i for d in chosen for i in d[1]], device=device)
        positions = torch.cat([torch.arange(len(d[1])) for d in chosen]).to(device)
        ends = torch.tensor([0, *(len(d[1]) for d in chosen)]).cumsum(0).to(device, torch.int32)
        longest = max(len(d[1]) for d in chosen)
        cast = torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
        with eager_layers(model), cast:
            hidden = packed_hidden(model, ids[None], positions[None], ends, longest)[0]
            starts = ends.tolist()
            for (row, doc_ids, num_prompt, num_name), start in zip(chosen, starts, strict=False):
                at = slice(start + num_prompt - 1, start + len(doc_ids) - 1)
                best = model.lm_head(hidden[at]).argmax(-1)
                right = best == ids[start + num_prompt : start + len(doc_ids)]
                hits.append((row.source, bool(right[:num_name].all()), bool(right.all())))
    return table(hits)


def parse_calls(text: str) -> list[Any]:
    """The calls in an answer; what does not parse counts as None."""
    found: list[Any] = []
    for body in CALL.findall(text):
        try:
            found.append(json.loads(body))
        except json.JSONDecodeError:
            found.append(None)
    return found


def is_name_right(calls: Sequence[Any], row: Row) -> bool:
    names = [c.get("name") if isinstance(c, dict) else None for c in calls]
    return names == [c["name"] for c in row.calls]


@torch.no_grad()
def generated_scores(
    model: Any, tokenizer: Any, rows: Sequence[Row], batch_size: int, num_shown: int = 6
) -> tuple[Scores, list[str]]:
    """Scores of unconstrained greedy generation, and a few answers to look at.

    `model` is a plain SmolLM3ForCausalLM and `tokenizer` the transformers one, padding on the left.
    """
    device = next(model.parameters()).device
    ordered = sorted(rows, key=lambda r: len(prompt_text(r.messages, r.tools)))
    hits: list[tuple[str, bool, bool]] = []
    shown: list[str] = []
    for at in range(0, len(ordered), batch_size):
        batch = ordered[at : at + batch_size]
        texts = [prompt_text(r.messages, r.tools) for r in batch]
        inputs = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False).to(
            device
        )
        inputs.pop("token_type_ids", None)
        out = model.generate(**inputs, max_new_tokens=160, do_sample=False)
        answers = tokenizer.batch_decode(
            out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=False
        )
        for i, (row, answer) in enumerate(zip(batch, answers, strict=True)):
            calls = parse_calls(answer.split(END)[0])
            hits.append((row.source, is_name_right(calls, row), calls == row.calls))
            if i == 0 and len(shown) < num_shown:
                mark = "right" if hits[-1][2] else "wrong"
                gold = calls_text(row.calls)
                shown.append(f"[{mark}] gold {gold!r}\n        got {answer.split(END)[0]!r}")
    return table(hits), shown
