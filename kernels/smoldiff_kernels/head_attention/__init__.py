"""Attention of template positions over a context and over each other, without joining the two."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from smoldiff_kernels.head_attention.auto import chosen
from smoldiff_kernels.head_attention.configs import device_of
from smoldiff_kernels.head_attention.layout import checked_layout, needs_gradient

# Shapes: B rows, T template positions of each, S of all rows, C context tokens of each, N of all rows, A query heads,
# G key/value heads, E head width.

Impl = Literal["auto", "reference", "triton", "cudnn", "sdpa", "flash", "xformers"]

__all__ = ["Impl", "head_attention"]


def head_attention(
    q: Tensor,
    k_context: Tensor,
    v_context: Tensor,
    k_template: Tensor,
    v_template: Tensor,
    *,
    cu_seqlens_template: Tensor | None = None,
    cu_seqlens_context: Tensor | None = None,
    max_template: int | None = None,
    max_context: int | None = None,
    template_lengths: Tensor | None = None,
    context_lengths: Tensor | None = None,
    context_group: Tensor | None = None,
    template_context_group: Tensor | None = None,
    template_group: Tensor | None = None,
    scale: float | None = None,
    impl: Impl = "auto",
) -> Tensor:
    """Softmax attention of each template position over its row's context and its row's template, in both directions.

    Each side has a dimension of rows or is packed:

    - with rows: q [B, T, A, E], k_template and v_template [B, T, G, E]; k_context and v_context [B, C, G, E]. Rows may be
      shorter than the dimension: template_lengths, context_lengths [B] int32.
    - packed, rows one behind the other: q [S, A, E], k_template and v_template [S, G, E]; k_context and v_context
      [N, G, E]. cu_seqlens_template, cu_seqlens_context [B + 1] int32: where rows start, from 0 to S or N; max_template,
      max_context: no row has more tokens.

    float32, bfloat16 or float16, all of one dtype; any strides, the last one 1 (else it is copied). A is a multiple of G:
    query head a reads key/value head a // (A / G). scale: of the logits, default E ** -0.5. A row may have no context.

    Who sees whom, where it is not everybody of the row: a key of group 0 is seen by all queries, one of a group g > 0 by
    the queries of group g, one of a negative group by none. Groups are int32 and contiguous, one for each token.

    - context_group [B, C] or [N]: of the context's keys; template_context_group [B, T] or [S]: of the queries as they
      look at the context, 0 without it.
    - template_group [B, T] or [S]: of template positions, as keys and as queries of each other.

    Returns [B, T, A, E] or [S, A, E], in the dtype of q. Zeros for a query that sees no key, and behind the length of a row.
    What stands in the padding is not read. Gradients for all five tensors; they are the same in every run.

    impl, of which "auto" takes "reference" on a CPU, and on a GPU what was the fastest at such a shape, see `auto`:

    - "triton": head width up to 256; may be captured in a CUDA graph, forward and backward.
    - "reference": plain PyTorch; also float64.
    - "cudnn": cuDNN over the context, from where "triton" goes on over the template; "triton" backward. Full rows without
      groups.
    - "sdpa": joins, then torch's attention.
    - "flash": joins, then flash-attn's, where that is installed. Packed or full rows without groups.
    - "xformers": that library's attention over each side, merged, where it is installed. Full rows without groups, no
      gradient.

    Results differ by rounding: within that of the reference in the same dtype. None copies anything to the host.

    Raises TypeError and ValueError for dtypes, devices and shapes that do not fit together. The contents of lengths,
    starts and groups are not checked.

    Methods: FlashAttention-2 (Dao, 2023), Flash-Decoding (Dao et al., 2023).
    """
    context, template = (k_context, v_context), (k_template, v_template)
    layout = checked_layout(
        q,
        context,
        template,
        (cu_seqlens_template, cu_seqlens_context),
        (max_template, max_context),
        (template_lengths, context_lengths),
        (context_group, template_context_group, template_group),
        scale,
    )
    if impl == "auto" and q.is_cuda:
        from smoldiff_kernels.head_attention.kernel import work_of

        tensors = (q, *context, *template)
        work, device = work_of(tensors, layout), device_of(q.device)
        impl = chosen(work, device, needs_gradient(tensors))
    if impl in ("triton", "cudnn"):
        from smoldiff_kernels.head_attention.kernel import head_attention_triton

        return head_attention_triton(q, context, template, layout, impl)
    if impl == "sdpa":
        from smoldiff_kernels.head_attention.libraries import head_attention_sdpa

        return head_attention_sdpa(q, context, template, layout)
    if impl == "flash":
        from smoldiff_kernels.head_attention.libraries import head_attention_flash

        return head_attention_flash(q, context, template, layout)
    if impl == "xformers":
        from smoldiff_kernels.head_attention.libraries import head_attention_xformers

        return head_attention_xformers(q, context, template, layout)
    if impl in ("auto", "reference"):
        from smoldiff_kernels.head_attention.reference import head_attention_reference

        return head_attention_reference(q, context, template, layout)
    raise ValueError(
        f"impl={impl!r}: none of auto, reference, triton, cudnn, sdpa, flash, xformers"
    )
