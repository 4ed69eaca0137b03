"""Which CUDA graphs of whole steps a worker captures: for one token a row, and for drafts of any length beside them.

vLLM captures them for drafts of full length, and only such steps would run in them; others run in graphs of parts, between
which each layer's attention is launched. Where all attention back ends can be captured for queries of any lengths, each step
of a model of text is a whole graph here, in vLLM's mode FULL_AND_PIECEWISE, its default, as in FULL.

In mode FULL vLLM has one set for steps of all kinds, where FlashAttention 3 goes wrong: its work is planned for the step's
longest query, and where that is one token, or a few, the plan is for other tiles and another mask than those of the graph,
which was captured for one query of all its tokens.
"""

from __future__ import annotations

import logging
from itertools import product
from typing import Any

KNOWN = (
    "initialize_cudagraph_keys",
    "_get_lora_cases",
    "_create_padded_batch_descriptor",
    "add_cudagraph_key",
)
"""What is used of vLLM's dispatcher."""
KNOWN_OF_RUNNER = ("_build_attention_metadata", "_check_and_update_cudagraph_mode")
log = logging.getLogger("vllm.smoldiff")


def choose_graphs(runner: Any) -> None:
    """Before a runner captures its graphs: those of plain steps are for one token a row, those of drafts beside them, and
    a step's attention is planned for what its graph was captured for.
    """
    dispatcher: Any = getattr(runner, "cudagraph_dispatcher", None)
    if dispatcher is None:
        return
    runner.uniform_decode_query_len = dispatcher.uniform_decode_query_len = 1
    has_all = all(hasattr(dispatcher, name) for name in KNOWN)
    if not has_all or not all(hasattr(runner, name) for name in KNOWN_OF_RUNNER):
        log.warning("smoldiff: this vLLM captures graphs in another way; do not set mode FULL")
        return
    check, build = runner._check_and_update_cudagraph_mode, runner._build_attention_metadata
    initialize = dispatcher.initialize_cudagraph_keys
    fits = False

    def check_and_update_cudagraph_mode(
        attention_backends: Any, kv_cache_groups: Any, *args: Any, **kwargs: Any
    ) -> None:
        nonlocal fits
        fits = fit_any_lengths(runner, attention_backends, kv_cache_groups)
        check(attention_backends, kv_cache_groups, *args, **kwargs)

    def initialize_cudagraph_keys(mode: Any, *args: Any, **kwargs: Any) -> None:
        # Where it is FULL, vLLM has asked all back ends.
        if mode.name != "FULL" and not (fits and mode.name == "FULL_AND_PIECEWISE"):
            initialize(mode, *args, **kwargs)
            return
        initialize(type(mode).FULL_DECODE_ONLY, *args, **kwargs)
        sizes = dispatcher.compilation_config.cudagraph_capture_sizes
        for size, num_loras in product(sizes, dispatcher._get_lora_cases()):
            if size > 1:
                key = dispatcher._create_padded_batch_descriptor(
                    size, False, num_loras > 0, num_loras
                )
                dispatcher.add_cudagraph_key(type(mode).FULL, key)

    def build_attention_metadata(
        *args: Any, max_query_len: int, num_tokens_padded: int | None = None, **kwargs: Any
    ) -> Any:
        if num_tokens_padded is not None and max_query_len > 1:  # a graph of drafts
            max_query_len = num_tokens_padded
        kwargs |= {"max_query_len": max_query_len, "num_tokens_padded": num_tokens_padded}
        return build(*args, **kwargs)

    dispatcher.initialize_cudagraph_keys = initialize_cudagraph_keys
    runner._build_attention_metadata = build_attention_metadata
    runner._check_and_update_cudagraph_mode = check_and_update_cudagraph_mode


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
