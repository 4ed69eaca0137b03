"""The cache cut after a rejection leaves exactly what a fresh pass would hold."""

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    Qwen2Config,
    SmolLM3Config,
)

from smoldiff.decode.base import HFBase
from smoldiff.errors import UnsupportedModel

SMALL = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
CONFIGS = {
    "smollm3, a layer without positions": SmolLM3Config(**SMALL),
    "llama": LlamaConfig(**SMALL),
    "qwen2, sliding window": Qwen2Config(
        **SMALL, use_sliding_window=True, sliding_window=5, max_window_layers=2
    ),
    "mistral, sliding window": MistralConfig(**SMALL, sliding_window=5),
    "gemma3, alternating windows": Gemma3TextConfig(**SMALL, head_dim=8, sliding_window=6),
}


def build(config):
    torch.manual_seed(0)
    return HFBase(AutoModelForCausalLM.from_config(config).eval())


def fresh(base, row):
    with torch.inference_mode():
        return base.model(input_ids=torch.tensor([row])).logits[0]


def random_row(length, seed):
    return torch.randint(3, 97, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


@pytest.mark.parametrize("name", CONFIGS)
def test_a_row_cut_after_a_rejection_continues_as_if_never_extended(name):
    base = build(CONFIGS[name])
    prompt, wrong, right = random_row(17, 1), random_row(9, 2), random_row(7, 3)
    passes = base.open()
    passes.forward([prompt + wrong], [1])
    passes.cut([len(prompt) + 2])
    (logits,) = passes.forward([right], [len(right)])
    expected = fresh(base, prompt + wrong[:2] + right)[-len(right) :]
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_rows_of_a_batch_are_each_right_through_cuts_and_departures(name):
    base = build(CONFIGS[name])
    rows = [random_row(n, n) for n in (3, 19, 11)]
    passes = base.open()
    logits = passes.forward(rows, [2, 1, 3])
    for row, got, n in zip(rows, logits, (2, 1, 3), strict=True):
        torch.testing.assert_close(got, fresh(base, row)[-n:], rtol=1e-4, atol=1e-5)
    passes.cut([3, 15, 11])
    rows[1] = rows[1][:15]
    for step in range(3):
        feeds = [random_row(n, 10 * step + n) for n in (6, 1, 4)][: len(rows)]
        logits = passes.forward(feeds, [len(f) for f in feeds])
        for row, feed, got in zip(rows, feeds, logits, strict=True):
            torch.testing.assert_close(
                got, fresh(base, row + feed)[-len(feed) :], rtol=1e-4, atol=1e-5
            )
        rows = [row + feed[: max(1, len(feed) - 1)] for row, feed in zip(rows, feeds, strict=True)]
        passes.cut([len(row) for row in rows])
        if step == 1:
            passes.keep_rows([0, 2])
            rows = [rows[0], rows[2]]


@pytest.mark.parametrize("name", CONFIGS)
def test_the_last_row_of_a_batch_stands_alone_however_short_it_is(name):
    base = build(CONFIGS[name])
    rows = [random_row(n, n) for n in (5, 19)]
    passes = base.open()
    passes.forward(rows, [1, 1])
    passes.cut([5, 19])
    passes.keep_rows([0])
    row = rows[0]
    for step in range(3):
        feed = random_row(4, step)
        (logits,) = passes.forward([feed], [4])
        torch.testing.assert_close(logits, fresh(base, row + feed)[-4:], rtol=1e-4, atol=1e-5)
        row = row + feed[:2]
        passes.cut([len(row)])


def test_a_recurrent_model_is_refused():
    config = MambaConfig(vocab_size=97, hidden_size=32, num_hidden_layers=2, state_size=4)
    with pytest.raises(UnsupportedModel, match="recurrent state"):
        HFBase(AutoModelForCausalLM.from_config(config))


def test_logits_that_are_nearly_equal_have_a_tolerance_by_dtype():
    assert build(CONFIGS["llama"]).tie_tolerance == 1e-4


@pytest.mark.parametrize("name", ["cache", "past_key_values"])
def test_the_cache_goes_by_the_name_that_the_model_gives_it(name):
    base = build(CONFIGS["llama"])
    given, own = {}, base.model.forward

    def by_cache(*, cache=None, **others):
        given.update(cache=cache)
        return own(**{base.cache_name: cache}, **others)

    def by_older_name(*, past_key_values=None, **others):
        given.update(past_key_values=past_key_values)
        return own(**{base.cache_name: past_key_values}, **others)

    renamed = HFBase(_Renamed(base.model, {"cache": by_cache}.get(name, by_older_name)))
    row = random_row(5, 1)
    passes = renamed.open()
    passes.forward([row], [1])
    assert given[name].get_seq_length() == len(row)


class _Renamed:
    """A model whose forward pass is another function."""

    def __init__(self, model, forward):
        self._model, self.forward = model, forward

    def __call__(self, **options):
        return self.forward(**options)

    def __getattr__(self, name):
        return getattr(self._model, name)
