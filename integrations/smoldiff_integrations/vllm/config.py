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
"""Of the largest step that a graph is captured for; vLLM's own limit is 512."""
log = logging.getLogger("vllm.smoldiff")


def adapt(config_class: type) -> None:
    """Wrap the making of vLLM's VllmConfig, once."""
    wrap(config_class, "__post_init__", None, _adapting)


def _adapting(method: Method) -> Method:
    def __post_init__(self: Any, *args: Any, **kwargs: Any) -> Any:
        if getattr(self.speculative_config, "model", None) != PROPOSER:
            return method(self, *args, **kwargs)
        scheduling, graphs = self.scheduler_config, self.compilation_config
        if (graphs.max_cudagraph_capture_size, graphs.cudagraph_capture_sizes) == (None, None):
            largest = min(GRAPH_TOKENS, scheduling.max_num_batched_tokens)
            graphs.max_cudagraph_capture_size = largest
        is_free = scheduling.async_scheduling is not False
        is_free = is_free and scheduling.scheduler_cls in (None, SCHEDULER)
        if is_free:  # vLLM refuses what was chosen here, or by a server's flag
            scheduling.async_scheduling, scheduling.scheduler_cls = None, None
        made = method(self, *args, **kwargs)
        if is_free and can_turn(self):
            scheduling.async_scheduling, scheduling.scheduler_cls = True, SCHEDULER
            log.info("smoldiff: asynchronous scheduling while no request has a schema")
        return made

    return __post_init__


def can_turn(config: Any) -> bool:
    """Whether vLLM would schedule asynchronously without drafts, and its parts are those that `scheduler` knows."""
    from vllm.platforms import current_platform
    from vllm.v1.executor.abstract import Executor

    parallel = config.parallel_config
    return (
        not current_platform.is_cpu()
        and parallel.pipeline_parallel_size == parallel.data_parallel_size == 1
        and Executor.get_class(config).supports_async_scheduling()
        and has_known_parts()
    )


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
        (Scheduler, "has_requests", ("self",)),
    )
    for owner, name, parameters in known:
        if not takes(owner, name, parameters):
            log.warning("smoldiff: this vLLM has another %s; steps are not overlapped", name)
            return False
    return True
