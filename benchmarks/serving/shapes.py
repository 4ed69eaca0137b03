"""Models of a real model's shape without its weights: a configuration, and the tokenizer of smoldiff-nano with more tokens."""

import json
import shutil
from pathlib import Path
from typing import Any

from smoldiff.decode.model import NANO, model_path

SHAPES: dict[str, dict[str, Any]] = {
    "smollm3-3b": {
        "hidden_size": 2048,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "head_dim": 128,
        "intermediate_size": 11008,
        "vocab_size": 128_256,
    },
    "tiny": {
        "hidden_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 64,
        "intermediate_size": 256,
        "vocab_size": 20_000,
    },
}
"""Fields of smoldiff-nano's configuration that are another's: of SmolLM3-3B, and of one that starts quickly."""


def write_model(shape: dict[str, Any], folder: Path) -> Path:
    """A folder that a server can load with `--load-format dummy`."""
    own = Path(model_path(NANO))
    config = json.loads((own / "config.json").read_text())
    num = shape["num_hidden_layers"]
    every = config["no_rope_layer_interval"]
    layers = {
        "layer_types": ["full_attention"] * num,
        "no_rope_layers": [int((i + 1) % every != 0) for i in range(num)],
    }
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**config, **shape, **layers}))
    for name in ("tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(own / name, folder)
    tokenizer = json.loads((own / "tokenizer.json").read_text())
    fill(tokenizer["model"]["vocab"], shape["vocab_size"])
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder


def fill(vocab: dict[str, int], size: int) -> None:
    """Give every token of a vocabulary a text, as real ones have: a grammar's masks of tokens without one take far longer.

    A letter with digits, of which no merge tells, is what the tokenizer never writes.
    """
    vocab.update((f"x{token_id}", token_id) for token_id in range(len(vocab), size))
