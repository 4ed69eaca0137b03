"""Recorded answers: where they are forced, what the oracle drafts, models of another's shape."""

from types import SimpleNamespace

import pytest
import torch
from serving.recorded import RAISED, RECORDED, Oracle, places, wrap, wrap_second, write_answers
from serving.shapes import SHAPES, write_model

from smoldiff.decode.model import NANO, model_path

PROMPT, ANSWER = [5, 6, 7], [11, 12, 13, 14]


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    path = tmp_path / "answers.jsonl"
    write_answers(path, [(PROMPT, ANSWER)])
    monkeypatch.setenv(RECORDED, str(path))
    monkeypatch.setattr("serving.recorded._answers", None)


def state(num_computed, num_written, prompt=PROMPT):
    return SimpleNamespace(
        prompt_token_ids=prompt,
        num_computed_tokens=num_computed,
        output_token_ids=ANSWER[:num_written],
    )


def step(scheduled, drafted=()):
    return SimpleNamespace(
        num_scheduled_tokens=scheduled, scheduled_spec_decode_tokens=dict(drafted)
    )


def runner(**states):
    return SimpleNamespace(requests=states, input_batch=SimpleNamespace(req_ids=[*states]))


@pytest.mark.usefixtures("recorded")
class TestPlaces:
    def test_a_prompt_that_is_read_to_its_end_writes_the_first_token(self):
        assert [*places(runner(a=state(0, 0)), step({"a": 3}))] == [(0, 11)]

    def test_a_prompt_that_is_not_read_to_its_end_writes_nothing(self):
        assert [*places(runner(a=state(0, 0)), step({"a": 2}))] == []

    def test_drafted_tokens_have_rows_of_their_own(self):
        found = places(runner(a=state(3, 1)), step({"a": 3}, {"a": [12, 99]}))
        assert [*found] == [(0, 12), (1, 13), (2, 14)]

    def test_rows_follow_the_batch_and_other_prompts_are_left_alone(self):
        batch = runner(b=state(0, 0, [1]), a=state(4, 2))
        assert [*places(batch, step({"b": 1, "a": 1}))] == [(1, 13)]

    def test_nothing_is_forced_behind_the_end(self):
        assert [*places(runner(a=state(5, 3)), step({"a": 3}, {"a": [0, 0]}))] == [(0, 14)]


@pytest.mark.usefixtures("recorded")
def test_the_recorded_token_has_the_highest_logit():
    class Runner:
        def __init__(self):
            self.__dict__.update(vars(runner(a=state(3, 1))))

        def execute_model(self, scheduler_output):
            return scheduler_output

        def _sample(self, logits, spec_decode_metadata):
            return logits

    wrap(Runner)
    one = Runner()
    one.execute_model(step({"a": 2}, {"a": [12]}))
    logits = one._sample(torch.zeros(2, 20), None)
    assert logits.argmax(-1).tolist() == [12, 13]
    assert logits.max() == RAISED


@pytest.mark.usefixtures("recorded")
def test_the_second_runner_writes_them_too():
    class Runner:
        def execute_model(self, scheduler_output):
            return scheduler_output

    class Sampler:
        def __call__(self, logits, input_batch):
            return logits.argmax(-1).tolist()

    def scheduled(new=(), finished=()):
        requests = [SimpleNamespace(req_id=name, prompt_token_ids=ids) for name, ids in new]
        return SimpleNamespace(scheduled_new_reqs=requests, finished_req_ids={*finished})

    def sampled(**positions):
        """Each request's next token, behind the token at its position."""
        rows = torch.tensor([0, *positions.values()])
        indices = torch.arange(1, len(rows))
        batch = SimpleNamespace(req_ids=[*positions], positions=rows, logits_indices=indices)
        return Sampler()(torch.zeros(len(positions), 20), batch)

    wrap_second(Runner, Sampler)
    runner = Runner()
    runner.execute_model(scheduled([("a", PROMPT), ("b", [1]), ("c", PROMPT)]))
    assert sampled(b=0, a=1, c=2) == [
        0,
        0,
        11,
    ]  # another prompt, one not read to its end, one that is
    assert sampled(c=3, a=2) == [12, 11]
    assert sampled(a=5, c=6) == [14, 0]  # nothing is recorded behind the end
    runner.execute_model(scheduled(finished=["a"]))
    assert sampled(a=5) == [0]


@pytest.mark.usefixtures("recorded")
def test_the_oracle_drafts_what_comes_next():
    oracle = Oracle.__new__(Oracle)
    oracle._num, oracle._runner = 2, runner(a=state(3, 1), b=state(0, 0))
    assert oracle.propose([[11], []]) == [[12, 13], []]


@pytest.mark.parametrize("name", SHAPES)
def test_a_model_of_a_shape_has_its_sizes_and_a_tokenizer(name, tmp_path):
    from transformers import AutoConfig, AutoTokenizer

    folder = write_model(SHAPES[name], tmp_path / name)
    config = AutoConfig.from_pretrained(folder)
    assert {key: getattr(config, key) for key in SHAPES[name]} == SHAPES[name]
    assert len(config.layer_types) == len(config.no_rope_layers) == config.num_hidden_layers
    tokenizer, own = (AutoTokenizer.from_pretrained(one) for one in (folder, model_path(NANO)))
    assert tokenizer.chat_template == own.chat_template
    assert len(tokenizer) == config.vocab_size
    assert all(map(tokenizer.decode, range(len(own), len(tokenizer), 997)))
    text = '{"x9000": ["x8192 x19999", 19999]}<|im_end|>'
    assert tokenizer(text).input_ids == own(text).input_ids
