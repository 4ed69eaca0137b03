"""Which graph vLLM's own dispatcher runs a step in, and what the step's attention is planned for."""

from types import SimpleNamespace

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed here; `make test-vllm` has it")

from vllm.config import CUDAGraphMode
from vllm.v1.attention.backend import AttentionCGSupport
from vllm.v1.cudagraph_dispatcher import CudagraphDispatcher

from smoldiff_integrations.vllm.graphs import Graphs

SIZES = [1, 2, 4, 8, 16, 32, 64]
MAX_ROWS = 8
PLAIN = 16
"""Tokens of the largest step that vLLM by itself has a graph for."""
ANY, EQUAL = AttentionCGSupport.ALWAYS, AttentionCGSupport.UNIFORM_BATCH


class Backend:
    """Of attention, with metadata builders that can be captured for queries of such lengths."""

    def __init__(self, support):
        self.support = support

    def get_builder_cls(self):
        return self

    def get_cudagraph_support(self, vllm_config, kv_cache_spec):
        return self.support


class Runner:
    """vLLM's model runner, as far as it is touched."""

    def __init__(self, mode, lora=None, support=(EQUAL,), has_cascade=False, has_images=False):
        graphs = SimpleNamespace(
            cudagraph_mode=mode,
            max_cudagraph_capture_size=SIZES[-1],
            cudagraph_capture_sizes=SIZES,
            compile_sizes=None,
            cudagraph_specialize_lora=True,
            is_attention_compiled_piecewise=lambda: True,
        )
        self.cudagraph_dispatcher = CudagraphDispatcher(
            SimpleNamespace(
                compilation_config=graphs,
                scheduler_config=SimpleNamespace(max_num_seqs=MAX_ROWS),
                lora_config=lora,
                num_speculative_tokens=64,
                speculative_config=SimpleNamespace(num_speculative_tokens=64),
            )
        )
        self.vllm_config = None
        self.model_config = SimpleNamespace(disable_cascade_attn=not has_cascade)
        self.supports_mm_inputs = has_images
        self.uniform_decode_query_len = 65
        self.mode, self.support, self.planned = mode, support, []
        self.builders = [SimpleNamespace(max_cudagraph_size=SIZES[-1]), SimpleNamespace()]
        self.attn_groups = [[SimpleNamespace(metadata_builders=self.builders)]]

    def _build_attention_metadata(self, num_tokens, max_query_len, num_tokens_padded=None):
        largest = self.builders[0].max_cudagraph_size
        self.planned.append((num_tokens, max_query_len, num_tokens_padded, largest))

    def _check_and_update_cudagraph_mode(self, backends, groups, is_profiling=False):
        self.cudagraph_dispatcher.initialize_cudagraph_keys(
            self.mode, self.uniform_decode_query_len
        )

    def _dummy_run(self, num_tokens, cudagraph_runtime_mode=None, uniform_decode=False):
        chosen, _ = self.cudagraph_dispatcher.dispatch(num_tokens, uniform_decode)
        assert cudagraph_runtime_mode in (None, chosen)

    def capture(self):
        backends = [{Backend(one)} for one in self.support]
        groups = [SimpleNamespace(kv_cache_spec=None) for _ in backends]
        self._check_and_update_cudagraph_mode(backends, groups, is_profiling=False)
        found = []
        for mode, descriptors in self.cudagraph_dispatcher.get_capture_descs():
            for one in descriptors:
                self._dummy_run(
                    one.num_tokens, cudagraph_runtime_mode=mode, uniform_decode=one.uniform
                )
                found.append((mode.name, one.num_tokens, one.num_reqs, one.uniform))
        return found

    def dispatch(self, *num_tokens):
        is_uniform = {*num_tokens} == {self.uniform_decode_query_len}
        mode, one = self.cudagraph_dispatcher.dispatch(sum(num_tokens), is_uniform)
        return mode.name, one.num_tokens, one.uniform


def chosen(mode, plain_tokens=PLAIN, **options):
    runner = Runner(mode, **options)
    runner.graphs = Graphs(runner, plain_tokens)
    return runner


def step_of(*drafts):
    return SimpleNamespace(scheduled_spec_decode_tokens=dict(enumerate(drafts)))


def test_vllms_own_graphs_leave_out_plain_steps():
    runner = Runner(CUDAGraphMode.FULL_AND_PIECEWISE)
    runner.capture()
    assert runner.dispatch(1, 1, 1) == ("PIECEWISE", 4, False)


