"""An endless stream of packed rows of fixed length, made by worker processes.

Shapes: T positions a packed row, D documents, K positions whose logits are computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

from smoldiff_training.base.config import DataConfig
from smoldiff_training.data.aliases import collect_wordings
from smoldiff_training.data.augment import Corpus, augment
from smoldiff_training.data.entities import collect_pool
from smoldiff_training.data.render import calls_text, prompt_text
from smoldiff_training.data.rows import Row, read_json_lines, read_rows
from smoldiff_training.data.synthesize import Seeds, make_seeds, synthesize, without_call

END = "<|im_end|>"
NO_CALL_WEIGHT = 0.3  # free wording is not what is learned here, only that no call comes


@dataclass(frozen=True, slots=True)
class Document:
    """Token ids of a prompt and its answer, and what an answer token weighs in the loss."""

    ids: np.ndarray[Any, Any]  # int32
    num_prompt: int
    weight: float


def texts_of(row: Row) -> tuple[str, str]:
    """Prompt and answer. The two are tokenised apart, as they are when the model is used."""
    answer = calls_text(row.calls) if row.calls else row.answer
    return prompt_text(row.messages, row.tools), answer + END


def tokenize(rows: Sequence[Row], tokenizer: Any, max_tokens: int) -> list[Document]:
    """Documents of the rows that fit. `tokenizer` is a `tokenizers.Tokenizer`."""
    pairs = [texts_of(row) for row in rows]
    coded = tokenizer.encode_batch([t for pair in pairs for t in pair], add_special_tokens=False)
    found = []
    for i, row in enumerate(rows):
        prompt, answer = coded[2 * i].ids, coded[2 * i + 1].ids
        if len(prompt) + len(answer) <= max_tokens:
            ids = np.array(prompt + answer, dtype=np.int32)
            found.append(Document(ids, len(prompt), 1.0 if row.calls else NO_CALL_WEIGHT))
    return found


def pack(
    documents: Sequence[Document], cfg: DataConfig, prompt_weight: float, pad: int, rng: Random
) -> dict[str, torch.Tensor]:
    """One packed row: ids [T], positions [T], cu_seqlens [D + 1], and loss_at, targets, weights [K].

    Every answer token is in the loss; prompt tokens fill what is left of K, drawn at random.
    """
    size, max_loss = cfg.tokens_per_step, int(cfg.tokens_per_step * cfg.loss_share)
    ids = np.full(size, pad, dtype=np.int64)
    positions = np.zeros(size, dtype=np.int64)
    cu = np.full(cfg.max_documents + 1, size, dtype=np.int32)
    cu[0] = at = 0
    answers, prompts, weights = [], [], []
    for i, doc in enumerate(documents):
        n = len(doc.ids)
        ids[at : at + n] = doc.ids
        positions[at : at + n] = np.arange(n)
        answers.append(np.arange(at + doc.num_prompt - 1, at + n - 1))
        weights.append(np.full(n - doc.num_prompt, doc.weight, dtype=np.float32))
        prompts.append(np.arange(at, at + doc.num_prompt - 1))
        at += n
        cu[i + 1] = at
    num_pad, tail = size - at, len(documents)
    while num_pad > 0:  # padding is documents too, none longer than the longest allowed
        tail += 1
        step = min(num_pad, cfg.max_document_tokens)
        positions[at : at + step] = np.arange(step)
        at, num_pad = at + step, num_pad - step
        cu[tail] = at
    draw = np.random.default_rng(rng.getrandbits(64))
    answer_at, answer_w = np.concatenate(answers)[:max_loss], np.concatenate(weights)[:max_loss]
    prompt_at = np.concatenate(prompts)
    count = min(max_loss - len(answer_at), len(prompt_at))
    prompt_at = draw.choice(prompt_at, count, replace=False, shuffle=False)
    loss_at = np.zeros(max_loss, dtype=np.int64)
    loss_w = np.zeros(max_loss, dtype=np.float32)
    k = len(answer_at)
    loss_at[:k], loss_w[:k] = answer_at, answer_w
    loss_at[k : k + count], loss_w[k : k + count] = prompt_at, prompt_weight
    return {
        "ids": torch.from_numpy(ids),
        "positions": torch.from_numpy(positions),
        "cu_seqlens": torch.from_numpy(cu),
        "loss_at": torch.from_numpy(loss_at),
        "targets": torch.from_numpy(ids[loss_at + 1]),
        "weights": torch.from_numpy(loss_w),
        "num_answer": torch.tensor(k),
    }


def load_sources(cfg: DataConfig) -> tuple[list[Row], Corpus, Seeds]:
    rows = read_rows(Path(cfg.train))
    if cfg.num_rows:
        rows = rows[: cfg.num_rows]
    mcp = list(read_json_lines(Path(cfg.mcp_tools)))
    pool = collect_pool(rows)
    seeds = make_seeds(rows, mcp, pool)
    distractors = [t for r in rows[::7] for t in r.tools if r.source != "SGD"] + list(seeds.tools)
    distractors += [t for r in rows[::50] for t in r.tools if r.source == "SGD"]
    return rows, Corpus(collect_wordings(rows), pool, distractors), seeds


class PackedStream(torch.utils.data.IterableDataset[dict[str, torch.Tensor]]):
    """Packed rows without end; each worker of each process draws from a seed of its own."""

    def __init__(
        self, cfg: DataConfig, prompt_weight: float, seed: int, rank: int, num_ranks: int
    ) -> None:
        self.cfg, self.prompt_weight, self.seed = cfg, prompt_weight, seed
        self.rank, self.num_ranks = rank, num_ranks
        self.rows, self.corpus, self.seeds = load_sources(cfg)
        self.tokenizer_json = (Path(cfg.tokenizer) / "tokenizer.json").read_text(encoding="utf-8")

    def draw_rows(self, rng: Random, worker: int, num_workers: int) -> Iterator[Row]:
        """This worker's rows, epoch after epoch, with synthetic ones mixed in."""
        part, parts = self.rank * num_workers + worker, self.num_ranks * num_workers
        epoch = 0
        while True:
            order = np.random.default_rng((self.seed, epoch)).permutation(len(self.rows))
            for i in order[part::parts]:
                yield augment(self.rows[i], self.corpus, rng)
                draw = rng.random() * (1 - self.cfg.synthetic_share - self.cfg.no_call_share)
                if draw < self.cfg.no_call_share:
                    yield augment(without_call(self.seeds, rng), self.corpus, rng)
                elif draw < self.cfg.no_call_share + self.cfg.synthetic_share:
                    yield augment(synthesize(self.seeds, rng), self.corpus, rng)
            epoch += 1

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        from tokenizers import Tokenizer

        info = torch.utils.data.get_worker_info()
        worker, num_workers = (info.id, info.num_workers) if info else (0, 1)
        tokenizer = Tokenizer.from_str(self.tokenizer_json)
        pad = tokenizer.token_to_id("<|endoftext|>")
        assert pad is not None
        rng = Random(f"{self.seed}/{self.rank}/{worker}")
        rows = self.draw_rows(rng, worker, num_workers)
        waiting: list[Document] = []
        while True:
            chosen: list[Document] = []
            room = self.cfg.tokens_per_step
            max_chosen = self.cfg.max_documents - 1 - room // self.cfg.max_document_tokens
            while len(chosen) < max_chosen:
                if len(waiting) < 32:
                    batch = [next(rows) for _ in range(64)]
                    waiting += tokenize(batch, tokenizer, self.cfg.max_document_tokens)
                # the first of those waiting that fits; none fits in the last few tokens of a row
                fit = next((i for i, d in enumerate(waiting) if len(d.ids) <= room), None)
                if fit is None:
                    break
                chosen.append(waiting.pop(fit))
                room -= len(chosen[-1].ids)
            yield pack(chosen, self.cfg, self.prompt_weight, pad, rng)


def packed_batches(
    cfg: DataConfig, prompt_weight: float, seed: int, rank: int, num_ranks: int
) -> Iterator[dict[str, torch.Tensor]]:
    """The stream through `cfg.num_workers` processes."""
    stream = PackedStream(cfg, prompt_weight, seed, rank, num_ranks)
    loader = torch.utils.data.DataLoader(
        stream,
        batch_size=None,
        num_workers=cfg.num_workers,
        prefetch_factor=cfg.prefetch if cfg.num_workers else None,
        multiprocessing_context="fork" if cfg.num_workers else None,
        pin_memory=torch.cuda.is_available(),
    )
    return iter(loader)
