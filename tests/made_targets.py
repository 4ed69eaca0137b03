"""Targets written by hand: answers of a base that nobody had to run."""

import json
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, SmolLM3Config

from smoldiff.decode.model import Model
from smoldiff_training.data.targets import Target

TEXT = {"type": "string"}
TRIP = {
    "name": "plan_trip",
    "parameters": {
        "type": "object",
        "properties": {
            "city": TEXT,
            "day": {"type": "string", "format": "date"},
            "tags": {"type": "array", "items": TEXT, "maxItems": 4},
            "size": {"type": "integer", "minimum": 1, "maximum": 99},
            "unit": {"type": "string", "enum": ["C", "F"]},
            "to": {"type": "object", "properties": {"city": TEXT}, "required": ["city"]},
        },
        "required": ["city"],
    },
}
MAIL = {
    "name": "send_mail",
    "parameters": {
        "type": "object",
        "properties": {"text": TEXT, "urgent": {"type": "boolean"}},
        "required": ["text"],
    },
}
PING = {"name": "ping", "parameters": {"type": "object", "properties": {}}}
TOOLS = [TRIP, MAIL]
TOP_K = 4

Call = tuple[str, dict[str, Any]]
ANSWERS: list[tuple[str, list[Call]]] = [
    ("a trip to Oslo", [("plan_trip", {"city": "Oslo"})]),
    (
        "two of us to São Paulo on May 6th, then Rome",
        [
            (
                "plan_trip",
                {"city": "São Paulo", "day": "2024-05-06", "size": 2, "to": {"city": "Rome"}},
            )
        ],
    ),
    ("tags sun and sea", [("plan_trip", {"city": "Nice", "tags": ["sun", "sea"], "unit": "C"})]),
    ('tell them "no" at once', [("send_mail", {"text": 'they said "no"', "urgent": True})]),
    (
        "Lima, and mail it",
        [("plan_trip", {"city": "Lima"}), ("send_mail", {"text": "Lima it is, as we said before"})],
    ),
]


def answer_text(calls: list[Call]) -> str:
    """The calls as the bundled base writes them."""
    return "\n".join(
        "<tool_call>\n"
        + json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
        + "\n</tool_call>"
        for name, arguments in calls
    )


def made_target(
    tokenizer: PreTrainedTokenizerFast, said: str, calls: list[Call], tools: list[Any] = TOOLS
) -> Target:
    """A target with made-up thoughts of the base, in which the written token comes first."""
    text = answer_text(calls)
    ids = np.array(tokenizer.encode(text, add_special_tokens=False), np.int32)
    rng = np.random.default_rng(len(text))
    topk_ids = rng.integers(5, 8000, (len(ids), TOP_K)).astype(np.int32)
    topk_ids[:, 0] = ids
    p = rng.dirichlet([4.0] + [1.0] * TOP_K, len(ids))[:, :TOP_K]
    return Target(
        prompt_ids=np.array(tokenizer.encode(said, add_special_tokens=False), np.int32),
        tools=tools,
        answer_ids=ids,
        answer_text=text,
        topk_ids=topk_ids,
        topk_logp=np.log(p).astype(np.float16),
        is_gold=True,
        source="made",
    )


def made_targets(tokenizer: PreTrainedTokenizerFast) -> list[Target]:
    return [made_target(tokenizer, said, calls) for said, calls in ANSWERS]


def tiny_base(tokenizer: PreTrainedTokenizerFast) -> Model:
    """A random base of a few layers with the bundled tokenizer."""
    torch.manual_seed(0)
    config = SmolLM3Config(
        vocab_size=8192,
        hidden_size=64,
        intermediate_size=128,
        initializer_range=0.2,  # so that states and logits differ from token to token
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=2,
    )
    network = AutoModelForCausalLM.from_config(config).eval()
    return Model.of(network.requires_grad_(False), tokenizer)
