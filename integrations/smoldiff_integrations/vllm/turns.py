"""The worker's side of a scheduler that turns: a model runner that keeps its tokens on the device, or knows them.

Scheduled ahead, vLLM's runner leaves what it sampled on the device and writes -1 where it would keep the tokens. Before a
step that drafts follow from, it takes all requests in anew, with the tokens that the scheduler sends.
"""

from __future__ import annotations

from typing import Any


def turn(runner: Any, scheduler_output: Any) -> None:
    """Before a step: run it as it was scheduled."""
    is_ahead = getattr(scheduler_output, "is_ahead", None)
    if is_ahead is None:  # vLLM's own scheduler
        return
    if runner.use_async_scheduling != is_ahead:
        runner.use_async_scheduling = is_ahead
        batch = runner.input_batch
        batch.prev_sampled_token_ids = batch.prev_req_id_to_index = None
        batch.sampled_token_ids_cpu = batch.async_copy_ready_event = None
        for state in runner.requests.values():
            state.prev_num_draft_len = 0
        if not is_ahead:
            for request_id in [*batch.req_id_to_index]:
                batch.remove_request(request_id)
    if not is_ahead:
        for request_id, ids in scheduler_output.scheduled_cached_reqs.all_token_ids.items():
            state = runner.requests.get(request_id)
            if state is not None:
                state.output_token_ids = list(ids[state.num_prompt_tokens :])
