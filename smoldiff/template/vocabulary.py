"""What the compiler needs to know of a Hugging Face fast tokenizer: the bytes of each token, and plain encoding.

"Plain" means that the text of an added token (`<|im_end|>`, `<tool_call>`) inside a value stays ordinary text: it is
never turned into the token itself, so neither a schema nor a value can smuggle a control token into a call.
"""

import hashlib
import json
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from smoldiff.errors import TemplateError


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Tokens of one tokenizer as bytes. Build it with `Vocabulary.of(tokenizer)`, which caches by content."""

    token_bytes: tuple[bytes, ...]
    """The bytes of each token id; an added token has the bytes of its text."""
    added: Mapping[str, int]
    """Text -> id of the added tokens (control tokens among them)."""
    content_hash: str
    """sha256 of the serialised tokenizer: the key of every cache."""
    _plain: Any = field(repr=False)

    def __len__(self) -> int:
        return len(self.token_bytes)

    @cached_property
    def added_ids(self) -> frozenset[int]:
        return frozenset(self.added.values())

    @classmethod
    def of(cls, tokenizer: Any) -> "Vocabulary":
        """The vocabulary of a Hugging Face fast tokenizer.

        Raises TemplateError for a slow (pure Python) tokenizer, which has no serialised form to read.
        """
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise TemplateError(
                f"{type(tokenizer).__name__} is not a fast tokenizer; load it with AutoTokenizer(..., use_fast=True)"
            )
        known = _BY_BACKEND.get(tokenizer)
        if known is None:
            text = backend.to_str()
            content_hash = hashlib.sha256(text.encode()).hexdigest()
            known = _BY_HASH.get(content_hash) or cls._build(text, content_hash)
            _BY_HASH[content_hash] = _BY_BACKEND[tokenizer] = known
        return known

    @classmethod
    def _build(cls, text: str, content_hash: str) -> "Vocabulary":
        from tokenizers import Tokenizer

        spec = json.loads(text)
        full = Tokenizer.from_str(text)
        added = {entry["content"]: entry["id"] for entry in spec["added_tokens"]}
        plain = Tokenizer.from_str(
            json.dumps({**spec, "added_tokens": [], "padding": None, "truncation": None})
        )
        to_bytes = _byte_level if _is_byte_level(spec.get("decoder")) else _byte_fallback
        table = [b""] * (max(full.get_vocab(with_added_tokens=True).values()) + 1)
        for token, token_id in full.get_vocab(with_added_tokens=False).items():
            table[token_id] = to_bytes(token)
        for token, token_id in added.items():
            table[token_id] = token.encode()
        return cls(tuple(table), added, content_hash, plain)

    def encode(self, text: str) -> list[int]:
        """Token ids of `text` as ordinary text, as the tokenizer writes it in the middle of a line.

        Raises TemplateError if the tokenizer cannot write this text exactly.
        """
        ids: list[int] = self._plain.encode(text, add_special_tokens=False).ids
        wanted = text.encode()
        if self.bytes_of(ids) == wanted:
            return ids
        # SentencePiece-style tokenizers put a space before the first word: encode behind a line break instead.
        shifted: list[int] = self._plain.encode("\n" + text, add_special_tokens=False).ids
        for skip in range(1, 4):
            if self.bytes_of(shifted[skip:]) == wanted:
                return shifted[skip:]
        raise TemplateError(f"the tokenizer changes the text {text[:80]!r} and cannot write it")

    def encode_bytes(self, data: bytes) -> list[int]:
        """Token ids of any bytes: as `encode`, and where that cannot write them, the longest tokens that fit."""
        try:
            return self.encode(data.decode())
        except (UnicodeDecodeError, TemplateError):
            return self._encode_greedily(data)

    def _encode_greedily(self, data: bytes) -> list[int]:
        ids, start = [], 0
        while start < len(data):
            lengths = range(min(len(data) - start, self._max_bytes), 0, -1)
            known = (self._ordinary.get(data[start : start + n]) for n in lengths)
            token_id = next((i for i in known if i is not None), None)
            if token_id is None:
                raise TemplateError(f"the tokenizer has no token for the byte {data[start]:#04x}")
            ids.append(token_id)
            start += len(self.token_bytes[token_id])
        return ids

    @cached_property
    def _ordinary(self) -> dict[bytes, int]:
        """Bytes -> id of the tokens that are not added ones."""
        return {b: i for i, b in enumerate(self.token_bytes) if b and i not in self.added_ids}

    @cached_property
    def _max_bytes(self) -> int:
        return max(map(len, self._ordinary), default=0)

    def bytes_of(self, ids: Iterable[int]) -> bytes:
        """The bytes that these tokens write. An id outside the vocabulary (a padded row) writes nothing."""
        table, num_tokens = self.token_bytes, len(self.token_bytes)
        return b"".join([table[i] for i in ids if i < num_tokens])

    def ends(self, ids: Sequence[int]) -> list[int]:
        """For each token the byte offset behind it."""
        ends, total = [], 0
        for token_id in ids:
            total += len(self.token_bytes[token_id]) if token_id < len(self.token_bytes) else 0
            ends.append(total)
        return ends


_BY_BACKEND: weakref.WeakKeyDictionary[Any, Vocabulary] = weakref.WeakKeyDictionary()
_BY_HASH: weakref.WeakValueDictionary[str, Vocabulary] = weakref.WeakValueDictionary()


def _is_byte_level(decoder: Any) -> bool:
    if not isinstance(decoder, dict):
        return False
    if decoder["type"] == "Sequence":
        return any(_is_byte_level(part) for part in decoder["decoders"])
    return bool(decoder["type"] == "ByteLevel")


def _byte_alphabet() -> dict[str, int]:
    """The printable stand-ins that byte-level BPE uses for bytes (Radford et al., 2019)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    alphabet = {chr(b): b for b in printable}
    others = [b for b in range(256) if b not in set(printable)]
    return alphabet | {chr(256 + i): b for i, b in enumerate(others)}


_ALPHABET = _byte_alphabet()


def _byte_level(token: str) -> bytes:
    try:
        return bytes([_ALPHABET[c] for c in token])
    except KeyError:  # a token kept as text, outside the byte alphabet
        return token.encode()


def _byte_fallback(token: str) -> bytes:
    if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        return bytes([int(token[3:5], 16)])
    return token.replace("\N{LOWER ONE EIGHTH BLOCK}", " ").encode()
