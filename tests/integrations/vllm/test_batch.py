"""A batch's drafts, with a runner that is no more than its requests."""

import logging
from types import SimpleNamespace

import pytest
import torch

from smoldiff.decode.model import load_tokenizer
from smoldiff.scaffold.style import SPACED
from smoldiff.template.vocabulary import Vocabulary
from smoldiff_integrations.vllm import counters
from smoldiff_integrations.vllm.batch import MAX_FAULTS, BatchDrafts
from smoldiff_integrations.vllm.context import Step
from smoldiff_integrations.vllm.counters import Counters
from smoldiff_integrations.vllm.drafting import RequestDrafts

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius", "fahrenheit"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}

STEP_MS = 1000.0
"""So long that every draft is worth its time."""


class Runner:
    """A vLLM runner's state, as far as it is read."""

    def __init__(self):
        self.requests = {}

    @property
    def input_batch(self):
        return SimpleNamespace(req_ids=list(self.requests))

    def add(self, request_id, schema, written, max_tokens=100):
        outputs = None if schema is None else SimpleNamespace(json=schema, structural_tag=None)
        self.requests[request_id] = SimpleNamespace(
            prompt_token_ids=[1, 2, 3],
            output_token_ids=list(written),
            sampling_params=SimpleNamespace(
                structured_outputs=outputs,
                max_tokens=max_tokens,
                ignore_eos=False,
                eos_token_id=2,
            ),
        )

    def step(self, batch, drafted=None, logits=None, num_new=1, is_quiet=False):
        """Drafts after a step in which every request got `num_new` tokens."""
        drafted = drafted or {}
        num_tokens = sum(1 + len(drafted.get(one, ())) for one in self.requests)
        output = SimpleNamespace(
            scheduled_spec_decode_tokens=drafted,
            total_num_scheduled_tokens=num_tokens,
            is_quiet=is_quiet,
        )
        blocks = torch.zeros(len(self.requests), 1, dtype=torch.int32)
        attention = SimpleNamespace(block_table_tensor=blocks)
        step = Step(output, torch.zeros(num_tokens, 4), None, attention, logits, STEP_MS)
        sampled = [list(range(num_new)) for _ in self.requests]
        return batch.draft(self, step, sampled)

    def pass_by(self, batch, *new):
        """A step ahead, in which these requests begin."""
        output = SimpleNamespace(
            scheduled_spec_decode_tokens={},
            total_num_scheduled_tokens=1,
            scheduled_new_reqs=[
                SimpleNamespace(req_id=one, sampling_params=self.requests[one].sampling_params)
                for one in new
            ],
        )
        batch.pass_by(self, Step(output, torch.zeros(1, 4), None, None, None, STEP_MS))


@pytest.fixture(scope="module")
def vocabulary():
    return Vocabulary.of(load_tokenizer())


@pytest.fixture
def batch(vocabulary, monkeypatch):
    monkeypatch.delenv(counters.RUN, raising=False)
    return BatchDrafts(vocabulary, (SPACED,), frozenset({"parallel", "copy"}), 64, Counters())


@pytest.fixture
def runner():
    return Runner()


def test_requests_with_a_schema_get_drafts_and_the_others_none(batch, runner, vocabulary):
    start = vocabulary.encode('{"')
    runner.add("a", SCHEMA, start)
    runner.add("b", None, start)
    runner.add("c", {"type": "strin"}, start)
    drafts = runner.step(batch)
    assert vocabulary.bytes_of(drafts[0]).startswith(b'city": "')
    assert drafts[1:] == [[], []]
    assert batch.counters.read("requests", kind="schema") == 2
    assert batch.counters.read("requests", kind="free") == 1
    assert batch.counters.read("fallbacks", reason="schema") == 1


def test_of_requests_without_a_schema_nothing_is_read_after_their_first_step(batch, runner):
    runner.add("a", None, [])
    runner.add("b", SCHEMA, [])
    runner.step(batch)
    read = []
    state = runner.requests["a"]
    runner.requests["a"] = type("Watched", (), {"__getattr__": lambda _, name: read.append(name)})()
    assert runner.step(batch)[1]
    assert not read
    assert batch.counters.read("requests", kind="free") == 1
    assert len(batch._load.step.steps) == 2
    assert state.output_token_ids == []


def test_a_step_of_requests_without_a_schema_is_left_alone(batch, runner, monkeypatch):
    for name in "ab":
        runner.add(name, None, [])
    runner.step(batch)
    num_steps = len(batch._load.step.steps)
    monkeypatch.setattr(Step, "rows", lambda *_: 1 / 0)
    monkeypatch.setattr(batch.counters, "add", lambda *_, **__: 1 / 0)
    assert runner.step(batch) == [[], []]
    assert len(batch._load.step.steps) == num_steps
    monkeypatch.undo()
    runner.add("c", SCHEMA, [])
    assert runner.step(batch)[2]
    runner.requests.clear()
    runner.add("b", SCHEMA, [])
    runner.step(batch)
    assert not batch._requests.keys() & "ac"


def test_in_a_quiet_step_a_draft_is_learned_from_and_none_is_made(batch, runner, vocabulary):
    runner.add("a", SCHEMA, vocabulary.encode('{"'))
    draft = runner.step(batch)[0]
    runner.add("new", SCHEMA, [])
    runner.add("text", None, [])
    runner.requests["a"].output_token_ids += draft[:1]
    assert runner.step(batch, {"a": draft}, num_new=2, is_quiet=True) == [[], [], []]
    assert batch.counters.read("drafts") == 1
    assert batch.counters.read("requests", kind="free") == 1
    assert batch._requests.keys() == {"a"}  # the new one waits
    assert not batch._requests["a"].has_tried
    del runner.requests["text"]
    drafts = runner.step(batch)
    assert all(drafts)
    assert batch.counters.read("requests", kind="schema") == 2


