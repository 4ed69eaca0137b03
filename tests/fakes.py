"""Stand-ins that make decode tests run in milliseconds: a byte tokenizer, small random models, a base of fixed logits."""

import hashlib
from collections.abc import Sequence

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from smoldiff.decode.model import Model

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for c in m.tool_calls or [] %}{{ '\n' if not loop.first }}"
    '<tool_call>\n{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}\n</tool_call>'
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>"]


def byte_tokenizer(merges: Sequence[tuple[str, str]] = ()) -> PreTrainedTokenizerFast:
    """One token a byte, the special tokens, and the given merges."""
    vocab = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    for left, right in merges:
        vocab[left + right] = len(vocab)
    backend = Tokenizer(models.BPE(vocab=vocab, merges=list(merges)))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(t, normalized=False) for t in SPECIAL])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>")
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def hash_model(tokenizer: PreTrainedTokenizerFast, seed: int = 0) -> Model:
    """A model of fixed logits that likes to close what is open, so that most answers end."""
    closing = tokenizer.convert_tokens_to_ids(['"', "}", "]", "<|im_end|>"])
    return Model(HashBase(len(tokenizer), seed, closing), tokenizer, f"hash-{seed}")


class HashBase:
    """A base whose logits are a fixed pseudo-random function of the tokens so far: exact, and never a tie."""

    max_context = 1 << 20
    eos_ids: tuple[int, ...] = ()
    tie_tolerance = 0.0

    def __init__(self, num_logits: int, seed: int = 0, favoured: Sequence[int] = ()) -> None:
        self.num_logits, self.seed = num_logits, seed
        self.bias = torch.zeros(num_logits)
        self.bias[list(favoured)] = 2.0
        self.num_passes = 0

    def open(self, taps: Sequence[int] = ()) -> "HashPasses":
        assert not taps, "fixed logits have no states"
        return HashPasses(self)

    def logits(self, context: Sequence[int]) -> torch.Tensor:
        """Only the last three tokens and the length modulo five matter, so that parallel predictions can be right."""
        key = repr((self.seed, tuple(context[-3:]), len(context) % 5)).encode()
        seed = int.from_bytes(hashlib.sha256(key).digest()[:8], "big") >> 1
        noise = torch.randn(self.num_logits, generator=torch.Generator().manual_seed(seed))
        return noise + self.bias


class HashPasses:
    def __init__(self, base: HashBase) -> None:
        self.base = base
        self.rows: list[list[int]] = []

    def forward(self, feeds, num_logits):
        self.base.num_passes += 1
        self.rows = self.rows or [[] for _ in feeds]
        out = []
        for row, feed, n in zip(self.rows, feeds, num_logits, strict=True):
            row.extend(feed)
            stops = range(len(row) - n + 1, len(row) + 1)
            out.append(torch.stack([self.base.logits(row[:stop]) for stop in stops]))
        return out

    def states(self):
        return [None] * len(self.rows)

    def cut(self, lengths):
        self.rows = [row[:n] for row, n in zip(self.rows, lengths, strict=True)]

    def keep_rows(self, rows):
        self.rows = [self.rows[b] for b in rows]
