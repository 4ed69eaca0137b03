"""States are found by KV slot, and only where they were written."""

import torch

from smoldiff_integrations.vllm.features import FeatureTable, slots_of


def test_slots_follow_the_blocks_of_a_request():
    blocks = torch.tensor([5, 2, 7], dtype=torch.int32)
    assert slots_of(blocks, 4, 2, 10).tolist() == [22, 23, 8, 9, 10, 11, 28, 29]


def test_what_one_request_wrote_another_reads_from_a_shared_block():
    table = FeatureTable(32, 3, torch.float32, torch.device("cpu"))
    shared = torch.randn(4, 3)
    table.write(slots_of(torch.tensor([6]), 4, 0, 4), shared)
    own = torch.randn(2, 3)
    table.write(slots_of(torch.tensor([6, 1]), 4, 4, 6), own)
    found = table.read(slots_of(torch.tensor([6, 1]), 4, 0, 6))
    assert torch.equal(found, torch.cat([shared, own]))


def test_a_slot_that_is_computed_again_holds_the_new_states():
    table = FeatureTable(8, 2, torch.float32, torch.device("cpu"))
    slots = torch.tensor([3, 4])
    table.write(slots, torch.full((2, 2), 2.0))
    table.write(slots, torch.ones(2, 2))
    assert torch.equal(table.read(slots), torch.ones(2, 2))


def test_slots_that_were_filled_without_us_have_no_states():
    table = FeatureTable(8, 2, torch.float32, torch.device("cpu"))
    table.write(torch.tensor([1]), torch.ones(1, 2))
    table.write(torch.tensor([3]), torch.tensor([[0.0, 1.0]]))
    assert table.read(torch.tensor([1, 2])) is None
    assert table.read(torch.tensor([1, 3])) is not None
