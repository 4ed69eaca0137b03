"""What is trained in the benchmark: the sizes of a base, of its head, and of the examples."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Shape:
    base: dict[str, Any]
    """Fields of SmolLM3Config."""
    head: dict[str, Any]
    """Fields of HeadConfig; what is not said follows from the base."""
    prompt_tokens: int
    fed_tokens: int
    """Of the answer, behind the prompt."""
    num_slots: int
    slot_positions: int
    num_keys: int
    """Questions with one option that is asked and one that is not."""
    num_branches: int
    """Questions with two options."""

    @property
    def num_queries(self) -> int:
        return self.num_slots * self.slot_positions + self.num_keys + 2 * self.num_branches


SHAPES = {
    "smollm3-3b": Shape(
        base={
            "vocab_size": 128_256,
            "hidden_size": 2048,
            "intermediate_size": 11_008,
            "num_hidden_layers": 36,
            "num_attention_heads": 16,
            "num_key_value_heads": 4,
            "no_rope_layer_interval": 4,
            "tie_word_embeddings": True,
        },
        head={},
        prompt_tokens=450,
        fed_tokens=45,
        num_slots=5,
        slot_positions=10,
        num_keys=4,
        num_branches=2,
    ),
    "tiny": Shape(
        base={
            "vocab_size": 256,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
        head={"markov_rank": 8, "copy_dim": 8, "intermediate_size": 64},
        prompt_tokens=20,
        fed_tokens=8,
        num_slots=2,
        slot_positions=4,
        num_keys=2,
        num_branches=1,
    ),
}
