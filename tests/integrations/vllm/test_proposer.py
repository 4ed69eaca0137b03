"""What the proposer asks of a server for itself."""

from types import SimpleNamespace

import torch

from smoldiff_integrations.vllm.proposer import Proposer


def proposer_with(head, is_first_rank=True):
    one = Proposer.__new__(Proposer)
    one._batch, one._is_first_rank = SimpleNamespace(head=head), is_first_rank
    return one


def head_of(num_taps, hidden_size, dtype):
    config = SimpleNamespace(taps=(1,) * num_taps, base=SimpleNamespace(hidden_size=hidden_size))
    tables = SimpleNamespace(embedding_VH=torch.zeros(1, 1, dtype=dtype))
    return SimpleNamespace(head=SimpleNamespace(config=config), tables=tables)


def test_a_vllm_that_describes_steps_in_another_way_does_so_itself(monkeypatch):
    one = proposer_with(None)
    one._is_vllm_other = False
    said = []
    monkeypatch.setattr(
        "smoldiff_integrations.vllm.proposer.log.warning", lambda *_, **__: said.append(1)
    )
    runner = SimpleNamespace()  # without what is read of it
    assert [one.nothing_to_verify(runner, 2) for _ in range(3)] == [None] * 3
    assert len(said) == 1


def test_states_and_keys_and_values_have_room_for_as_many_tokens():
    specs = {str(i): SimpleNamespace(page_size_bytes=16 * 2048, block_size=16) for i in range(36)}
    num_bytes = 40 * 2**30
    reserved = proposer_with(head_of(5, 2048, torch.bfloat16)).reserve(num_bytes, specs)
    a_token = 5 * 2048 * 2
    num_states, num_cached = reserved // a_token, (num_bytes - reserved) // (36 * 2048)
    assert abs(num_states - num_cached) <= 1


def test_without_a_head_nothing_is_reserved():
    specs = {"0": SimpleNamespace(page_size_bytes=1024, block_size=16)}
    assert proposer_with(None).reserve(2**20, specs) == 0
    head = head_of(5, 64, torch.float32)
    assert proposer_with(head, is_first_rank=False).reserve(2**20, specs) == 0
    assert proposer_with(head).reserve(2**20, specs) > 0
    specs["1"] = SimpleNamespace(page_size_bytes=512, block_size=16)  # layers of two kinds
    assert proposer_with(head).reserve(2**20, specs) == 0
