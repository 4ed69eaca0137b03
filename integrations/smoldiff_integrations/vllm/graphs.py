"""Which CUDA graphs a worker captures, and which one a step runs in: a step without drafts in vLLM's own.

vLLM captures graphs of whole steps for drafts of full length, and only such steps would run in them; others run in graphs of
parts, between which each layer's attention is launched. Where all attention back ends can be captured for queries of any
lengths, each step with drafts of a model of text is a whole graph here, in vLLM's mode FULL_AND_PIECEWISE, its default, as in FULL.

A step that verifies no draft runs in the graph in which vLLM alone would run it, and rounds as there: larger graphs would read
prompts faster on a busy host, but in bfloat16 the states would come out a little different, and so would a text now and then.

In mode FULL vLLM has one set for steps of all kinds, where FlashAttention 3 goes wrong: its work is planned for the step's
longest query, and where that is one token, or a few, the plan is for other tiles and another mask than those of the graph,
which was captured for one query of all its tokens.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import product
from typing import Any

KNOWN = (
    "initialize_cudagraph_keys",
    "dispatch",
    "cudagraph_keys",
    "_get_lora_cases",
    "_create_padded_batch_descriptor",
    "add_cudagraph_key",
)
"""What is used of vLLM's dispatcher."""
KNOWN_OF_RUNNER = (
    "_build_attention_metadata",
    "_check_and_update_cudagraph_mode",
    "_dummy_run",
)
log = logging.getLogger("vllm.smoldiff")


