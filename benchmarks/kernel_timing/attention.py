"""Cases of head attention: template queries over a context and the template itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from kernel_timing.case import OURS, Case, Target
from kernel_timing.clock import Work, inputs_beyond_cache, taking_turns
from smoldiff_kernels.head_attention import Impl, head_attention
from smoldiff_kernels.head_attention.libraries import cudnn_attention

# Shapes: B rows, T template positions, C context tokens, A query heads, G key/value heads, E head width.

OP = "head_attention"
SDPA, JOINED = "SDPA, joined before", "SDPA + join"
BACK_ENDS: tuple[tuple[str, Impl, str], ...] = (
    ("impl='triton'", "triton", "triton"),
    ("impl='cudnn'", "cudnn", "triton"),
    ("flash-attn + join", "flash", "flash_attn"),
    ("xformers, merged", "xformers", "xformers"),
)
"""Names, what they are to `head_attention`, and the package they need."""
NUM_HEADS, NUM_KV_HEADS, HEAD_DIM = 16, 4, 128
REAL = ((1, 128, 512), (1, 128, 4096), (8, 128, 1024), (32, 128, 2048), (64, 256, 1024))


def cases(is_small: bool) -> list[Case]:
    sizes = ((1, 3, 5), (2, 4, 6)) if is_small else REAL
    found = [_case(*size, is_small=is_small) for size in sizes]
    found += [_training_case(*size, is_small=is_small) for size in sizes]
    if not is_small:
        found.append(_ragged_case(32, 128, 2048))
    return found


def _targets(b: int) -> list[Target]:
    targets = [Target(JOINED, 3.0 if b == 1 else 1.3, is_speed=True)]
    return targets + ([Target("floor", 1.5)] if b >= 32 else [])


def counts(b: int, t: int, c: int) -> tuple[float, float]:
    """Operations and bytes of a forward pass."""
    num_flops = 4.0 * b * t * (c + t) * NUM_HEADS * HEAD_DIM
    return num_flops, 2.0 * b * HEAD_DIM * (2 * NUM_KV_HEADS * (c + t) + 2 * NUM_HEADS * t)


def _case(b: int, t: int, c: int, is_small: bool) -> Case:
    num_flops, num_bytes = counts(b, t, c)
    num = 2 if is_small else inputs_beyond_cache(num_bytes)
    make = partial(_full, b, t, c, num)
    return Case(OP, f"B {b}, T {t}, C {c}", num_flops, num_bytes, make, _targets(b), num)


def _training_case(b: int, t: int, c: int, is_small: bool) -> Case:
    """The backward pass: five products for the forward pass's two; each tensor and its gradient."""
    num_flops, num_bytes = counts(b, t, c)
    num = 2 if is_small else inputs_beyond_cache(3.0 * num_bytes)
    shape, make = f"B {b}, T {t}, C {c}, forward + backward", partial(_training, b, t, c, num)
    targets = [Target(JOINED, 1.0, is_speed=True)]
    return Case(OP, shape, 3.5 * num_flops, 3.0 * num_bytes, make, targets, num)


def operands(b: int, t: int, c: int, device: torch.device) -> tuple[Tensor, ...]:
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    shapes = [(b, t, NUM_HEADS), *[(b, n, NUM_KV_HEADS) for n in (c, c, t, t)]]
    return tuple(torch.randn(*shape, HEAD_DIM, device=device).to(dtype) for shape in shapes)


