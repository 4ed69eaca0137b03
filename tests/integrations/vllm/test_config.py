"""A configuration that names our proposer keeps asynchronous scheduling and gets larger graphs; others stay as they are."""

import pickle
from types import SimpleNamespace

import pytest

from smoldiff_integrations.vllm import PROPOSER, config
from smoldiff_integrations.vllm.config import GRAPH_TOKENS, PLAIN_TOKENS, SCHEDULER, adapt


@pytest.fixture
def make(monkeypatch):
    """Make a configuration, as vLLM does: it decides what is not set, and refuses drafts of other classes ahead."""
    monkeypatch.setattr(config, "is_known", lambda _: True)
    monkeypatch.setattr(config, "can_be_ahead", lambda _: True)

    class Config:
        def __init__(self, model, is_async=None, scheduler=None, sizes=None, batched=8192, rows=32):
            self.speculative_config = None if model is None else SimpleNamespace(model=model)
            self.scheduler_config = SimpleNamespace(
                async_scheduling=is_async,
                scheduler_cls=scheduler,
                max_num_batched_tokens=batched,
                max_num_seqs=rows,
            )
            self.compilation_config = SimpleNamespace(
                max_cudagraph_capture_size=None, cudagraph_capture_sizes=sizes
            )
            self.num_made = 0
            self.__post_init__()

        def __post_init__(self):
            scheduling = self.scheduler_config
            if scheduling.async_scheduling and self.speculative_config is not None:
                raise ValueError("asynchronous scheduling is not for drafts of such classes")
            if scheduling.async_scheduling is None:
                scheduling.async_scheduling = self.speculative_config is None
            graphs = self.compilation_config
            if graphs.max_cudagraph_capture_size is not None:
                sizes = range(8, graphs.max_cudagraph_capture_size + 1, 8)
                graphs.cudagraph_capture_sizes = [1, 2, 4, *sizes]
            self.num_made += 1

        @property
        def scheduled(self):
            scheduling = self.scheduler_config
            return scheduling.async_scheduling, scheduling.scheduler_cls

    for _ in range(2):
        adapt(Config)
    return Config


@pytest.mark.parametrize("is_async", [None, True])
def test_ours_schedules_ahead_with_our_scheduler(make, is_async):
    made = make(PROPOSER, is_async)
    assert made.scheduled == (True, SCHEDULER)
    assert made.compilation_config.max_cudagraph_capture_size == GRAPH_TOKENS
    made.__post_init__()  # vLLM makes configurations anew from others
    assert made.scheduled == (True, SCHEDULER)
    assert made.num_made == 2


def test_what_a_server_says_itself_is_left(make):
    assert make(PROPOSER, is_async=False).scheduled == (False, SCHEDULER)
    assert make(PROPOSER, scheduler="my.Scheduler").scheduled == (False, "my.Scheduler")
    assert make(PROPOSER, sizes=[1, 8]).compilation_config.max_cudagraph_capture_size is None
    assert make(PROPOSER, batched=300).compilation_config.max_cudagraph_capture_size == 300


def test_it_says_how_large_vllms_own_graphs_would_be(make):
    assert getattr(make(PROPOSER), PLAIN_TOKENS) == 64
    assert getattr(make(PROPOSER, rows=25), PLAIN_TOKENS) == 48
    assert getattr(make(PROPOSER, rows=1024), PLAIN_TOKENS) == 512
    assert not hasattr(make(PROPOSER, sizes=[1, 8]), PLAIN_TOKENS)
    assert not hasattr(make(None), PLAIN_TOKENS)


def test_a_worker_is_told_too():
    vllm = pytest.importorskip("vllm.config", reason="`make test-vllm` has vLLM")
    made = vllm.VllmConfig()
    setattr(made, PLAIN_TOKENS, 64)
    assert getattr(pickle.loads(pickle.dumps(made)), PLAIN_TOKENS) == 64


def test_where_vllm_cannot_be_ahead_one_step_follows_the_other(make, monkeypatch):
    monkeypatch.setattr(config, "can_be_ahead", lambda _: False)
    assert make(PROPOSER).scheduled == (False, SCHEDULER)


def test_of_an_unknown_engine_vllm_decides(make, monkeypatch):
    monkeypatch.setattr(config, "is_known", lambda _: False)
    assert make(PROPOSER).scheduled == (False, None)


def test_others_stay_as_they_are(make):
    assert make(None).scheduled == (True, None)
    assert make("another.Proposer").scheduled == (False, None)
    assert make(None).compilation_config.max_cudagraph_capture_size is None
    with pytest.raises(ValueError, match="not for drafts"):
        make("another.Proposer", is_async=True)


def test_the_parts_of_this_vllm_are_known():
    pytest.importorskip("vllm", reason="vLLM is not installed here; `make test-vllm` has it")
    assert config.has_known_parts()


def test_the_parts_of_a_later_vllm_are_not(monkeypatch):
    vllm = pytest.importorskip("vllm", reason="`make test-vllm` has it")
    monkeypatch.setattr(vllm, "__version__", "0.99.0")
    assert not config.has_known_parts()


def test_a_vllm_with_another_part_is_named(monkeypatch, caplog):
    core = pytest.importorskip("vllm.v1.engine.core", reason="`make test-vllm` has vLLM")
    monkeypatch.setattr(core.EngineCore, "step", lambda self, more: None)
    monkeypatch.setattr(config.log, "propagate", True)
    with caplog.at_level("WARNING", logger=config.log.name):
        assert not config.has_known_parts()
    assert "another step" in caplog.text
