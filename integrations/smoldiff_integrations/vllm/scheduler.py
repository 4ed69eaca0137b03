"""vLLM's asynchronous scheduling, kept while nobody is drafted for.

Asynchronous scheduling begins a step before the last one's tokens are known, so that the host works while the device does.
A draft follows from those tokens. So the engine goes back and forth: as long as a request with a schema is there, one step
after the other, and otherwise ahead, as without drafts. It turns only where no step is under way.

vLLM names this class in its configuration, see `config`. Read in vLLM 0.26 and 0.32.
"""

from __future__ import annotations

from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.engine.core import EngineCore

from smoldiff_integrations.vllm import grammar
from smoldiff_integrations.vllm.schema import is_schema
from smoldiff_integrations.vllm.wrapping import Method, wrap


class DraftScheduler(AsyncScheduler):
    """Schedules ahead while no request has a schema."""

    num_spec_tokens: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.can_turn = bool(self.scheduler_config.async_scheduling)
        """Whether it ever schedules ahead."""
        self.is_ahead = self.can_turn
        self.is_held = False
        """Whether nothing new may be scheduled."""
        self._with_schema: set[str] = set()
        self._fills_drafts = grammar.follow(self.structured_output_manager)
        follow(EngineCore)

    def add_request(self, request: Any, *args: Any, **kwargs: Any) -> None:
        super().add_request(request, *args, **kwargs)
        if is_schema(getattr(request.sampling_params, "structured_outputs", None)):
            self._with_schema.add(request.request_id)

    def update_draft_token_ids(self, draft_token_ids: Any) -> None:
        rest = grammar.take(self.requests, draft_token_ids) if self._fills_drafts else None
        super().update_draft_token_ids(draft_token_ids if rest is None else rest)

    def has_requests(self) -> bool:
        return not self.is_held and super().has_requests()

    @property
    def wants_drafts(self) -> bool:
        """Whether a request that may be drafted for is there."""
        if self._with_schema:
            self._with_schema = {one for one in self._with_schema if one in self.requests}
        return bool(self._with_schema)

    def turn(self, is_ahead: bool) -> None:
        """From the next step on schedule so. No step may be under way."""
        if is_ahead != self.is_ahead:
            self.is_ahead = is_ahead
            # The worker is told all tokens of requests that were not in the last step: it must be of all.
            self.prev_step_scheduled_req_ids.clear()

    def schedule(self, *args: Any, **kwargs: Any) -> Any:
        # vLLM widens a request that needs one token to a draft of full length, for graphs of drafts of full length.
        num = self.num_spec_tokens
        self.num_spec_tokens = 0
        try:
            return super().schedule(*args, **kwargs)
        finally:
            self.num_spec_tokens = num

    def _update_after_schedule(self, scheduler_output: Any) -> None:
        if self.can_turn:
            scheduler_output.is_ahead = self.is_ahead
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
    """Let engines of the class turn as their scheduler wants, once."""
    wrap(engine_class, "step_with_batch_queue", ("self",), _turning)


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


def _finished(engine: Any, scheduler: DraftScheduler, method: Method) -> Any:
    """The result of the step longest under way; nothing new begins."""
    scheduler.is_held = True
    try:
        outputs, _ = method(engine)
    finally:
        scheduler.is_held = False
    return outputs, True  # vLLM sleeps behind a step that did nothing
