"""Train the byte-level tokenizer on rendered prompts and calls, and save it with the chat template.

python -m smoldiff_training.data.tokenizer TRAIN.jsonl.gz MCP_TOOLS.jsonl.gz OUT_DIR
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from smoldiff_training.data.render import calls_text, prompt_text, tool_line
from smoldiff_training.data.rows import Row, read_json_lines, read_rows

VOCAB_SIZE = 8192
CHAT_TEMPLATE = Path(__file__).with_name("chat_template.jinja")
SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
    "<tools>",
    "</tools>",
    *(f"<|reserved_{i}|>" for i in range(16)),
)
# Llama 3's and SmolLM3's split, but digits go in pairs: short numbers stay easy to copy.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,2}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def corpus(rows: list[Row], tools: list[dict[str, Any]], seed: int) -> Iterator[str]:
    """Rendered conversations of every source; long common ones are thinned, tools seen once."""
    rng = random.Random(seed)
    seen: set[str] = set()
    for row in rows:
        if row.source == "SGD" and rng.random() < 0.6:
            continue
        for tool in row.tools:
            line = tool_line(tool)
            if line not in seen:
                seen.add(line)
                yield line
        yield prompt_text(row.messages, row.tools if rng.random() < 0.1 else ())
        yield calls_text(row.calls)
    for tool in tools:
        yield tool_line(tool)[:2000]


def train_tokenizer(texts: Iterator[str], vocab_size: int = VOCAB_SIZE) -> Any:
    """A `PreTrainedTokenizerFast` that adds no token of its own around a text."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=4096,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
    tokenizer.chat_template = CHAT_TEMPLATE.read_text(encoding="utf-8")
    return tokenizer


def main() -> None:
    train, mcp, out = (Path(a) for a in sys.argv[1:4])
    tokenizer = train_tokenizer(corpus(read_rows(train), list(read_json_lines(mcp)), seed=0))
    tokenizer.save_pretrained(out)
    print(f"{len(tokenizer)} tokens -> {out}")


if __name__ == "__main__":
    main()
