"""Hooks tell the proposer what it needs, once, and leave a runner alone that has other methods or another drafter."""

from types import SimpleNamespace

import numpy as np
import pytest

from smoldiff_integrations.vllm.hooks import install, share_memory


class Proposer:
    def __init__(self):
        self.seen = []

    def bind(self, runner):
        self.seen.append(("bind", runner))

    def start(self, runner, scheduler_output):
        self.seen.append(("start", scheduler_output))

    def nothing_to_verify(self, runner, num_rows):
        return f"nothing for {num_rows}"

    def look(self, logits_RV):
        self.seen.append(("look", logits_RV))

    def reserve(self, num_bytes, specs):
        return num_bytes // specs["layer"]

    def begin(self, runner, *step, **named):
        self.seen.append(("begin", len(step) + len(named)))


@pytest.fixture
def runner_class():
    class Runner:
        def __init__(self, drafter):
            self.drafter = drafter

        def load_model(self, load_dummy_weights=False):
            return "loaded"

        def execute_model(self, scheduler_output, intermediate_tensors=None):
            return "run"

        def _sample(self, logits, spec_decode_metadata):
            return "sampled"

        def propose_draft_token_ids(
            self,
            scheduler_output,
            sampled_token_ids,
            sampling_metadata,
            hidden_states,
            sample_hidden_states,
            aux_hidden_states,
            spec_decode_metadata,
            common_attn_metadata,
            slot_mappings,
        ):
            return "drafts"

    return Runner


def test_a_runner_with_our_drafter_tells_it_everything(runner_class):
    class CpuRunner(runner_class):
        def load_model(self):
            return "loaded on a CPU"

    assert install(runner_class, Proposer) == ()
    runner = CpuRunner(Proposer())
    assert runner.load_model() == "loaded on a CPU"
    assert runner.execute_model("output") == "run"
    assert runner._sample("logits", None) == "sampled"
    assert runner._sample("logits", "metadata") == "sampled"
    assert runner.propose_draft_token_ids(*range(8), slot_mappings=8) == "drafts"
    seen = [("bind", runner), ("start", "output"), ("look", None), ("look", "logits"), ("begin", 9)]
    assert runner.drafter.seen == seen


@pytest.mark.parametrize(("max_spec_len", "is_verified"), [(0, False), (3, True)])
def test_a_step_without_a_draft_is_sampled_as_without_the_plugin(max_spec_len, is_verified):
    class Runner:
        def __init__(self, drafter):
            self.drafter = drafter

        def _sample(self, logits, spec_decode_metadata):
            return spec_decode_metadata

    install(Runner, Proposer)
    metadata = SimpleNamespace(max_spec_len=max_spec_len)
    runner = Runner(Proposer())
    assert runner._sample("logits", metadata) is (metadata if is_verified else None)
    assert runner.drafter.seen == [("look", "logits" if is_verified else None)]
    assert Runner(object())._sample("logits", metadata) is metadata


@pytest.mark.parametrize(
    ("num_drafted", "expected"), [([0, 0], "nothing for 2"), ([0, 3], "metadata")]
)
def test_a_step_without_a_draft_has_nothing_to_verify(num_drafted, expected):
    class Runner:
        def __init__(self, drafter):
            self.drafter = drafter

        def _sample(self, logits, spec_decode_metadata):
            return "sampled"

        def _calc_spec_decode_metadata(self, num_draft_tokens, cu_num_scheduled_tokens):
            return "metadata"

    class OtherSampler(Runner):
        def _sample(self, logits):
            return "sampled"

        def _calc_spec_decode_metadata(self, num_draft_tokens, cu_num_scheduled_tokens):
            return "metadata"

    for one in (Runner, OtherSampler):
        install(one, Proposer)
    drafted, ends = np.array(num_drafted), np.array([5, 9])
    assert Runner(Proposer())._calc_spec_decode_metadata(drafted, ends) == expected
    assert Runner(object())._calc_spec_decode_metadata(drafted, ends) == "metadata"
    unable = Proposer()
    unable.nothing_to_verify = lambda *_: None
    assert Runner(unable)._calc_spec_decode_metadata(drafted, ends) == "metadata"
    assert OtherSampler(Proposer())._calc_spec_decode_metadata(drafted, ends) == "metadata"


def test_hooks_are_set_once(runner_class):
    for _ in range(2):
        install(runner_class, Proposer)
    runner = runner_class(Proposer())
    runner.load_model(load_dummy_weights=True)
    assert len(runner.drafter.seen) == 1


def test_another_drafter_is_left_alone(runner_class):
    install(runner_class, Proposer)
    runner = runner_class(object())
    assert runner.load_model() == "loaded"
    assert runner.execute_model("output") == "run"
    assert runner.propose_draft_token_ids(*range(9)) == "drafts"


def test_a_method_with_another_signature_is_named_and_not_touched(runner_class):
    def other(self, logits, metadata, more):
        return "sampled"

    runner_class._sample = other
    assert install(runner_class, Proposer) == ("_sample",)
    assert runner_class._sample is other
    del runner_class.execute_model
    assert install(runner_class, Proposer) == ("execute_model", "_sample")


def worker_with(drafter, kv_cache_memory_bytes=None):
    class Worker:
        def __init__(self):
            self.model_runner = SimpleNamespace(drafter=drafter)
            self.cache_config = SimpleNamespace(kv_cache_memory_bytes=kv_cache_memory_bytes)

        def determine_available_memory(self):
            return 1000

        def get_kv_cache_spec(self):
            return {"layer": 4}

    return Worker


def test_the_drafter_gets_its_part_of_the_memory_once():
    for drafter, fixed, left in (
        (Proposer(), None, 750),
        (None, None, 1000),
        (Proposer(), 1000, 1000),
    ):
        worker_class = worker_with(drafter, fixed)
        assert share_memory(worker_class, Proposer)
        assert share_memory(worker_class, Proposer)
        assert worker_class().determine_available_memory() == left


@pytest.mark.parametrize("asks_parent", [False, True])
def test_a_worker_with_a_way_of_its_own_gives_the_drafter_its_part_once(asks_parent):
    base = worker_with(Proposer())

    class Worker(base):
        pass

    class Own(Worker):
        def determine_available_memory(self):
            return super().determine_available_memory() + 1000 if asks_parent else 2000

    assert share_memory(base, Proposer)
    assert Own().determine_available_memory() == 1500
    assert Worker().determine_available_memory() == 750


def test_a_worker_with_another_method_is_left_alone():
    class Worker:
        def determine_available_memory(self, more):
            return more

    assert not share_memory(Worker, Proposer)
    assert not share_memory(type("Empty", (), {}), Proposer)
    assert Worker().determine_available_memory(3) == 3
