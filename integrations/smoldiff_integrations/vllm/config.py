"""What vLLM's configuration becomes where it names our proposer; others stay as they are.

vLLM gives asynchronous scheduling up where drafts come from a class of one's own: here it keeps it, with the scheduler of
`scheduler`. And a step with drafts, or with a prompt beside them, has more tokens than vLLM captures graphs for, unless a
server says otherwise.
"""

from __future__ import annotations

import logging
from typing import Any

from smoldiff_integrations.vllm import PROPOSER, is_supported
from smoldiff_integrations.vllm.wrapping import Method, takes, wrap

SCHEDULER = "smoldiff_integrations.vllm.scheduler.DraftScheduler"
GRAPH_TOKENS = 1024
"""Of the largest step that a graph is captured for."""
VLLM_GRAPH_TOKENS = 512
"""vLLM's own limit."""
PLAIN_TOKENS = "smoldiff_plain_tokens"
"""A configuration's attribute: of the largest step that vLLM by itself would have a graph for, where we ask for larger ones."""
log = logging.getLogger("vllm.smoldiff")


def adapt(config_class: type) -> None:
    """Wrap the making of vLLM's VllmConfig, once."""
    wrap(config_class, "__post_init__", None, _adapting)


def _adapting(method: Method) -> Method:
    def __post_init__(self: Any, *args: Any, **kwargs: Any) -> Any:
        if getattr(self.speculative_config, "model", None) != PROPOSER:
            return method(self, *args, **kwargs)
        scheduling, graphs = self.scheduler_config, self.compilation_config
        given_sizes = graphs.max_cudagraph_capture_size, graphs.cudagraph_capture_sizes
        is_open = given_sizes == (None, None)
        if is_open:
            largest = min(GRAPH_TOKENS, scheduling.max_num_batched_tokens)
            graphs.max_cudagraph_capture_size = largest
        is_own = scheduling.scheduler_cls in (None, SCHEDULER)
        may_be_ahead = is_own and scheduling.async_scheduling is not False
        if is_own:
            scheduling.scheduler_cls = None
        if may_be_ahead:  # vLLM refuses what was chosen here, or by a server's flag
            scheduling.async_scheduling = None
        made = method(self, *args, **kwargs)
        if is_open:
            limit = min(2 * scheduling.max_num_seqs, VLLM_GRAPH_TOKENS)
            sizes = [size for size in graphs.cudagraph_capture_sizes or () if size <= limit]
            setattr(self, PLAIN_TOKENS, max(sizes, default=None))
        if is_own and is_known(self):
            scheduling.scheduler_cls = SCHEDULER
            if may_be_ahead and can_be_ahead(self):
                scheduling.async_scheduling = True
                log.info("smoldiff: asynchronous scheduling while nobody is drafted for")
        return made

    return __post_init__


def is_known(config: Any) -> bool:
    """Whether the engine is one that `scheduler` knows."""
    parallel = config.parallel_config
    return parallel.pipeline_parallel_size == parallel.data_parallel_size == 1 and has_known_parts()


def can_be_ahead(config: Any) -> bool:
    """Whether vLLM would schedule asynchronously without drafts."""
    from vllm.platforms import current_platform
    from vllm.v1.executor.abstract import Executor

    executor = Executor.get_class(config)
    return not current_platform.is_cpu() and executor.supports_async_scheduling()


def has_known_parts() -> bool:
    """Whether what `scheduler` overrides and calls takes what it took when that was written."""
    import vllm
    from vllm.v1.core.sched.async_scheduler import AsyncScheduler
    from vllm.v1.core.sched.scheduler import Scheduler
    from vllm.v1.engine.core import EngineCore

    if not is_supported(vllm.__version__):
        return False
    known = (
        (EngineCore, "step", ("self",)),
        (EngineCore, "step_with_batch_queue", ("self",)),
        (EngineCore, "post_step", ("self", "model_executed")),
        (AsyncScheduler, "_update_after_schedule", ("self", "scheduler_output")),
        (Scheduler, "_update_after_schedule", ("self", "scheduler_output")),
        (Scheduler, "update_from_output", ("self", "scheduler_output", "model_runner_output")),
        (Scheduler, "update_draft_token_ids", ("self", "draft_token_ids")),
        (Scheduler, "has_requests", ("self",)),
    )
    for owner, name, parameters in known:
        if not takes(owner, name, parameters):
            log.warning("smoldiff: this vLLM has another %s; it schedules in its own way", name)
            return False
    return True