def _sdpa(q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    q, keys, values = (x.transpose(1, 2) for x in (q, keys, values))
    return nn.functional.scaled_dot_product_attention(q, keys, values, enable_gqa=True)


def _join(q: Tensor, k_context: Tensor, v_context: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return _sdpa(q, torch.cat([k_context, k], 1), torch.cat([v_context, v], 1))


def _full(b: int, t: int, c: int, num: int, device: torch.device) -> Mapping[str, Work | None]:
    inputs = [operands(b, t, c, device) for _ in range(num)]
    joined = [
        (q, torch.cat([k_context, k], 1), torch.cat([v_context, v], 1))
        for q, k_context, v_context, k, v in inputs
    ]
    return {
        OURS: taking_turns([partial(head_attention, *one) for one in inputs]),
        **_back_ends(inputs, device),
        SDPA: taking_turns([partial(_sdpa, *one) for one in joined]),
        JOINED: taking_turns([partial(_join, *one) for one in inputs]),
        "FlexAttention, joined before": _flex(joined, device),
    }


def _back_ends(inputs: list[tuple[Tensor, ...]], device: torch.device) -> dict[str, Work | None]:
    """What `auto` chooses among on a GPU, and what it does not take."""
    if device.type != "cuda":
        return {}
    of_context = [partial(cudnn_attention, one[:3], HEAD_DIM**-0.5) for one in inputs]
    return {"cuDNN, context alone": taking_turns(of_context)} | {
        name: None
        if find_spec(package) is None
        else taking_turns([partial(head_attention, *one, impl=impl) for one in inputs])
        for name, impl, package in BACK_ENDS
    }


def _flex(joined: list[tuple[Tensor, ...]], device: torch.device) -> Work | None:
    if device.type != "cuda":
        return None
    from torch.nn.attention.flex_attention import flex_attention

    compiled = torch.compile(flex_attention, dynamic=False)
    by_head = [tuple(x.transpose(1, 2) for x in one) for one in joined]
    return taking_turns([partial(compiled, *one, enable_gqa=True) for one in by_head])


def _training(b: int, t: int, c: int, num: int, device: torch.device) -> Mapping[str, Work | None]:
    inputs = [[x.requires_grad_() for x in operands(b, t, c, device)] for _ in range(num)]
    d_out = torch.randn_like(inputs[0][0])

    def step(attend: Callable[..., Tensor], d_out: Tensor) -> Work:
        def gradients(leaves: list[Tensor]) -> tuple[Tensor, ...]:
            return torch.autograd.grad(attend(*leaves), leaves, d_out)

        return taking_turns([partial(gradients, one) for one in inputs])

    return {OURS: step(head_attention, d_out), JOINED: step(_join, d_out.transpose(1, 2))}


def _ragged_case(b: int, t: int, c: int) -> Case:
    generator = torch.Generator().manual_seed(0)
    templates = torch.randint(t // 8, t + 1, (b,), generator=generator)
    contexts = torch.randint(c // 8, c + 1, (b,), generator=generator)
    num_pairs = float((templates * (templates + contexts)).sum())
    num_tokens = float((templates + contexts).sum()), float(templates.sum())
    num_flops = 4.0 * num_pairs * NUM_HEADS * HEAD_DIM
    num_bytes = 2.0 * HEAD_DIM * (2 * NUM_KV_HEADS * num_tokens[0] + 2 * NUM_HEADS * num_tokens[1])
    shape = f"B {b}, T {t // 8} to {t}, C {c // 8} to {c}, packed"
    return Case(OP, shape, num_flops, num_bytes, partial(_ragged, templates, contexts), _targets(b))


def _ragged(templates: Tensor, contexts: Tensor, device: torch.device) -> Mapping[str, Work | None]:
    """Against padded rows under a mask, as a batch of different lengths goes through SDPA."""
    b, t, c = len(templates), int(templates.max()), int(contexts.max())
    q, k_context, v_context, k, v = operands(b, t, c, device)
    lengths_B = templates.int().to(device), contexts.int().to(device)
    is_query_BT, is_key_BC = (
        torch.arange(most, device=device) < one[:, None]
        for most, one in zip((t, c), lengths_B, strict=True)
    )
    starts = [nn.functional.pad(one.cumsum(0), (1, 0)).int() for one in lengths_B]
    packed = (
        q[is_query_BT],
        k_context[is_key_BC],
        v_context[is_key_BC],
        k[is_query_BT],
        v[is_query_BT],
    )
    sees_B11K = torch.cat([is_key_BC, is_query_BT], 1)[:, None, None]

    def padded(_: int) -> Tensor:
        keys, values = torch.cat([k_context, k], 1), torch.cat([v_context, v], 1)
        repeats = (
            NUM_HEADS // NUM_KV_HEADS
        )  # masks and grouped queries together are none of its fast paths
        keys, values = (x.transpose(1, 2).repeat_interleave(repeats, 1) for x in (keys, values))
        return nn.functional.scaled_dot_product_attention(
            q.transpose(1, 2), keys, values, sees_B11K
        )

    return {
        OURS: lambda _: head_attention(
            *packed,
            cu_seqlens_template=starts[0],
            cu_seqlens_context=starts[1],
            max_template=t,
            max_context=c,
        ),
        JOINED: padded,
    }
