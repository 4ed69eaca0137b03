"""A runner is turned with its scheduler, and knows every request's tokens before a step that drafts follow from."""

from types import SimpleNamespace

from smoldiff_integrations.vllm.turns import turn


class Batch:
    """vLLM's input batch, as far as it is touched."""

    def __init__(self, request_ids):
        self.req_id_to_index = {one: i for i, one in enumerate(request_ids)}
        self.prev_sampled_token_ids = self.sampled_token_ids_cpu = "on the device"
        self.prev_req_id_to_index = dict(self.req_id_to_index)
        self.async_copy_ready_event = "event"

    def remove_request(self, request_id):
        del self.req_id_to_index[request_id]


def state(num_prompt, output):
    return SimpleNamespace(
        num_prompt_tokens=num_prompt, output_token_ids=output, prev_num_draft_len=3
    )


def runner_of(is_ahead, **requests):
    batch = Batch(requests)
    return SimpleNamespace(use_async_scheduling=is_ahead, input_batch=batch, requests=requests)


def output(is_ahead, **all_token_ids):
    cached = SimpleNamespace(all_token_ids=all_token_ids)
    return SimpleNamespace(is_ahead=is_ahead, scheduled_cached_reqs=cached)


def test_before_drafts_the_tokens_are_taken_from_the_scheduler():
    runner = runner_of(True, a=state(2, [-1, -1, -1]), waits=state(1, [-1]))
    turn(runner, output(False, a=[1, 2, 30, 40, 50], gone=[1]))
    assert not runner.use_async_scheduling
    assert runner.requests["a"].output_token_ids == [30, 40, 50]
    assert not runner.input_batch.req_id_to_index  # all are taken in anew
    assert runner.input_batch.prev_sampled_token_ids is None
    assert runner.input_batch.sampled_token_ids_cpu is None
    assert {one.prev_num_draft_len for one in runner.requests.values()} == {0}
    turn(runner, output(False, waits=[7, 8]))  # it was not in the first step
    assert runner.requests["waits"].output_token_ids == [8]


def test_ahead_the_batch_stays():
    runner = runner_of(False, a=state(2, [30]))
    turn(runner, output(True, a=[1, 2, 30]))
    assert runner.use_async_scheduling
    assert runner.input_batch.req_id_to_index == {"a": 0}
    assert runner.requests["a"].prev_num_draft_len == 0
    assert runner.input_batch.prev_req_id_to_index is None
    runner.input_batch.prev_sampled_token_ids = "on the device"
    turn(runner, output(True))
    assert runner.input_batch.prev_sampled_token_ids == "on the device"


def test_a_step_of_another_scheduler_is_left_alone():
    runner = runner_of(True, a=state(2, [-1]))
    turn(runner, SimpleNamespace())
    assert runner.use_async_scheduling
    assert runner.requests["a"].output_token_ids == [-1]
