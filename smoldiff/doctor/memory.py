"""Estimates of the memory that a base needs, to serve and to train a head on it."""

from __future__ import annotations

from dataclasses import dataclass

GIB = 1 << 30

SERVED_TOKENS = 8192
"""Prompt and answer together."""
TRAINED_TOKENS = 16_384
"""Tokens that a training step passes through base and head at once."""
SCORED_ROWS = 4096
"""Positions whose scores over the vocabulary a loss computes at once."""
HEAD_LAYERS = 3
HEAD_RANK = 256
"""Of the factors by which a head scores a token given the one before."""
RUNTIME_BYTES = GIB
"""The CUDA context, its libraries, and what the allocator cannot use."""

BYTES_A_WEIGHT = {32: 4.0, 16: 2.0, 4: 0.5 + 4 / 64}  # NF4: a float32 scale for each 64 weights
BYTES_A_TRAINED_WEIGHT = 16  # float32: the weight, its gradient, two moments


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a Llama-like base whose embeddings are its output layer too."""

    name: str
    num_layers: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int

    @property
    def layer_parameters(self) -> int:
        attention = 2 * self.hidden_size * self.head_dim * (self.num_heads + self.num_kv_heads)
        return attention + 3 * self.hidden_size * self.intermediate_size + 2 * self.hidden_size

    @property
    def embedding_parameters(self) -> int:
        return self.vocab_size * self.hidden_size

    @property
    def num_parameters(self) -> int:
        layers = self.num_layers * self.layer_parameters
        return layers + self.embedding_parameters + self.hidden_size


SMOLLM3 = Shape("SmolLM3-3B", 36, 2048, 11_008, 16, 4, 128, 128_256)


def weight_bytes(shape: Shape, bits: int) -> int:
    """The weights alone. Four bits are those of the layers: embeddings stay at 16."""
    embedding = shape.embedding_parameters * BYTES_A_WEIGHT[max(bits, 16)]
    layers = shape.num_layers * shape.layer_parameters * BYTES_A_WEIGHT[bits]
    return int(embedding + layers)


def serve_bytes(shape: Shape, bits: int) -> int:
    """Weights, the keys and values of SERVED_TOKENS, and the runtime."""
    cached = 2 * shape.num_layers * shape.num_kv_heads * shape.head_dim * SERVED_TOKENS
    return weight_bytes(shape, bits) + int(cached * BYTES_A_WEIGHT[max(bits, 16)]) + RUNTIME_BYTES


def train_bytes(shape: Shape, bits: int) -> int:
    """A head trained on a frozen base: both, the head's optimizer and activations, one chunk of scores, the runtime."""
    head = HEAD_LAYERS * shape.layer_parameters + 2 * HEAD_RANK * shape.vocab_size
    scores = SCORED_ROWS * shape.vocab_size * (2 + 4 + 4)  # bf16, then float32 and its gradient
    layer = (10 * shape.hidden_size + 4 * shape.intermediate_size) * 2  # bf16, of one token
    activations = TRAINED_TOKENS * layer * (HEAD_LAYERS + 1)  # one more for a pass through the base
    states = head * BYTES_A_TRAINED_WEIGHT
    return weight_bytes(shape, bits) + states + scores + activations + RUNTIME_BYTES
