"""A row's memory in one tensor against the one in many."""

from dataclasses import fields

import pytest
import torch
from draft_cases import ALL_RULES, SEEDS, TOKENIZER, Case, heads_of_all_tastes
from heads import small_model

from smoldiff.head.fused import FusedHead
from smoldiff.head.memory import Memory
from smoldiff.head.packed import Packing

# Shapes: T tokens, S states of a token.


@pytest.fixture(scope="module")
def model():
    return small_model(tokenizer=TOKENIZER)


@pytest.fixture(scope="module")
def heads(model):
    return heads_of_all_tastes(model)


def assert_same(found, wanted, **tolerance):
    for field in fields(Memory):
        mine, other = getattr(found, field.name), getattr(wanted, field.name)
        torch.testing.assert_close(mine, other, **tolerance)


def states(head, num):
    return torch.randn(num, head.fuse.in_features, generator=torch.Generator().manual_seed(num))


@pytest.mark.parametrize("seed", SEEDS)
@torch.inference_mode()
def test_tokens_are_remembered_as_the_plain_head_does(model, heads, seed):
    case = Case(model, heads[seed], ALL_RULES)
    fused = FusedHead(heads[seed], case.denoiser.tables)
    first_TS, more_TS = states(heads[seed], 9), states(heads[seed], 4)
    found = fused.remember(range(9), first_TS, 0).cut(7)
    wanted = case.denoiser.remember(range(9), first_TS, 0).cut(7)
    assert_same(found, wanted, rtol=1e-4, atol=1e-5)
    found = found.followed_by(fused.remember(range(4), more_TS, 7))
    wanted = wanted.followed_by(case.denoiser.remember(range(4), more_TS, 7))
    assert_same(found, wanted, rtol=1e-4, atol=1e-5)


def test_a_memory_in_many_tensors_can_be_packed_and_goes_on(model, heads):
    case = Case(model, heads[0], ALL_RULES)
    packing = Packing(heads[0].config, torch.device("cpu"))
    packed = packing.packed(case.memory)
    assert packed.packed_NW.shape == (case.memory.num_tokens, packing.width)
    assert_same(packed, case.memory, rtol=0, atol=0)
    assert_same(packed.cut(3), case.memory.cut(3), rtol=0, atol=0)
    more = case.denoiser.remember([1, 2], states(heads[0], 2), case.memory.num_tokens)
    assert_same(packed.followed_by(more), case.memory.followed_by(more), rtol=0, atol=0)
