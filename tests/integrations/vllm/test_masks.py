"""Masks reach the rows that vLLM puts them on."""

from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from smoldiff_integrations.vllm import masks

VOCAB_SIZE = 1000
NUM_WORDS = -(-VOCAB_SIZE // 32)
BATCH = ["text", "b", "a", "more text", "c"]
"""Requests in the order of their logits."""
GIVEN = ["a", "gone", "c", "b"]
"""Requests with masks in the order of those: one of them is not in the batch."""


def step(drafted=(), given=GIVEN, seed=0):
    """What vLLM's scheduler says of a step, and random masks."""
    drafts = {name: [7] * num for name, num in dict(drafted).items()}
    num = sum(1 + len(drafts.get(name, ())) for name in given)
    drawn = np.random.default_rng(seed).integers(-(2**31), 2**31, (num, NUM_WORDS))
    return (
        SimpleNamespace(scheduled_spec_decode_tokens=drafts),
        SimpleNamespace(
            structured_output_request_ids=given, grammar_bitmask=drawn.astype(np.int32)
        ),
    )


def num_rows(output, req_ids=BATCH):
    drafts = output.scheduled_spec_decode_tokens
    return sum(1 + len(drafts.get(name, ())) for name in req_ids)


def by_vllm(output, grammar, req_ids=BATCH):
    """Which logits vLLM leaves, [R, V]."""
    utils = pytest.importorskip("vllm.v1.structured_output.utils", reason="`make test-vllm` has it")
    logits = torch.zeros(num_rows(output, req_ids), VOCAB_SIZE)
    utils.apply_grammar_bitmask(output, grammar, SimpleNamespace(req_ids=req_ids), logits)
    return logits == 0


@pytest.mark.parametrize("drafted", [{}, {"b": 3, "c": 1}, {"a": 2, "gone": 4, "text": 5}], ids=str)
def test_places_are_those_of_vllm(drafted):
    output, grammar = step(drafted)
    bits = np.unpackbits(grammar.grammar_bitmask.view(np.uint8), axis=1, bitorder="little")
    left = torch.ones(num_rows(output), VOCAB_SIZE, dtype=torch.bool)
    for given, row, count in masks.places(output, grammar, BATCH):
        left[row : row + count] = torch.from_numpy(bits[given : given + count, :VOCAB_SIZE] == 1)
    assert left.equal(by_vllm(output, grammar))


@pytest.fixture
def module():
    """A module with vLLM's function, which says that it was called."""
    one = ModuleType("runner")
    one.called = []

    def apply_grammar_bitmask(scheduler_output, grammar_output, input_batch, logits):
        one.called.append(logits)

    one.apply_grammar_bitmask = apply_grammar_bitmask
    return one


BATCH_OF_RUNNER = SimpleNamespace(req_ids=BATCH)


def test_on_a_cpu_they_are_left_to_vllm(module):
    assert all(masks.follow(module) for _ in range(2))
    logits = torch.zeros(5, VOCAB_SIZE)
    module.apply_grammar_bitmask(*step(), BATCH_OF_RUNNER, logits)
    assert module.called == [logits]


def test_on_a_gpu_vllm_is_not_asked(module, monkeypatch):
    seen = []
    monkeypatch.setattr(masks.Masks, "apply", lambda self, *step: seen.append(step[2]))
    masks.follow(module)
    module.apply_grammar_bitmask(*step(), BATCH_OF_RUNNER, SimpleNamespace(is_cuda=True))
    assert seen == [BATCH]
    assert not module.called


def test_behind_a_fault_they_are_left_to_vllm(module, monkeypatch, caplog):
    tried = []

    def fail(self, *_):
        tried.append(self)
        raise RuntimeError("no page-locked memory")

    monkeypatch.setattr(masks.Masks, "apply", fail)
    masks.follow(module)
    logits = SimpleNamespace(is_cuda=True)
    for _ in range(2):
        module.apply_grammar_bitmask(*step(), BATCH_OF_RUNNER, logits)
    assert module.called == [logits, logits]
    assert len(tried) == 1
    assert "no page-locked memory" in caplog.text


def test_a_function_with_other_parameters_is_left_alone(module):
    def apply_grammar_bitmask(logits):
        return logits

    module.apply_grammar_bitmask = apply_grammar_bitmask
    assert not masks.follow(module)
    assert module.apply_grammar_bitmask is apply_grammar_bitmask


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_logits_are_those_that_vllm_leaves():
    kept = masks.Masks()
    steps = [
        ({}, GIVEN, BATCH),
        ({"b": 3, "c": 1}, GIVEN, BATCH),
        ({"a": 200, "text": 5}, GIVEN, BATCH),  # more rows than there was room for
        ({"a": 2}, ["b", "a"], ["a", "b"]),  # a mask on every row
        ({}, ["gone"], BATCH),
    ] * 20
    left = []
    for seed, (drafted, given, req_ids) in enumerate(steps):
        output, grammar = step(drafted, given, seed)
        logits_RV = torch.zeros(num_rows(output, req_ids), VOCAB_SIZE, device="cuda")
        kept.apply(output, grammar, req_ids, logits_RV)
        grammar.grammar_bitmask[:] = 0  # the scheduler fills it anew at once
        left.append(logits_RV == 0)
    for seed, ((drafted, given, req_ids), found) in enumerate(zip(steps, left, strict=True)):
        assert found.cpu().equal(by_vllm(*step(drafted, given, seed), req_ids))
