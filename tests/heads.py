"""Small random bases with heads, what such a head remembers, and queries."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from fakes import byte_tokenizer
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    SmolLM3Config,
)

from smoldiff.decode.model import Model
from smoldiff.head.inputs import SLOTS, Queries, Query
from smoldiff.head.memory import Memory
from smoldiff.head.model import DiffusionHead
from smoldiff.head.readings import MAX_MATCH, Rows, Scores
from smoldiff.head.taps import Taps
from smoldiff.template.template import MASK

SMALL = {
    "vocab_size": 300,  # more rows than the tokenizer has tokens, as padded checkpoints have
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "eos_token_id": 258,
    "pad_token_id": 256,
    "bos_token_id": 257,
}
LAYOUTS: dict[str, PretrainedConfig] = {
    "smollm3": SmolLM3Config(**SMALL),
    "llama": LlamaConfig(**SMALL, tie_word_embeddings=False),
    "qwen2": Qwen2Config(**SMALL),
    "qwen3": Qwen3Config(**SMALL, head_dim=16),
}
SIZES = {"num_layers": 2, "num_taps": 2, "markov_rank": 8, "copy_dim": 8, "intermediate_size": 64}
PARTS = (
    "has_template_states",
    "has_anchor",
    "has_markov",
    "has_copy",
    "has_confidence",
    "has_slot_positions",
    "has_null_row",
    "has_tool_guess",
)
PLAIN = Query(SLOTS, 0, 0, 0, 0, 0, True, MASK, ())


def small_model(
    layout: str = "smollm3", tokenizer: PreTrainedTokenizerFast | None = None, seed: int = 1
) -> Model:
    """A random base with the byte tokenizer."""
    torch.manual_seed(seed)
    network = AutoModelForCausalLM.from_config(LAYOUTS[layout]).eval()
    return Model.of(network, tokenizer or byte_tokenizer())


def new_head(model: Model, **sizes: object) -> DiffusionHead:
    """A head as training starts with it."""
    torch.manual_seed(2)
    return DiffusionHead.for_base(model, **{**SIZES, **sizes}).eval()


def shaken_head(model: Model, seed: int = 3, **sizes: object) -> DiffusionHead:
    """A head of random weights, so that every part of it has a say."""
    head = new_head(model, **sizes)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return head


def query(**fields: object) -> Query:
    """A masked position of a slot, less what is said."""
    return replace(PLAIN, **fields)


def slot_queries(anchor: int, num_positions: int, **fields: object) -> list[Query]:
    """The masked positions of one slot."""
    return [
        query(anchor=anchor, offset=place, place=place, **fields) for place in range(num_positions)
    ]


def random_seen(
    head: DiffusionHead, lengths: Sequence[int], seed: int = 4
) -> list[tuple[Tensor, Tensor]]:
    """Token ids and states of a few rows."""
    generator = torch.Generator().manual_seed(seed)
    base = head.config.base
    width = len(head.config.taps) * base.hidden_size
    return [
        (
            torch.randint(base.vocab_size, (length,), generator=generator),
            torch.randn(length, width, generator=generator),
        )
        for length in lengths
    ]


def remembered(head: DiffusionHead, rows: Sequence[tuple[Tensor, Tensor]]) -> Memory:
    """The rows as one memory; behind the shorter ones stands noise."""
    generator = torch.Generator().manual_seed(5)
    longest = max(len(ids) for ids, _ in rows)
    ids_BN = torch.randint(head.config.base.vocab_size, (len(rows), longest), generator=generator)
    states_BNS = torch.randn(len(rows), longest, rows[0][1].shape[1], generator=generator)
    for b, (ids, states) in enumerate(rows):
        ids_BN[b, : len(ids)], states_BNS[b, : len(ids)] = ids, states
    return head.remember(ids_BN, states_BNS, torch.tensor([len(ids) for ids, _ in rows]))


def read_by(model: Model, head: DiffusionHead, ids: Sequence[int]) -> tuple[Memory, Tensor]:
    """What the head remembers of a text that the base reads, and the base's logits, [N, V]."""
    taps = Taps(head.config.taps)
    ids_1N = torch.tensor([list(ids)])
    with torch.no_grad(), taps.reading(model.base.model):
        logits_NV = model.base.model(input_ids=ids_1N).logits[0]
    return head.remember(ids_1N, taps.states_BTS(), torch.tensor([len(ids)])), logits_NV


def all_rows(queries: Queries, seed: int = 6, num_tokens: int = 300) -> Rows:
    """Every query that is not padding, with random tokens before it."""
    rows_K, queries_K = (queries.block_BQ > 0).nonzero(as_tuple=True)
    generator = torch.Generator().manual_seed(seed)
    history_KM = torch.randint(num_tokens, (len(rows_K), MAX_MATCH), generator=generator)
    return Rows(rows_K, queries_K, history_KM)


def scores_of(
    model: Model, head: DiffusionHead, memory: Memory, queries: Queries, at: Rows | None = None
) -> Scores:
    """The scores of all positions, after one step."""
    encoded = head.encode(memory, queries, model.tables)
    return head.scores(encoded, at or all_rows(queries), model.tables)
