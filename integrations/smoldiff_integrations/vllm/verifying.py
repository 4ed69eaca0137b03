"""vLLM's kernels that verify drafts, compiled before a request has to wait for them.

Triton compiles a kernel anew for a number of rows that is 1, for multiples of 16 and for others, and where an argument is left
out. With drafts a step can be any of these; each takes a third of a second the first time, and vLLM tries out none of them.
"""

from __future__ import annotations

import logging
import time
from itertools import product
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

NUM_ROWS = (1, 3, 16)
"""One of each kind that Triton tells apart."""
log = logging.getLogger("vllm.smoldiff")


@torch.inference_mode()
def warm_up(target: Any, model_config: Any) -> None:
    """Verify drafts of nothing on a loaded model, as all its ranks do together.

    What vLLM does in another way than this is compiled as ever, when it is first needed.
    """
    began = time.perf_counter()
    try:
        device = next(target.parameters()).device
        if device.type != "cuda":
            return
        shape_RH = NUM_ROWS[-1] + 1, model_config.get_hidden_size()
        states_RH = torch.zeros(shape_RH, dtype=model_config.dtype, device=device)
        logits_RV = target.compute_logits(states_RH)
        if logits_RV is not None:  # of a rank that samples
            mask_rows(logits_RV)
            accept(logits_RV)
    except Exception:  # of anybody's model
        log.warning("smoldiff could not try out verification", exc_info=True)
        return
    log.info("smoldiff made verification ready in %.1f s", time.perf_counter() - began)


def mask_rows(logits_RV: Tensor) -> None:
    """Put grammar masks on some rows, and on all that there are."""
    import xgrammar

    for num, are_all in product(NUM_ROWS, (False, True)):
        rows_RV = logits_RV[: num if are_all else num + 1]
        allowed_RW = xgrammar.allocate_token_bitmask(*rows_RV.shape)
        chosen = None if are_all else torch.arange(num, dtype=torch.int32, device=rows_RV.device)
        xgrammar.apply_token_bitmask_inplace(rows_RV, allowed_RW.to(rows_RV.device), indices=chosen)


def accept(logits_RV: Tensor) -> None:
    """Compare drafts with what a greedy request takes. (vLLM tries out mixed batches itself.)"""
    from vllm.v1.sample.rejection_sampler import rejection_sample

    ids = torch.zeros(1, dtype=torch.int32, device=logits_RV.device)
    is_greedy = SimpleNamespace(all_greedy=True, all_random=False)
    logits = logits_RV[:1].float().contiguous()
    rejection_sample(ids, [1], 1, ids + 1, None, logits, ids[:, None], is_greedy)