class Graphs:
    """Of one runner that has not captured any yet."""

    def __init__(self, runner: Any, plain_tokens: int | None) -> None:
        """plain_tokens: of the largest step that vLLM by itself has a graph for; None for all that are captured."""
        self._runner, self._plain_tokens = runner, plain_tokens
        self._is_plain = False
        """Whether a step without drafts is under way."""
        self._fits = False
        """Whether steps with drafts of any lengths can be whole graphs."""
        self._has_plain_parts = False
        """Whether they are, so that only steps without drafts run in graphs of parts."""
        dispatcher: Any = getattr(runner, "cudagraph_dispatcher", None)
        if dispatcher is None:
            return
        runner.uniform_decode_query_len = dispatcher.uniform_decode_query_len = 1
        has_all = all(hasattr(dispatcher, name) for name in KNOWN)
        if not has_all or not all(hasattr(runner, name) for name in KNOWN_OF_RUNNER):
            log.warning("smoldiff: this vLLM captures graphs in another way; do not set mode FULL")
            return
        self._dispatcher = dispatcher
        self._check = runner._check_and_update_cudagraph_mode
        self._build = runner._build_attention_metadata
        self._run = runner._dummy_run
        self._initialize = dispatcher.initialize_cudagraph_keys
        self._dispatch = dispatcher.dispatch
        runner._check_and_update_cudagraph_mode = self._look_at_back_ends
        runner._build_attention_metadata = self._plan_attention
        runner._dummy_run = self._run_dummy
        dispatcher.initialize_cudagraph_keys = self._choose_keys
        dispatcher.dispatch = self._choose_graph

    def start(self, scheduler_output: Any) -> None:
        """A step begins."""
        self._is_plain = not scheduler_output.scheduled_spec_decode_tokens

    def _look_at_back_ends(
        self, attention_backends: Any, kv_cache_groups: Any, *args: Any, **kwargs: Any
    ) -> None:
        self._fits = fit_any_lengths(self._runner, attention_backends, kv_cache_groups)
        self._check(attention_backends, kv_cache_groups, *args, **kwargs)

    def _choose_keys(self, mode: Any, *args: Any, **kwargs: Any) -> None:
        is_full = mode.name == "FULL"  # there vLLM has asked all back ends
        self._has_plain_parts = self._fits and mode.name == "FULL_AND_PIECEWISE"
        if not is_full and not self._has_plain_parts:
            self._initialize(mode, *args, **kwargs)
            return
        dispatcher, modes = self._dispatcher, type(mode)
        self._initialize(modes.FULL_DECODE_ONLY if is_full else mode, *args, **kwargs)
        parts = dispatcher.cudagraph_keys[modes.PIECEWISE]
        parts -= {one for one in parts if self._is_beyond(one.num_tokens)}
        sizes = dispatcher.compilation_config.cudagraph_capture_sizes
        for size, num_loras in product(sizes, dispatcher._get_lora_cases()):
            if size > 1:
                key = dispatcher._create_padded_batch_descriptor(
                    size, False, num_loras > 0, num_loras
                )
                dispatcher.add_cudagraph_key(modes.FULL, key)

    def _run_dummy(self, *args: Any, cudagraph_runtime_mode: Any = None, **kwargs: Any) -> Any:
        is_of_parts = getattr(cudagraph_runtime_mode, "name", None) == "PIECEWISE"
        self._is_plain = self._has_plain_parts and is_of_parts
        return self._run(*args, cudagraph_runtime_mode=cudagraph_runtime_mode, **kwargs)

    def _choose_graph(self, num_tokens: int, uniform_decode: bool = False, **kwargs: Any) -> Any:
        # Valid modes are given where several ranks have agreed on one.
        if self._is_plain and not kwargs.get("valid_modes"):
            modes = type(self._dispatcher.cudagraph_mode)
            if self._is_beyond(num_tokens):
                kwargs["valid_modes"] = {modes.NONE}
            elif self._has_plain_parts and not uniform_decode:
                kwargs["invalid_modes"] = {modes.FULL}
        return self._dispatch(num_tokens, uniform_decode, **kwargs)

    def _plan_attention(
        self,
        *args: Any,
        num_tokens: int,
        max_query_len: int,
        num_tokens_padded: int | None = None,
        **kwargs: Any,
    ) -> Any:
        if num_tokens_padded is not None and max_query_len > 1:  # a graph of drafts
            max_query_len = num_tokens_padded
        is_beyond = self._is_plain and self._is_beyond(num_tokens)
        with self._plain_splits() if is_beyond else nullcontext():
            return self._build(
                *args,
                num_tokens=num_tokens,
                max_query_len=max_query_len,
                num_tokens_padded=num_tokens_padded,
                **kwargs,
            )

    def _is_beyond(self, num_tokens: int) -> bool:
        """Whether vLLM by itself has no graph for so many."""
        return self._plain_tokens is not None and num_tokens > self._plain_tokens

    @contextmanager
    def _plain_splits(self) -> Iterator[None]:
        """FlashAttention splits the work of steps up to the size of the largest graph in another way: here of vLLM's largest."""
        builders = [
            one
            for groups in getattr(self._runner, "attn_groups", ())
            for group in groups
            for one in group.metadata_builders
            if hasattr(one, "max_cudagraph_size")
        ]
        sizes = [one.max_cudagraph_size for one in builders]
        for one in builders:
            one.max_cudagraph_size = self._plain_tokens
        try:
            yield
        finally:
            for one, size in zip(builders, sizes, strict=True):
                one.max_cudagraph_size = size


def fit_any_lengths(runner: Any, attention_backends: Any, kv_cache_groups: Any) -> bool:
    """Whether every attention of the model can be captured in a graph for queries of any lengths.

    attention_backends: of each group, classes. A server that asks for cascade attention runs such batches in graphs of parts, and
    so do models that take more than text, as vLLM has them by itself.
    """
    try:
        support = [
            one.get_builder_cls().get_cudagraph_support(runner.vllm_config, group.kv_cache_spec)
            for backends, group in zip(attention_backends, kv_cache_groups, strict=True)
            for one in backends
        ]
        has_more = not runner.model_config.disable_cascade_attn or runner.supports_mm_inputs
    except (AttributeError, TypeError, ValueError):
        log.warning("smoldiff: this vLLM chooses graphs in another way", exc_info=True)
        return False
    return not has_more and {one.name for one in support} == {"ALWAYS"}
