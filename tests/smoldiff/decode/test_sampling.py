"""Sampling draws from the grammar-masked distribution, with and without drafts."""

import collections

import pytest
import torch
from fakes import byte_tokenizer, hash_model

import smoldiff
from smoldiff.decode.sampling import Greedy, Sampling, truncated

SCHEMA = {"type": "string", "enum": ["ab", "ac", "b", "cc", "cd"]}


class AllowAll:
    """A matcher that allows some tokens anywhere."""

    def __init__(self, allowed):
        self._allowed = allowed

    def allowed(self, num_logits):
        return torch.tensor([i in self._allowed for i in range(num_logits)])

    def allows(self, token_id):
        return token_id in self._allowed

    def advance(self, token_id):
        assert token_id in self._allowed


def test_truncation_keeps_the_smallest_set_that_reaches_top_p():
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    for top_p, kept in [(0.4, 1), (0.5, 1), (0.51, 2), (0.79, 2), (0.94, 3), (1.0, 4)]:
        _, ids = truncated(logits, Sampling(temperature=1.0, top_p=top_p))
        assert ids.tolist() == list(range(kept))


def test_top_k_comes_before_top_p():
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    p, ids = truncated(logits, Sampling(temperature=1.0, top_k=2, top_p=0.6))
    assert ids.tolist() == [0]
    assert p.numel() == 1


def test_temperature_divides_the_logits():
    logits = torch.tensor([2.0, 0.0])
    p, _ = truncated(logits, Sampling(temperature=2.0))
    torch.testing.assert_close(
        p / p.sum(), torch.tensor([1.0, 0.0], dtype=torch.float64).softmax(0)
    )


def test_greedy_takes_the_lowest_id_of_equals_and_counts_the_tie():
    chooser = Greedy(tie_tolerance=1e-4)
    chooser.look(torch.tensor([[0.0, 3.0, 3.0, 1.0], [0.0, 3.0, 3.0, 1.0], [0.0, 1.0, 2.0, 1.0]]))
    assert chooser.choose(0, 0, AllowAll({0, 1, 2, 3})) == 1
    assert chooser.near_ties == 1
    assert chooser.choose(1, 1, AllowAll({0, 2})) == 2
    assert chooser.choose(2, 2, AllowAll({0, 1, 3})) == 1
    assert chooser.near_ties == 2


@pytest.mark.parametrize("mode", ["ar", "verified"])
def test_the_distribution_is_the_masked_models_own(mode):
    """4,000 draws against the exact product of masked conditionals; 4.5 standard errors of slack."""
    model = hash_model(byte_tokenizer(), seed=5)
    num_draws = 4000
    drawn = collections.Counter(
        r.arguments
        for i in range(num_draws // 400)
        for r in smoldiff.generate_calls(
            model, SCHEMA, ["abc"] * 400, mode=mode, temperature=1.0, seed=i
        )
    )
    for value, p in exact_distribution(model).items():
        error = (p * (1 - p) / num_draws) ** 0.5
        assert abs(drawn[value] / num_draws - p) < 4.5 * error + 1e-9


def exact_distribution(model):
    """P(value) as the product, over its bytes, of the model's probability among the bytes the enum still allows."""
    from smoldiff.decode.chat import read_messages, render_prompt

    prompt = render_prompt(model.tokenizer, read_messages("abc"), ())
    texts = {v: [*model.vocabulary.encode(f'"{v}"')] for v in SCHEMA["enum"]}
    result = {}
    for value, ids in texts.items():
        p = 1.0
        for i, token in enumerate(ids):
            open_ids = sorted({t[i] for t in texts.values() if t[:i] == ids[:i] and len(t) > i})
            logits = model.base.logits([*prompt, *ids[:i]])[open_ids].double()
            p *= float(logits.softmax(0)[open_ids.index(token)])
        result[value] = p
    assert abs(sum(result.values()) - 1) < 1e-9
    return result
