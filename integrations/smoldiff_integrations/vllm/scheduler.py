"""vLLM's asynchronous scheduling, kept while nobody is drafted for.

Asynchronous scheduling begins a step before the last one's tokens are known, so that the host works while the device does.
A draft follows from those tokens. So the engine goes back and forth: as long as a request with a schema is there, and drafts
make the server faster (see `pace`), one step after the other, and otherwise ahead, as without drafts. It turns only where no
step is under way. An engine that never is ahead drafts for batches of requests with a schema in any case, where the worker knows
what that costs, and tells its worker where drafts would slow others.

vLLM names this class in its configuration, see `config`. Read in vLLM 0.26 and 0.32.
"""

from __future__ import annotations

import time
from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.engine.core import EngineCore

from smoldiff_integrations.vllm import grammar
from smoldiff_integrations.vllm.options import read_options
from smoldiff_integrations.vllm.pace import NUM_TRIED, NUM_TRIED_BESIDE, Pace
from smoldiff_integrations.vllm.schema import has_schema
from smoldiff_integrations.vllm.wrapping import Method, wrap


class DraftScheduler(AsyncScheduler):
    """Schedules ahead while nobody is drafted for."""

    num_spec_tokens: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.can_turn = bool(self.scheduler_config.async_scheduling)
        """Whether it ever schedules ahead."""
        self.is_ahead = self.can_turn
        self.is_held = False
        """Whether nothing new may be scheduled."""
        self.is_quiet = False
        """Whether the last step has no drafts and the worker makes none behind it; never of an engine that turns."""
        self._with_schema: set[str] = set()
        options = read_options(self.vllm_config.additional_config)
        self._pace = Pace(spares_text=not options.throughput_first)
        self._is_drafting = True
        self._is_beside = False
        """Whether that was decided for a batch with requests without a schema."""
        self._num_rows = 0
        """And how many rows it had."""
        self._num_decided = 0
        """Steps for which it still holds, unless drafts are found to take longer beside such requests."""
        self._last: float | None = None
        """When the last step was done; None where nothing followed at once."""
        self._fills_drafts = grammar.follow(self.structured_output_manager)
        follow(EngineCore)

    def add_request(self, request: Any, *args: Any, **kwargs: Any) -> None:
        super().add_request(request, *args, **kwargs)
        if has_schema(request.sampling_params):
            self._with_schema.add(request.request_id)

    def update_draft_token_ids(self, draft_token_ids: Any) -> None:
        rest = grammar.take(self.requests, draft_token_ids) if self._fills_drafts else None
        super().update_draft_token_ids(draft_token_ids if rest is None else rest)

    def has_requests(self) -> bool:
        return not self.is_held and super().has_requests()

    @property
    def has_free(self) -> bool:
        """Whether a request without a schema is there."""
        if not self._with_schema <= self.requests.keys():
            self._with_schema.intersection_update(self.requests)
        return len(self.requests) > len(self._with_schema)

    @property
    def wants_drafts(self) -> bool:
        """Whether a request that may be drafted for is there, and drafts pay."""
        has_free = self.has_free
        if not self._with_schema or not self._has_choice(has_free):
            self._num_decided = 0
            return bool(self._with_schema)
        is_beside = self._is_beside and self._is_drafting
        is_over = is_beside and self._pace.is_ahead(self._num_rows, True)
        if self._num_decided <= 0 or has_free != self._is_beside or is_over:
            self._num_rows = min(len(self.requests), self.max_num_running_reqs)
            self._is_drafting = not self._pace.is_ahead(self._num_rows, has_free)
            self._is_beside = has_free
            is_costly = has_free and self._is_drafting
            self._num_decided = NUM_TRIED_BESIDE // 2 if is_costly else NUM_TRIED
        return self._is_drafting

    def _has_choice(self, has_free: bool) -> bool:
        """Whether a batch with a schema may go without drafts, so that its steps are timed."""
        return has_free or self.can_turn

    def turn(self, is_ahead: bool) -> None:
        """From the next step on schedule so. No step may be under way."""
        if is_ahead != self.is_ahead:
            self.is_ahead, self._last = is_ahead, None
            # The worker is told all tokens of requests that were not in the last step: it must be of all.
            self.prev_step_scheduled_req_ids.clear()
            self._drop_drafts()

    def update_from_output(
        self, scheduler_output: Any, model_runner_output: Any, *args: Any, **kwargs: Any
    ) -> Any:
        self._time(scheduler_output, model_runner_output)
        outputs = super().update_from_output(scheduler_output, model_runner_output, *args, **kwargs)
        if not self.get_num_unfinished_requests():
            self._last = None
        return outputs

    def _time(self, scheduler_output: Any, model_runner_output: Any) -> None:
        """What a step took, if nothing of a prompt was read in it."""
        now, last = time.perf_counter(), self._last
        self._last = now
        self._num_decided -= 1
        if last is None or not self._with_schema:
            return
        names = scheduler_output.num_scheduled_tokens.keys()
        num_free = len(names - self._with_schema)
        num_drafted = sum(map(len, scheduler_output.scheduled_spec_decode_tokens.values()))
        is_plain = scheduler_output.total_num_scheduled_tokens == len(names) + num_drafted
        if num_free == len(names) or not self._has_choice(num_free > 0):
            return
        if not is_plain:
            self._pace.skip(len(names), num_free > 0)
            return
        num_tokens = sum(map(len, model_runner_output.sampled_token_ids))
        is_plain_way = scheduler_output.is_ahead if self.can_turn else scheduler_output.is_quiet
        self._pace.add(is_plain_way, len(names), num_free > 0, num_tokens, 1e3 * (now - last))

    def schedule(self, *args: Any, **kwargs: Any) -> Any:
        if not self.can_turn:
            self.is_quiet = not self.wants_drafts
            if self.is_quiet:
                self._drop_drafts()
        # vLLM widens a request that needs one token to a draft of full length, for graphs of drafts of full length.
        num = self.num_spec_tokens
        self.num_spec_tokens = 0
        try:
            return super().schedule(*args, **kwargs)
        finally:
            self.num_spec_tokens = num

    def _drop_drafts(self) -> None:
        for request in self.running:
            request.spec_token_ids = []

    def _update_after_schedule(self, scheduler_output: Any) -> None:
        if self.can_turn:
            scheduler_output.is_ahead = self.is_ahead
        else:
            scheduler_output.is_quiet = self.is_quiet
        if self.is_ahead:
            super()._update_after_schedule(scheduler_output)
        else:
            Scheduler._update_after_schedule(self, scheduler_output)

    def _update_request_with_output(
        self, request: Any, new_token_ids: list[int], *args: Any, **kwargs: Any
    ) -> tuple[list[int], bool]:
        update = AsyncScheduler if self.is_ahead else Scheduler
        return update._update_request_with_output(self, request, new_token_ids, *args, **kwargs)