def test_whole_graphs_are_for_one_token_a_row():
    runner = chosen(CUDAGraphMode.FULL_AND_PIECEWISE)
    assert runner.uniform_decode_query_len == 1
    captured = runner.capture()
    assert [one for one in captured if one[0] == "FULL"] == [
        ("FULL", size, size, True) for size in (8, 4, 2, 1)
    ]
    assert runner.dispatch(1, 1, 1) == ("FULL", 4, True)
    assert runner.dispatch(9, 1, 30) == ("PIECEWISE", 64, False)
    assert runner.dispatch(65) == ("NONE", 65, False)


WHOLE = [(CUDAGraphMode.FULL, ()), (CUDAGraphMode.FULL_AND_PIECEWISE, (ANY, ANY))]


@pytest.mark.parametrize(("mode", "support"), WHOLE, ids=["FULL", "the default"])
def test_where_attention_can_be_captured_for_any_drafts_they_are_whole_graphs_beside_plain_steps(
    mode, support
):
    runner = chosen(mode, support=support)
    captured = runner.capture()
    whole = [one for one in captured if one[0] == "FULL"]
    assert len(whole) == len(captured) or mode.name == "FULL_AND_PIECEWISE"
    assert sorted(one[1:] for one in whole if not one[3]) == [
        (size, min(size, MAX_ROWS), False) for size in SIZES[1:]
    ]
    assert sorted(one[1:] for one in whole if one[3]) == [
        (size, size, True) for size in SIZES if size <= MAX_ROWS
    ]
    assert runner.dispatch(1) == ("FULL", 1, True)
    assert runner.dispatch(1, 1, 1) == ("FULL", 4, True)
    assert runner.dispatch(2, 1) == ("FULL", 4, False)
    assert runner.dispatch(9, 1, 30) == ("FULL", 64, False)
    assert runner.dispatch(2) == ("FULL", 2, False)
    assert runner.dispatch(65) == ("NONE", 65, False)


def test_a_step_without_drafts_runs_in_the_graph_in_which_vllm_runs_it():
    alone = Runner(CUDAGraphMode.FULL_AND_PIECEWISE)
    alone.uniform_decode_query_len = alone.cudagraph_dispatcher.uniform_decode_query_len = 1
    graphs = alone.cudagraph_dispatcher.compilation_config
    graphs.cudagraph_capture_sizes = [size for size in SIZES if size <= PLAIN]
    graphs.max_cudagraph_capture_size = PLAIN
    ours = chosen(CUDAGraphMode.FULL_AND_PIECEWISE, support=(ANY,))
    has_parts = [one for one in ours.capture() if one[0] == "PIECEWISE"]
    assert has_parts == [one for one in alone.capture() if one[0] == "PIECEWISE"]
    for step in ((1,), (1, 1, 1), (9, 1), (2,), (16,), (17,), (60, 1)):
        ours.graphs.start(step_of())
        assert ours.dispatch(*step) == alone.dispatch(*step)
        ours.graphs.start(step_of([7, 8], []))
        is_plain = {*step} == {1}
        size = next(size for size in SIZES if size >= sum(step))
        assert ours.dispatch(*step) == ("FULL", size, is_plain)
    ours.graphs.start(step_of())
    agreed = {CUDAGraphMode.PIECEWISE}  # by several ranks
    mode, one = ours.cudagraph_dispatcher.dispatch(10, False, valid_modes=agreed)
    assert (mode.name, one.num_tokens) == ("PIECEWISE", 16)
    assert ours.capture()  # anew, behind a step without drafts


def test_sizes_that_a_server_says_itself_hold_for_steps_without_drafts_too():
    runner = chosen(CUDAGraphMode.FULL_AND_PIECEWISE, plain_tokens=None, support=(ANY,))
    runner.capture()
    runner.graphs.start(step_of())
    assert runner.dispatch(60, 1) == ("PIECEWISE", 64, False)
    runner._build_attention_metadata(num_tokens=61, max_query_len=60)
    assert runner.planned == [(61, 60, None, SIZES[-1])]


@pytest.mark.parametrize(
    "options",
    [
        {"support": (ANY, EQUAL)},
        {"support": ()},
        {"support": (ANY,), "has_cascade": True},
        {"support": (ANY,), "has_images": True},
    ],
    ids=["one for equal lengths alone", "no attention", "cascade attention", "images"],
)
def test_otherwise_steps_with_drafts_are_graphs_of_parts(options):
    runner = chosen(CUDAGraphMode.FULL_AND_PIECEWISE, **options)
    runner.capture()
    assert runner.dispatch(9, 1, 30) == ("PIECEWISE", 64, False)
    assert runner.dispatch(1, 1, 1) == ("FULL", 4, True)


