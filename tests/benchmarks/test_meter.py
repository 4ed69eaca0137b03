import pytest
from calls.data import read_example
from calls.systems import Wanted, library_systems

import smoldiff


def systems(model, **wanted):
    return {s.name: s for s in library_systems(model, Wanted(max_tokens=64, **wanted))}


@pytest.fixture(scope="module")
def model(head_folder):
    return smoldiff.load(device="cpu", head=str(head_folder))


def test_systems_are_named_by_mode_drafter_and_steps_and_use_a_head_where_they_need_one(model):
    drafters = ["scaffold", "diffusion+copy"]
    made = systems(model, modes=["ar", "verified", "diffusion"], drafters=drafters, steps=[1, 4])
    assert {name: system.model.head is not None for name, system in made.items()} == {
        "ar": False,
        "verified:scaffold": False,
        "verified:diffusion+copy": True,
        "diffusion:1": True,
        "diffusion:4": True,
    }


def test_without_a_head_what_needs_one_is_refused():
    model = smoldiff.load(device="cpu", head="none")
    with pytest.raises(ValueError, match="diffusion:2 needs a head, and smoldiff-nano has none"):
        systems(model, modes=["diffusion"], drafters=[], steps=[2])


def test_the_meter_counts_the_passes_that_the_library_counts(model, rows):
    example = read_example(rows[0])
    for system in systems(model, modes=["diffusion"], drafters=[], steps=[1, 3]).values():
        own = smoldiff.generate_call(
            model, list(example.tools), list(example.messages), **system.options
        )
        for _ in range(2):  # an answer starts with an empty meter
            cost = system.answer(example).cost
            assert cost.head_passes == own.stats.head_passes > 0
            assert 0 < cost.head_ms < cost.decode_ms


def test_a_drafting_head_is_metered_and_a_sketch_counts_as_no_draft(model, rows):
    example = read_example(rows[0])
    made = systems(model, modes=["verified", "diffusion"], drafters=["diffusion+copy"], steps=[1])
    drafting, filling = [system.answer(example).cost for system in made.values()]
    assert drafting.head_passes >= 1
    assert drafting.drafts >= 1
    assert (filling.drafts, filling.base_passes) == (0, 0)