def follow(engine_class: type[EngineCore]) -> None:
    """Let engines of the class turn as their scheduler wants, and ask for drafts where there are some, once."""
    wrap(engine_class, "step_with_batch_queue", ("self",), _turning)
    wrap(engine_class, "post_step", ("self", "model_executed"), _asking)


def _turning(method: Method) -> Method:
    def step_with_batch_queue(self: Any) -> Any:
        scheduler = self.scheduler
        if not isinstance(scheduler, DraftScheduler) or not scheduler.can_turn:
            return method(self)
        is_ahead = not scheduler.wants_drafts
        if is_ahead != scheduler.is_ahead and self.batch_queue:
            return _finished(self, scheduler, method)
        scheduler.turn(is_ahead)
        # whether vLLM's `post_step` leaves the drafts to the worker
        self.async_scheduling = is_ahead
        return method(self) if is_ahead else self.step()

    return step_with_batch_queue


def _asking(method: Method) -> Method:
    def post_step(self: Any, model_executed: bool) -> None:
        # To ask the worker takes a message to its process and one back.
        if not (isinstance(self.scheduler, DraftScheduler) and self.scheduler.is_quiet):
            method(self, model_executed)

    return post_step


def _finished(engine: Any, scheduler: DraftScheduler, method: Method) -> Any:
    """The result of the step longest under way; nothing new begins."""
    scheduler.is_held = True
    try:
        outputs, _ = method(engine)
    finally:
        scheduler.is_held = False
    return outputs, True  # vLLM sleeps behind a step that did nothing