def test_what_another_cache_cannot_be_captured_for_counts_when_it_comes():
    runner = chosen(CUDAGraphMode.FULL_AND_PIECEWISE, support=(ANY,))
    runner.capture()
    assert runner.dispatch(9, 1, 30) == ("FULL", 64, False)
    runner.support = (EQUAL,)
    runner.cudagraph_dispatcher.cudagraph_keys = {
        mode: set() for mode in runner.cudagraph_dispatcher.cudagraph_keys
    }
    runner.capture()
    assert runner.dispatch(9, 1, 30) == ("PIECEWISE", 64, False)


@pytest.mark.parametrize(
    "mode", [CUDAGraphMode.NONE, CUDAGraphMode.PIECEWISE, CUDAGraphMode.FULL_DECODE_ONLY]
)
def test_another_mode_that_a_server_asks_for_is_left(mode):
    runner = chosen(mode, support=(ANY,))
    runner.capture()
    assert runner.dispatch(9, 1, 30)[0] == ("PIECEWISE" if mode.name == "PIECEWISE" else "NONE")


def test_of_a_vllm_that_asks_its_back_ends_in_another_way_graphs_are_of_parts(caplog):
    runner = chosen(CUDAGraphMode.FULL_AND_PIECEWISE, support=(ANY,))
    del runner.model_config
    with caplog.at_level("WARNING", "vllm.smoldiff"):
        runner.capture()
    assert "in another way" in caplog.text
    assert runner.dispatch(9, 1, 30) == ("PIECEWISE", 64, False)


def test_in_mode_full_each_number_of_adapters_has_its_graphs():
    lora = SimpleNamespace(max_loras=1, specialize_active_lora=False)
    plain, adapted = chosen(CUDAGraphMode.FULL), chosen(CUDAGraphMode.FULL, lora=lora)
    assert len(adapted.capture()) == 2 * len(plain.capture())


@pytest.mark.parametrize(
    ("num_tokens", "longest", "padded", "planned"),
    [(3, 1, 4, 1), (20, 9, 32, 32), (20, 9, None, 9), (3, 1, None, 1)],
    ids=["plain", "drafts", "drafts without a whole graph", "plain without a whole graph"],
)
def test_attention_is_planned_for_what_its_graph_was_captured_for(
    num_tokens, longest, padded, planned
):
    runner = chosen(CUDAGraphMode.FULL)
    runner._build_attention_metadata(
        num_tokens=num_tokens, max_query_len=longest, num_tokens_padded=padded
    )
    assert runner.planned == [(num_tokens, planned, padded, SIZES[-1])]


def test_attention_of_a_step_without_drafts_is_split_as_vllm_splits_it():
    runner = chosen(CUDAGraphMode.FULL_AND_PIECEWISE, support=(ANY,))
    for drafts, num_tokens in (((), 20), ((), 16), (([7],), 20)):
        runner.graphs.start(step_of(*drafts))
        runner._build_attention_metadata(num_tokens=num_tokens, max_query_len=9)
    assert [one[3] for one in runner.planned] == [PLAIN, SIZES[-1], SIZES[-1]]
    assert runner.builders[0].max_cudagraph_size == SIZES[-1]


def test_of_a_vllm_that_captures_in_another_way_mode_full_is_left_as_it_is(caplog):
    runner = Runner(CUDAGraphMode.FULL)
    runner.cudagraph_dispatcher = SimpleNamespace(uniform_decode_query_len=65)
    with caplog.at_level("WARNING", "vllm.smoldiff"):
        Graphs(runner, PLAIN)
    assert runner.cudagraph_dispatcher.uniform_decode_query_len == 1
    assert "do not set mode FULL" in caplog.text
    runner._build_attention_metadata(20, max_query_len=9, num_tokens_padded=32)
    assert runner.planned == [(20, 9, 32, SIZES[-1])]


def test_a_runner_without_graphs_is_left_alone():
    runner = SimpleNamespace(uniform_decode_query_len=65)
    graphs = Graphs(runner, PLAIN)
    graphs.start(step_of())
    assert runner.uniform_decode_query_len == 65
