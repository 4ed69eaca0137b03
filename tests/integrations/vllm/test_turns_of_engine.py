"""An engine that schedules ahead while nobody is drafted for says what one that never does says."""

import json

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed here; `make test-vllm` has it")

from vllm_process import run


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What each way of scheduling gave, in engines of their own."""
    folder = tmp_path_factory.mktemp("turns")
    ways = ("without drafts", "turning")
    for way in ways:  # one after the other: vLLM binds both to the same cores
        run("turns_of_engine.py", way, folder / way)
    return {way: json.loads((folder / way).read_text()) for way in ways}


def test_answers_are_the_same(found):
    assert found["turning"]["answers"] == found["without drafts"]["answers"]


def test_it_turned_both_ways_and_ran_ahead(found):
    counted = found["turning"]["counted"]
    assert counted["turns"] >= 4
    assert counted["preempted"] > 0
    assert counted["begun while one was under way"] > 15
    assert counted["ahead with a schema"] > 15
    assert counted["accepted"] > 0
    assert counted["faults"] == 0
