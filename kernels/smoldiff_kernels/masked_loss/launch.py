"""Chunks of rows through two matrix products of torch, with one pass of Triton between them.

The gradient of a log-probability in the logits is [v = t] - p_v, so that of a hidden state is made of a few rows of the LM head
and of their mean under p. That mean is known once p is: the forward pass takes both products, and the backward pass, which
would need the logits again, none. For each chunk of rows:

1. logits = hidden @ LM head.T, in the dtype of the inputs, into a buffer that all chunks share.
2. One pass over the logits: log-sum-exp, best token, the wanted log-probabilities; exponentials overwrite the logits,
   0 at the wanted tokens. Their rows of the LM head are added in the backward pass with factors in float32: a sure row's
   gradient is small because its label's factor is, and rounding p to 16 bits would drown it.
3. others = exponentials @ LM head, float32 sums of parts of the vocabulary; 4. their sum, scaled by 1 / z of the row.

Counts for 1,024 rows, D = 2048, V = 128,256 in bfloat16, at 790 TFLOP/s and 4.27 TB/s: each product takes 0.68 ms, so the floor
is 1.36 ms; computing the logits again in the backward pass would make it 2.04 ms. Step 2 reads and writes 251 MiB each, 0.123
ms or 9% of the floor; a softmax with the true maximum reads once more, which would make it 14%. Step 4 moves 68 MiB, most of it
inside the L2 cache. The backward pass moves 4 * (T + 2) KiB a row: 12 MiB with T = 1, or 0.003 ms. Statistics in the first
product's epilogue would save half of step 2, and need a product of our own that is within 5% of the library's.

Memory: the buffer, float32 parts (16 MiB), and D values a row that are kept for the backward pass: at 16,384 rows 205 MiB.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable

from smoldiff_kernels.masked_loss.kernel import (
    exponentials_kernel,
    gradient_kernel,
    sum_of_parts_kernel,
)

# Shapes: K rows, R rows of a chunk, D hidden size, V vocabulary, T wanted tokens, S parts of the vocabulary.

# What measurements on a GPU may change stands here. These values are counted, not measured, for a Hopper GPU (132
# multiprocessors, 228 KiB of shared memory and 64 Ki registers in each).
MAX_BUFFER_BYTES = 128 * 2**20
"""512 rows of 128,256 bfloat16 logits: 4 * 501 tiles of 128 x 256 are 15.2 waves of 132, so 95% of the first product is busy."""
MAX_CHUNK_ROWS = 2048
ROWS_UNIT = 128
"""Rows of a chunk are a multiple of it, the height of a product's tile."""
TILE = (128, 256)
"""Of the library's product, supposed."""
PARTS = (1, 2, 3, 4, 6, 8)
"""512 rows give the second product only 32 tiles; 4 parts make 128, for 132 multiprocessors."""
EXPONENTIALS_BLOCK, EXPONENTIALS_WARPS = 4096, 4
"""32 values a thread take 96 registers (sm_90), so 4 programs fit a multiprocessor, and all 512 rows run at once. Each has a
block of 8 KiB on its way while it works on one: 31 KiB a multiprocessor, where 4.27 TB/s at 0.7 us need 23."""
MAX_REGISTERS = 128
"""With the tokens of a teacher and NULL the compiler takes 159 of its own accord: 3 programs, and a second wave for the last
rows. Within 128 nothing is spilled."""
ROW_BLOCK, ROW_WARPS = 2048, 4

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def log_probs_triton(
    hidden_KD: Tensor, lm_head_VD: Tensor, wanted_KT: Tensor, null_logits_K: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Fields of LogProbs."""
    if hidden_KD.dtype not in DTYPES:
        raise TypeError(f"{hidden_KD.dtype}: pass one of {DTYPES}, or impl='reference'")
    if not lm_head_VD.is_contiguous():
        raise ValueError(
            "lm_head_VD is not contiguous: a copy for each call would not pay; copy it once"
        )
    given = [t for t in (hidden_KD, null_logits_K) if t is not None]
    has_gradient = torch.is_grad_enabled() and any(t.requires_grad for t in given)
    return _LogProbs.apply(
        hidden_KD, null_logits_K, lm_head_VD, wanted_KT.contiguous(), has_gradient
    )


class _LogProbs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_KD: Tensor,
        null_logits_K: Tensor | None,
        lm_head_VD: Tensor,
        wanted_KT: Tensor,
        has_gradient: bool,
    ) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        null_K = wanted_KT if null_logits_K is None else null_logits_K.contiguous()
        num_rows = len(hidden_KD)
        log_p_KT = torch.empty(wanted_KT.shape, dtype=torch.float32, device=hidden_KD.device)
        mean_log_p_K, lse_K, scale_K = (
            torch.empty(num_rows, dtype=torch.float32, device=hidden_KD.device) for _ in range(3)
        )
        best_K = torch.empty(num_rows, dtype=torch.int64, device=hidden_KD.device)
        others_KD = torch.empty(
            hidden_KD.shape if has_gradient else 0, dtype=hidden_KD.dtype, device=hidden_KD.device
        )
        size, num_vocab = chunk_rows(num_rows, lm_head_VD), len(lm_head_VD)
        # Rows start at multiples of 16 bytes, as fast products want them.
        stride = triton.cdiv(num_vocab, 8) * 8
        buffer_RV = torch.empty(size, stride, dtype=hidden_KD.dtype, device=hidden_KD.device)
        limited = {} if torch.version.hip else {"maxnreg": MAX_REGISTERS}
        with torch.cuda.device_of(hidden_KD):
            for start in range(0, num_rows, max(size, 1)):
                rows = slice(start, min(start + size, num_rows))
                logits_RV = buffer_RV[: rows.stop - start, :num_vocab]
                torch.mm(hidden_KD[rows], lm_head_VD.T, out=logits_RV)
                exponentials_kernel[(len(logits_RV),)](
                    logits_RV,
                    stride,
                    wanted_KT[rows],
                    null_K[rows],
                    log_p_KT[rows],
                    mean_log_p_K[rows],
                    lse_K[rows],
                    best_K[rows],
                    scale_K[rows],
                    num_vocab,
                    wanted_KT.shape[1],
                    HAS_NULL=null_logits_K is not None,
                    HAS_GRADIENT=has_gradient,
                    # e to the limit fits the dtype, and so does what is a little larger after rounding.
                    LIMIT=8.0 if hidden_KD.dtype == torch.float16 else 60.0,
                    T=triton.next_power_of_2(wanted_KT.shape[1]),
                    BLOCK=min(EXPONENTIALS_BLOCK, triton.next_power_of_2(num_vocab)),
                    num_warps=EXPONENTIALS_WARPS,
                    **limited,
                )
                if has_gradient:
                    _weighted_rows(logits_RV, lm_head_VD, scale_K[rows], others_KD[rows])
        ctx.save_for_backward(log_p_KT, lse_K, others_KD, lm_head_VD, wanted_KT, null_logits_K)
        ctx.mark_non_differentiable(lse_K, best_K)
        return log_p_KT, mean_log_p_K, lse_K, best_K

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_log_p_KT: Tensor | None, grad_mean_K: Tensor | None, *_: None
    ) -> tuple[Tensor | None, ...]:
        log_p_KT, lse_K, others_KD, lm_head_VD, wanted_KT, null_logits_K = ctx.saved_tensors
        if grad_log_p_KT is None:
            grad_log_p_KT = torch.zeros_like(log_p_KT)
        grad_hidden_KD, grad_null_K = torch.empty_like(others_KD), torch.empty_like(lse_K)
        size = others_KD.shape[1]
        block = min(ROW_BLOCK, triton.next_power_of_2(size))
        mean_D = lse_K  # not read
        if grad_mean_K is not None:
            num_columns = len(lm_head_VD) + (null_logits_K is not None)
            mean_D = lm_head_VD.sum(0, dtype=torch.float32) / num_columns
        with torch.cuda.device_of(others_KD):
            if len(others_KD):
                gradient_kernel[(len(others_KD), triton.cdiv(size, block))](
                    grad_log_p_KT.contiguous(),
                    lse_K if grad_mean_K is None else grad_mean_K.contiguous(),
                    log_p_KT,
                    wanted_KT,
                    others_KD,
                    lm_head_VD,
                    mean_D,
                    lse_K if null_logits_K is None else null_logits_K.contiguous(),
                    lse_K,
                    grad_hidden_KD,
                    grad_null_K,
                    len(lm_head_VD),
                    wanted_KT.shape[1],
                    size,
                    HAS_NULL=null_logits_K is not None,
                    HAS_MEAN=grad_mean_K is not None,
                    T=triton.next_power_of_2(wanted_KT.shape[1]),
                    BLOCK=block,
                    num_warps=ROW_WARPS,
                )
        if null_logits_K is None:
            return grad_hidden_KD, None, None, None, None
        return grad_hidden_KD, grad_null_K.to(null_logits_K.dtype), None, None, None


def chunk_rows(num_rows: int, lm_head_VD: Tensor) -> int:
    """Rows whose logits are held at once."""
    most = MAX_BUFFER_BYTES // (len(lm_head_VD) * lm_head_VD.element_size())
    most = min(most, MAX_CHUNK_ROWS) // ROWS_UNIT * ROWS_UNIT
    return min(num_rows, max(most, ROWS_UNIT))


def num_parts(num_rows: int, lm_head_VD: Tensor) -> int:
    """Into how many parts of the vocabulary the second product is cut, so that its tiles fill the multiprocessors."""
    num_vocab, size = lm_head_VD.shape
    num_tiles = triton.cdiv(num_rows, TILE[0]) * triton.cdiv(size, TILE[1])
    num_sms = _num_multiprocessors(lm_head_VD)

    def cost(parts: int) -> float:
        waves = triton.cdiv(num_tiles * parts, num_sms)
        # Each part is written and read once more: about a hundredth of its product.
        return waves * num_sms / (num_tiles * parts) + 0.01 * parts

    # Parts start at multiples of 16 bytes.
    return min((parts for parts in PARTS if num_vocab % (8 * parts) == 0), key=cost, default=1)


def _num_multiprocessors(tensor: Tensor) -> int:
    if not tensor.is_cuda:
        return 1
    return torch.cuda.get_device_properties(tensor.device).multi_processor_count


def _weighted_rows(e_RV: Tensor, lm_head_VD: Tensor, scale_R: Tensor, out_RD: Tensor) -> None:
    """out = scale * (e @ LM head)."""
    num_rows, (num_vocab, size) = len(e_RV), lm_head_VD.shape
    parts = num_parts(num_rows, lm_head_VD)
    width = num_vocab // parts
    e_SRW = e_RV.as_strided((parts, num_rows, width), (width, e_RV.stride(0), 1))
    parts_SRD = torch.empty(parts, num_rows, size, dtype=torch.float32, device=e_RV.device)
    _products(e_SRW, lm_head_VD.view(parts, width, size), parts_SRD)
    block = min(ROW_BLOCK, triton.next_power_of_2(size))
    sum_of_parts_kernel[(num_rows, triton.cdiv(size, block))](
        parts_SRD, scale_R, out_RD, parts, num_rows, size, BLOCK=block, num_warps=ROW_WARPS
    )


def _products(a: Tensor, b: Tensor, out: Tensor) -> None:
    """Batched products with float32 results, whatever the inputs."""
    if a.dtype == torch.float32:
        torch.bmm(a, b, out=out)
    elif a.is_cuda:
        torch.bmm(a, b, torch.float32, out=out)
    else:  # Triton's interpreter
        torch.bmm(a.float(), b.float(), out=out)
