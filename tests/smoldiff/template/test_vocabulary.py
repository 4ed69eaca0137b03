"""The bytes of every token, for every kind of fast tokenizer."""

from pathlib import Path

import pytest
from fakes import byte_tokenizer
from llguidance.hf import from_tokenizer
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from smoldiff.decode.model import NANO_PATH
from smoldiff.errors import TemplateError
from smoldiff.template.vocabulary import Vocabulary

QWEN = Path(__file__).parents[3].parent / "shared" / "tokenizers" / "qwen"


def sentencepiece_like():
    """Byte fallback, a mark for spaces, and one in front of the text: as Llama 2 and Gemma."""
    pieces = [
        "<unk>",
        *(f"<0x{b:02X}>" for b in range(256)),
        "▁",
        "a",
        "b",
        "▁a",
        "ab",
        '"',
        ",",
        "{",
    ]
    merges = [("▁", "a"), ("a", "b")]
    backend = Tokenizer(
        models.BPE(
            vocab={p: i for i, p in enumerate(pieces)},
            merges=merges,
            byte_fallback=True,
            unk_token="<unk>",
        )
    )
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="<unk>")


@pytest.mark.parametrize("name", ["nano", "qwen"])
def test_bytes_are_those_that_the_grammar_engine_reads(name):
    path = NANO_PATH if name == "nano" else QWEN
    if not path.exists():
        pytest.skip("../shared/tokenizers/qwen is absent")
    tokenizer = AutoTokenizer.from_pretrained(path)
    vocabulary, engine = Vocabulary.of(tokenizer), from_tokenizer(tokenizer)
    # the engine marks control tokens by the byte 0xff, which no UTF-8 text holds
    skipped = {*vocabulary.added_ids, vocabulary.token_bytes.index(b"\xff")}
    ordinary = [i for i in range(len(vocabulary)) if i not in skipped]
    assert all(engine.decode_bytes([i]) == vocabulary.token_bytes[i] for i in ordinary)


@pytest.mark.parametrize("text", ["a", "ab", " a", '{"a', "b a", "é", ' "ab", {', "\n a"])
def test_a_space_put_before_the_text_is_not_written(text):
    vocabulary = Vocabulary.of(sentencepiece_like())
    assert vocabulary.bytes_of(vocabulary.encode(text)).decode() == text


def test_a_vocabulary_is_kept_by_content():
    assert Vocabulary.of(byte_tokenizer()) is Vocabulary.of(byte_tokenizer())
    assert Vocabulary.of(byte_tokenizer([("a", "b")])) is not Vocabulary.of(byte_tokenizer())


def test_a_tokenizer_that_changes_text_is_a_clear_error():
    tokenizer = byte_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    with pytest.raises(TemplateError, match="changes the text 'ABC'"):
        Vocabulary.of(tokenizer).encode("ABC")


def test_a_slow_tokenizer_is_a_clear_error():
    with pytest.raises(TemplateError, match="not a fast tokenizer"):
        Vocabulary.of(object())
