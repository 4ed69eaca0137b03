"""Which CUDA graphs of whole steps a worker captures: for one token a row, and in mode FULL for drafts of any length.

vLLM captures them for drafts of full length, and only such steps would run in them. In mode FULL it has one set for steps
of all kinds, where FlashAttention 3 goes wrong: its work is planned for the step's longest query, and where that is one
token, or a few, the plan is for other tiles and another mask than those of the graph, which was captured for one query of
all its tokens.
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
    if not has_all or not hasattr(runner, "_build_attention_metadata"):
        log.warning("smoldiff: this vLLM captures graphs in another way; do not set mode FULL")
        return
    initialize, build = dispatcher.initialize_cudagraph_keys, runner._build_attention_metadata

    def initialize_cudagraph_keys(mode: Any, *args: Any, **kwargs: Any) -> None:
        if mode.name != "FULL":
            initialize(mode, *args, **kwargs)
            return
        # It still is FULL: vLLM has asked all attention back ends, and they can be captured with drafts of any length.
        initialize(type(mode).FULL_DECODE_ONLY, *args, **kwargs)
        sizes = dispatcher.compilation_config.cudagraph_capture_sizes
        for size, num_loras in product(sizes, dispatcher._get_lora_cases()):
            if size > 1:
                key = dispatcher._create_padded_batch_descriptor(
                    size, False, num_loras > 0, num_loras
                )
                dispatcher.add_cudagraph_key(mode, key)

    def build_attention_metadata(
        *args: Any, max_query_len: int, num_tokens_padded: int | None = None, **kwargs: Any
    ) -> Any:
        if num_tokens_padded is not None and max_query_len > 1:  # a graph of drafts
            max_query_len = num_tokens_padded
        kwargs |= {"max_query_len": max_query_len, "num_tokens_padded": num_tokens_padded}
        return build(*args, **kwargs)

    dispatcher.initialize_cudagraph_keys = initialize_cudagraph_keys
    runner._build_attention_metadata = build_attention_metadata
