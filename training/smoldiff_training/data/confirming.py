"""Answers that a base is known to write: one pass over prompt and answer tells.

Where the base's best token is the answer's at every position, and an end behind it, greedy decoding writes just this
answer, under any grammar that allows it. Most rows of a base's own training data end here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from smoldiff.decode.model import Model
from smoldiff_training.data.recording import Ids, LogProbs, best_of

# Shapes: B rows, N tokens, K positions whose next token is the answer's or the end, H hidden size, V vocabulary.

TOKENS_A_PASS = 32_768
Best = tuple[Ids, LogProbs]


def confirmed(
    model: Model,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    top_k: int,
    least_gap: float,
    tokens_a_pass: int = TOKENS_A_PASS,
) -> list[Best | None]:
    """For each pair of prompt and answer the base's best tokens along the answer, None where it writes another one.

    Best tokens and log-probabilities are [T, top_k] each, over the T tokens of the answer. Where the best logit is
    not more than `least_gap` ahead of the second, that counts as another answer.
    """
    found: list[Best | None] = [None] * len(prompts)
    lengths = [len(p) + len(a) for p, a in zip(prompts, answers, strict=True)]
    order = sorted((i for i, answer in enumerate(answers) if answer), key=lengths.__getitem__)
    for batch in filled(order, lengths, tokens_a_pass):
        pairs = [(prompts[i], answers[i]) for i in batch]
        for i, best in zip(batch, _confirmed(model, pairs, top_k, least_gap), strict=True):
            found[i] = best
    return found


def filled(order: Sequence[int], lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Batches of at most `size` tokens with their padding, or of one row; `order` is by length."""
    batch: list[int] = []
    for i in order:
        if batch and (len(batch) + 1) * lengths[i] > size:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


@torch.inference_mode()
def _confirmed(
    model: Model,
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    top_k: int,
    least_gap: float,
) -> list[Best | None]:
    network = model.base.model  # type: ignore[attr-defined]  # a transformers base
    width = max(len(prompt) + len(answer) for prompt, answer in pairs)
    rows = [[*p, *a] + [0] * (width - len(p) - len(a)) for p, a in pairs]
    ids_BN = torch.tensor(rows, device=network.device)
    # Padding stands behind the text, where a causal model never looks back from.
    hidden_BNH = network.get_decoder()(input_ids=ids_BN, use_cache=False).last_hidden_state
    at = [(b, len(p) - 1 + t) for b, (p, a) in enumerate(pairs) for t in range(len(a) + 1)]
    rows_K, columns_K = torch.tensor(at, device=network.device).unbind(1)
    logits_KV = network.get_output_embeddings()(hidden_BNH[rows_K, columns_K]).float()
    gaps_K2 = logits_KV.topk(2, dim=-1)
    is_sure_K = (gaps_K2.values[:, 0] - gaps_K2.values[:, 1] > least_gap).tolist()
    best_K = gaps_K2.indices[:, 0].tolist()
    logp_KT, ids_KT = best_of([logits_KV], top_k)
    found: list[Best | None] = []
    start = 0
    for _, answer in pairs:
        stop = start + len(answer)
        is_same = best_K[start:stop] == list(answer) and best_K[stop] in model.eos_ids
        is_right = is_same and all(is_sure_K[start : stop + 1])
        found.append((ids_KT[start:stop], logp_KT[start:stop]) if is_right else None)
        start = stop + 1
    return found