def test_while_a_prompt_is_read_nothing_is_drafted(batch, runner):
    runner.add("a", SCHEMA, [])
    assert runner.step(batch, num_new=0) == [[]]


def test_a_draft_leaves_room_for_the_token_of_the_pass(batch, runner, vocabulary):
    start = vocabulary.encode('{"')
    runner.add("a", SCHEMA, start, max_tokens=len(start) + 3)
    (draft,) = runner.step(batch)
    assert len(draft) == 2


def test_of_a_whole_answer_nothing_is_drafted(batch, runner, vocabulary, monkeypatch):
    runner.add("a", SCHEMA, vocabulary.encode('{"'))
    assert runner.step(batch)[0]
    monkeypatch.setattr(RequestDrafts, "propose", None)
    runner.requests["a"].output_token_ids.append(2)
    assert runner.step(batch) == [[]]
    runner.requests["a"].sampling_params.max_tokens = 2
    runner.requests["a"].output_token_ids[-1] = 5
    assert runner.step(batch) == [[]]
    assert not batch._num_faults


def test_drafts_are_cut_to_what_a_graph_holds(batch, runner, vocabulary):
    start = vocabulary.encode('{"')
    runner.add("a", SCHEMA, start)
    runner.add("b", None, start)
    runner.add("c", SCHEMA, start)
    whole, _, _ = drafts = runner.step(batch)
    batch.graph_tokens = 3 + 2 * 2
    cut = runner.step(batch, dict(zip("abc", drafts, strict=True)))
    assert cut == [whole[:2], [], whole[:2]]
    # They are verified as they were sent.
    drafted = {"a": whole[:2], "b": [], "c": whole[:2]}
    runner.step(batch, drafted, torch.zeros(7, len(vocabulary)), num_new=3)
    assert batch._requests["a"].tally.num_accepted == 2
    batch.graph_tokens = 2  # less than the batch itself: nothing to be kept
    assert runner.step(batch)[0] == whole


def test_what_a_pass_confirmed_is_counted_by_drafter_and_slot(batch, runner, vocabulary):
    runner.add("a", SCHEMA, vocabulary.encode('{"'))
    (draft,) = runner.step(batch)
    runner.requests["a"].output_token_ids += draft[:3]
    logits = torch.zeros(len(draft) + 1, len(vocabulary))
    runner.step(batch, {"a": draft}, logits, num_new=3)
    read = batch.counters.read
    assert read("drafts") == 1
    assert read("accepted_tokens", drafter="scaffold", slot="structure") == 2
    assert 2 < read("draft_tokens", drafter="scaffold", slot="structure") <= len(draft)
    assert read("draft_tokens", drafter="parallel", slot="enum") > 0


def test_a_request_that_is_gone_is_forgotten(batch, runner, vocabulary):
    runner.add("a", SCHEMA, vocabulary.encode('{"'))
    runner.step(batch)
    runner.requests.clear()
    runner.step(batch)
    assert not batch._requests


def test_a_fault_costs_its_request_the_drafts_and_no_other(
    batch, runner, vocabulary, monkeypatch, caplog
):
    start = vocabulary.encode('{"')
    runner.add("a", SCHEMA, start)
    runner.add("b", SCHEMA, start)
    runner.step(batch)

    def broken(*_):
        raise RuntimeError("planted")

    monkeypatch.setattr(batch._requests["a"], "propose", broken)
    with caplog.at_level(logging.WARNING, "vllm.smoldiff"):
        first, second = runner.step(batch)
    assert first == []
    assert second
    assert "planted" in caplog.text
    assert batch.counters.read("fallbacks", reason="fault") == 1
    assert runner.step(batch)[0] == []


def test_after_many_faults_nothing_is_drafted(batch, runner, vocabulary, monkeypatch):
    monkeypatch.setattr(batch, "_open", lambda *_: 1 / 0)
    runner.add("a", SCHEMA, vocabulary.encode('{"'))
    for _ in range(MAX_FAULTS):
        assert runner.step(batch) == [[]]
    monkeypatch.undo()
    assert runner.step(batch) == [[]]


def test_requests_of_steps_ahead_are_counted_and_left_alone_later(batch, runner):
    runner.add("plain", None, [])
    runner.add("choice", SCHEMA, [])
    runner.requests["choice"].sampling_params.structured_outputs = SimpleNamespace(
        json=None, structural_tag=None, choice=["yes", "no"]
    )
    runner.pass_by(batch, "plain", "choice")
    runner.pass_by(batch)
    assert batch.counters.read("requests", kind="free") == 1
    assert batch.counters.read("requests", kind="schema") == 1
    assert batch.counters.read("fallbacks", reason="kind") == 1
    runner.add("json", SCHEMA, [])
    drafts = runner.step(batch)
    assert drafts[:2] == [[], []]
    assert drafts[2]
    assert batch.counters.read("requests", kind="free") == 1
    assert batch.counters.read("requests", kind="schema") == 2


def test_a_fault_ahead_is_counted(batch, runner):
    runner.requests = None
    runner.pass_by(batch)
    assert batch.counters.read("fallbacks", reason="fault") == 1
