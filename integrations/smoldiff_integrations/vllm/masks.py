"""The grammar masks of a step on their way to the device, in memory that is kept.

For each step vLLM allocates page-locked memory, as many rows as the step has logits, which with drafts is another number each
time, and fills it, that of a large vocabulary in several threads. Here the memory stays, and only the rows of requests with a grammar are written.

Read in vLLM 0.26 and 0.32.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smoldiff_integrations.vllm.wrapping import Method, wrap

PARAMETERS = ("scheduler_output", "grammar_output", "input_batch", "logits")
LEAST_ROWS = 64
log = logging.getLogger("vllm.smoldiff")

# Shapes: R rows of logits, W words of a mask, N rows with a mask, V tokens of the vocabulary.


def follow(runner_module: Any) -> bool:
    """Replace the function of vLLM's module of the model runner, once; False where it has other parameters."""
    return wrap(runner_module, "apply_grammar_bitmask", PARAMETERS, _masking)


def _masking(method: Method) -> Method:
    masks: Masks | None = Masks()

    def apply_grammar_bitmask(
        scheduler_output: Any, grammar_output: Any, input_batch: Any, logits: Tensor
    ) -> None:
        nonlocal masks
        if masks is not None and logits.is_cuda:
            try:
                masks.apply(scheduler_output, grammar_output, input_batch.req_ids, logits)
                return
            except (AttributeError, LookupError, RuntimeError, TypeError, ValueError):
                masks = None
                log.warning("smoldiff leaves the masks of steps to vLLM", exc_info=True)
        method(scheduler_output, grammar_output, input_batch, logits)

    return apply_grammar_bitmask


class Masks:
    """One step's masks after the other's; on one CUDA device, always in the same stream."""

    def __init__(self) -> None:
        self._room: Room | None = None

    def apply(
        self,
        scheduler_output: Any,
        grammar_output: Any,
        req_ids: Sequence[str],
        logits_RV: Tensor,
    ) -> None:
        """Set the logits of tokens that a grammar excludes to -inf, for requests in the order of `req_ids`."""
        import xgrammar

        given_NW = grammar_output.grammar_bitmask
        num_rows = len(logits_RV)
        room = self._room
        if room is None or len(room.host_RW) < num_rows:
            self._room = room = Room(num_rows, given_NW.shape[1], logits_RV.device)
        room.copied.synchronize()
        host_RW, rows_R = room.host_RW.numpy(), room.rows_R.numpy()
        num = 0
        for given, row, count in places(scheduler_output, grammar_output, req_ids):
            host_RW[row : row + count] = given_NW[given : given + count]
            rows_R[num : num + count] = np.arange(row, row + count)
            num += count
        masks_RW = room.masks_RW[:num_rows].copy_(room.host_RW[:num_rows], non_blocking=True)
        chosen_N = room.chosen_R[:num].copy_(room.rows_R[:num], non_blocking=True)
        room.copied.record()
        xgrammar.apply_token_bitmask_inplace(
            logits_RV, masks_RW, indices=None if num == num_rows else chosen_N
        )


class Room:
    """Memory for the masks of so many rows, page-locked and on the device."""

    def __init__(self, num_rows: int, num_words: int, device: torch.device) -> None:
        size = max(LEAST_ROWS, 1 << (num_rows - 1).bit_length())
        self.host_RW = torch.empty((size, num_words), dtype=torch.int32, pin_memory=True)
        self.rows_R = torch.empty(size, dtype=torch.int32, pin_memory=True)
        self.masks_RW = torch.empty((size, num_words), dtype=torch.int32, device=device)
        self.chosen_R = torch.empty(size, dtype=torch.int32, device=device)
        self.copied = torch.cuda.Event()
        """When the device has read what was written last."""


def places(
    scheduler_output: Any, grammar_output: Any, req_ids: Sequence[str]
) -> Iterator[tuple[int, int, int]]:
    """(first row of its masks, first row of its logits, how many) of each request that has masks and logits."""
    drafts = scheduler_output.scheduled_spec_decode_tokens
    rows, row = {}, 0
    for req_id in req_ids:
        rows[req_id] = row
        row += 1 + len(drafts.get(req_id, ()))
    given = 0
    for req_id in grammar_output.structured_output_request_ids:
        count = 1 + len(drafts.get(req_id, ()))
        if req_id in rows:
            yield given, rows[req_id], count
        given += count
