"""The kernels of head attention against their reference, on a GPU or in Triton's interpreter."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from types import ModuleType
from typing import Any

import kernel_checks as checks  # first: it chooses Triton's interpreter where there is no GPU
import pytest
import torch
from torch import Tensor

from smoldiff.head.memory import sees
from smoldiff_kernels.head_attention import auto, configs, head_attention

# Shapes: B rows, T template positions, C context tokens, A query heads, G key/value heads, E head width, K = C + T.

SLACKS = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}
# Triton's interpreter multiplies the bits of bfloat16 as integers.
DTYPES = [*SLACKS] if checks.HAS_GPU else [torch.float32, torch.float16]
HALF = DTYPES[1]
LENGTHS = [(5, 70), (1, 0), (33, 3), (2, 41)]
"""Of the template and the context, for each row."""


def drawn(*shape: int, dtype: torch.dtype, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).to(dtype).to(checks.DEVICE)


def integers(values: Any) -> Tensor:
    return torch.as_tensor(values, dtype=torch.int32, device=checks.DEVICE)


def full_rows(
    num_rows: int, T: int, C: int, A: int, G: int, E: int, dtype: torch.dtype
) -> list[Tensor]:
    shapes = [(T, A), (C, G), (C, G), (T, G), (T, G)]
    return [
        drawn(num_rows, num, heads, E, dtype=dtype, seed=seed)
        for seed, (num, heads) in enumerate(shapes)
    ]


def packed(x_BTAE: Tensor, lengths: Sequence[int]) -> Tensor:
    return torch.cat([x[:num] for x, num in zip(x_BTAE, lengths, strict=True)])


def groups_of(num_rows: int, T: int, C: int, seed: int = 9) -> dict[str, Tensor]:
    """Some keys for all, some for queries of a group, some for none; one query sees nothing."""
    generator = torch.Generator().manual_seed(seed)

    def groups(num: int) -> Tensor:
        return torch.randint(-1, 4, (num_rows, num), generator=generator)

    context, queries, template = groups(C), groups(T), groups(T)
    context[0], template[0], queries[0, 0], template[0, 0] = 1, 2, 3, -1
    return {
        "context_group": integers(context),
        "template_context_group": integers(queries),
        "template_group": integers(template),
    }


def ragged(kind: str, dtype: torch.dtype) -> tuple[list[Tensor], dict[str, Any]]:
    """Rows of different lengths in one of the layouts."""
    lengths_t, lengths_c = (list(column) for column in zip(*LENGTHS, strict=True))
    most_t, most_c = max(lengths_t), max(lengths_c)
    tensors = full_rows(len(LENGTHS), most_t, most_c, 4, 2, 24, dtype)
    groups = groups_of(len(LENGTHS), most_t, most_c) if "groups" in kind else {}
    options: dict[str, Any] = {}
    for side, indices, lengths, most in (
        ("template", (0, 3, 4), lengths_t, most_t),
        ("context", (1, 2), lengths_c, most_c),
    ):
        if f"packed {side}" in kind:
            for i in indices:
                tensors[i] = packed(tensors[i], lengths)
            mine = [n for n in groups if n == "context_group" or side == "template"]
            for name in [n for n in mine if n.startswith(side)]:
                groups[name] = packed(groups[name], lengths)
            options[f"cu_seqlens_{side}"] = integers([0, *accumulate(lengths)])
            options[f"max_{side}"] = most
        else:
            options[f"{side}_lengths"] = integers(lengths)
    return tensors, {**options, **groups}


def results(
    tensors: Sequence[Tensor], options: Mapping[str, Any], impl: str, dtype: torch.dtype
) -> list[Tensor]:
    """The output and the five gradients."""
    leaves = [x.detach().to(dtype).requires_grad_() for x in tensors]
    out = head_attention(*leaves, **options, impl=impl)
    weight = drawn(*out.shape, dtype=tensors[0].dtype, seed=99).to(dtype)
    return [out, *torch.autograd.grad(out, leaves, weight)]


def check(
    tensors: Sequence[Tensor], impl: str = "triton", slack: float | None = None, **options: Any
) -> None:
    dtype = tensors[0].dtype
    slack = SLACKS[dtype] if slack is None else slack
    with checks.poisoned_memory():
        ours = results(tensors, options, impl, dtype)
        with torch.no_grad():
            again = head_attention(*tensors, **options, impl=impl)
    eager = results(tensors, options, "reference", dtype)
    exact = results(tensors, options, "reference", torch.float64)
    size = max(float(x.detach().abs().max()) for x in exact if x.numel())
    for mine, plain, right in zip(
        [again, *ours], [eager[0], *eager], [exact[0], *exact], strict=True
    ):
        assert mine.dtype == dtype
        if right.numel() and right.abs().max() > 1e-6 * size:
            checks.assert_within_budget(mine, plain, right, slack)
        else:  # a difference of equal terms, as the gradient of q is with a single key
            assert ((mine - right).abs() <= slack * size).all()


SMALL = [
    (1, 1, 0, 1, 1, 16),
    (1, 1, 1, 2, 1, 32),
    (1, 5, 130, 4, 2, 32),  # the keys are split
    (3, 33, 70, 6, 2, 40),
    (2, 17, 33, 4, 4, 96),
]
REAL = [
    (1, 128, 512, 16, 4, 128),
    (1, 77, 4096, 16, 4, 128),
    (8, 128, 1024, 16, 4, 128),
    (32, 128, 2048, 16, 4, 128),
    (2, 100, 333, 32, 8, 64),
    (3, 50, 777, 16, 2, 256),
    (64, 16, 300, 9, 3, 96),
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "shape", [*SMALL, *(pytest.param(s, marks=pytest.mark.gpu) for s in REAL)], ids=str
)
def test_full_rows_are_no_worse_than_eager(shape, dtype):
    if shape in REAL and not checks.HAS_GPU:
        pytest.skip("needs a GPU")
    check(full_rows(*shape, dtype=dtype))


KINDS = ["lengths", "packed template, packed context", "packed template", "packed context"]


@pytest.mark.parametrize("groups", ["", " with groups"])
@pytest.mark.parametrize("kind", KINDS)
def test_ragged_rows_are_no_worse_than_eager(kind, groups):
    tensors, options = ragged(kind + groups, torch.float32)
    check(tensors, **options)


def test_ragged_rows_in_half_precision():
    tensors, options = ragged("packed template, packed context with groups", HALF)
    check(tensors, **options)


@pytest.mark.parametrize("only", [("context_group",), ("template_group",)], ids=str)
def test_each_group_alone(only):
    tensors = full_rows(2, 6, 40, 2, 1, 16, torch.float32)
    groups = groups_of(2, 6, 40)
    check(tensors, **{name: groups[name] for name in only})


@pytest.mark.parametrize("impl", ["reference", "triton", "sdpa"])
def test_query_without_a_key_gives_zeros_and_moves_nothing(impl):
    tensors = full_rows(1, 3, 4, 2, 1, 16, torch.float32)
    options = {
        "context_group": integers([[1, 1, 1, 1]]),
        "template_group": integers([[2, -1, 2]]),
    }
    out, dq, dk, *_ = results(tensors, options, impl, torch.float32)
    assert not out[0, 1].any()
    assert out[0, 0].all()
    assert not dq[0, 1].any()
    assert not dk.any()


@pytest.mark.parametrize("impl", ["reference", "triton", "sdpa"])
def test_padding_is_not_read_and_gets_zeros(impl):
    tensors, options = ragged("lengths", torch.float32)
    plain = results(tensors, options, impl, torch.float32)
    for x, column in zip(tensors, (0, 1, 1, 0, 0), strict=True):
        for row, lengths in zip(x, LENGTHS, strict=True):
            row[lengths[column] :] = torch.nan
    out, *gradients = results(tensors, options, impl, torch.float32)
    torch.testing.assert_close(out, plain[0])
    for x, column in zip(gradients, (0, 1, 1, 0, 0), strict=True):
        for row, lengths in zip(x, LENGTHS, strict=True):
            assert not row[lengths[column] :].any()
            assert row.isfinite().all()


@pytest.mark.parametrize("num_rows", [64, 65])
def test_the_longest_rows_begin_first_and_none_is_left_out(num_rows):
    """Also equally long ones; from 65 rows on they keep their order."""
    lengths = [1 + 7 * i % 5 for i in range(num_rows)]
    tensors = full_rows(num_rows, 2, 5, 1, 1, 16, torch.float32)
    check(tensors, context_lengths=integers(lengths))


def test_packed_rows_equal_rows_alone():
    tensors, options = ragged("packed template, packed context", torch.float32)
    whole = head_attention(*tensors, **options, impl="triton")
    starts = [list(accumulate(column, initial=0)) for column in zip(*LENGTHS, strict=True)]
    for ts, cs in zip(*map(pairwise, starts), strict=True):
        alone = [x[slice(*(cs if i in (1, 2) else ts))][None] for i, x in enumerate(tensors)]
        expected = head_attention(*alone, impl="reference")[0]
        torch.testing.assert_close(whole[slice(*ts)], expected)


def test_any_strides():
    tensors = full_rows(2, 6, 40, 4, 2, 16, torch.float32)
    moved = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in tensors]
    moved[1] = moved[1].mT.contiguous().mT  # the head width does not run fastest
    moved[2] = moved[2][:1].expand(2, -1, -1, -1)  # one context for both rows
    check(moved)


def test_extreme_logits_overflow_nothing():
    tensors = full_rows(1, 6, 40, 2, 1, 16, torch.float32)
    tensors[0] *= 20
    tensors[1] -= 10  # logits of a few hundred, of either sign
    check(tensors, slack=1e-3)


@pytest.mark.parametrize(
    ("kind", "tiles_per_split"),
    [("lengths with groups", 0), ("packed template, packed context", 1)],
    ids=str,
)
def test_tiles_by_descriptors(monkeypatch, kind, tiles_per_split):
    def plan(work: configs.Work, device: configs.Device) -> tuple[configs.Tiles, int]:
        return configs.Tiles(32, 32, 4, 2, has_descriptors=True), tiles_per_split

    monkeypatch.setattr("smoldiff_kernels.head_attention.kernel.forward_plan", plan)
    tensors, options = ragged(kind, torch.float32)
    check(tensors, **options)


@pytest.mark.parametrize("kind", ["", *KINDS])
def test_library_attention_equals_the_reference(kind):
    tensors, options = (
        ragged(kind, torch.float32) if kind else (full_rows(2, 6, 9, 4, 2, 16, torch.float32), {})
    )
    check(tensors, impl="sdpa", **options)


@pytest.mark.parametrize("kind", ["", "packed template, packed context"])
def test_flash_attention_gets_joined_rows(monkeypatch, kind):
    tensors, options = (
        ragged(kind, torch.float32) if kind else (full_rows(2, 6, 9, 4, 2, 16, torch.float32), {})
    )
    module = ModuleType("flash_attn")
    module.flash_attn_varlen_func = plain_varlen_attention
    monkeypatch.setitem(sys.modules, "flash_attn", module)
    check(tensors, impl="flash", **options)
    with pytest.raises(ValueError, match="no groups"):
        head_attention(
            *full_rows(1, 1, 1, 1, 1, 16, torch.float32),
            template_group=integers([[0]]),
            impl="flash",
        )


def plain_attention(tensors: tuple[Tensor, ...], scale: float) -> tuple[Tensor, Tensor]:
    """What `cudnn_attention` returns."""
    q, keys, values = (x.transpose(1, 2).double() for x in tensors)
    repeats = q.shape[1] // keys.shape[1]
    logits = scale * q @ keys.repeat_interleave(repeats, 1).mT
    out = logits.softmax(-1) @ values.repeat_interleave(repeats, 1)
    return out.transpose(1, 2).to(HALF).contiguous(), logits.logsumexp(-1).float()


@pytest.mark.parametrize("shape", REAL[:5] if checks.HAS_GPU else SMALL, ids=str)
def test_what_cudnn_began_goes_on_over_the_template(monkeypatch, shape):
    if not checks.HAS_GPU:
        monkeypatch.setattr(
            "smoldiff_kernels.head_attention.kernel.cudnn_attention", plain_attention
        )
    check(full_rows(*shape, dtype=HALF), impl="cudnn")


@pytest.mark.parametrize("impl", ["cudnn", "xformers"])
def test_what_only_triton_does_is_refused(impl):
    tensors = full_rows(1, 2, 3, 1, 1, 16, HALF)
    with pytest.raises(ValueError, match="full rows without groups"):
        head_attention(*tensors, context_lengths=integers([2]), impl=impl)


def test_xformers_refuses_a_gradient():
    tensors = full_rows(1, 2, 3, 1, 1, 16, HALF)
    tensors[0].requires_grad_()
    with pytest.raises(ValueError, match="no gradient"):
        head_attention(*tensors, impl="xformers")


@pytest.mark.parametrize("num_context", [0, 9])
def test_xformers_attends_to_each_side_and_merges(monkeypatch, num_context):
    module = ModuleType("xformers.ops.fmha")
    module.memory_efficient_attention_partial = plain_partial_attention
    module.merge_attentions = plain_merge
    monkeypatch.setitem(sys.modules, "xformers.ops.fmha", module)
    tensors = full_rows(2, 6, num_context, 4, 2, 16, torch.float32)
    ours = head_attention(*tensors, scale=0.3, impl="xformers")
    torch.testing.assert_close(ours, head_attention(*tensors, scale=0.3, impl="reference"))


def plain_partial_attention(
    q_BTGRE: Tensor, k_BKGRE: Tensor, v_BKGRE: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """What xformers' function of a similar name computes."""
    logits_BGRTK = scale * torch.einsum("btgre,bkgre->bgrtk", q_BTGRE, k_BKGRE)
    out_BTGRE = torch.einsum("bgrtk,bkgre->btgre", logits_BGRTK.softmax(-1), v_BKGRE)
    return out_BTGRE, logits_BGRTK.logsumexp(-1)


def plain_merge(
    outs: list[Tensor], lses: list[Tensor], write_lse: bool
) -> tuple[Tensor, Tensor | None]:
    shares_SBGRT = torch.stack(lses).softmax(0)
    shares_SBTGR = shares_SBGRT.permute(0, 1, 4, 2, 3)
    return (torch.stack(outs) * shares_SBTGR[..., None]).sum(0), None


def plain_varlen_attention(
    q: Tensor, k: Tensor, v: Tensor, *, cu_seqlens_q: Tensor, cu_seqlens_k: Tensor, **options: Any
) -> Tensor:
    """What flash-attn's function of that name computes."""
    found = []
    for (q0, q1), (k0, k1) in zip(
        pairwise(cu_seqlens_q.tolist()), pairwise(cu_seqlens_k.tolist()), strict=True
    ):
        heads = [x.transpose(0, 1) for x in (q[q0:q1], k[k0:k1], v[k0:k1])]
        found.append(
            torch.nn.functional.scaled_dot_product_attention(
                *heads, scale=options["softmax_scale"], enable_gqa=True
            )
        )
    return torch.cat(found, 1).transpose(0, 1)


def test_gradients_of_the_reference_are_those_of_its_output():
    tensors = full_rows(2, 3, 4, 2, 1, 4, torch.float64)
    groups = groups_of(2, 3, 4)
    leaves = [x.requires_grad_() for x in tensors]
    assert torch.autograd.gradcheck(
        lambda *x: head_attention(*x, **groups, impl="reference"), leaves
    )


def test_groups_say_what_the_mask_of_the_head_says():
    num_rows, T, C = 2, 12, 30
    tensors = full_rows(num_rows, T, C, 4, 2, 16, torch.float32)
    generator = torch.Generator().manual_seed(3)
    block_BT = torch.randint(0, 3, (num_rows, T), generator=generator)
    moment_BT = torch.randint(0, 3, (num_rows, T), generator=generator)
    fed_in_BC = torch.randint(0, 3, (num_rows, C), generator=generator)
    lengths_B = torch.tensor([C, 11])
    is_seen_BC = torch.arange(C) < lengths_B[:, None]
    sees_BTC = sees(moment_BT, fed_in_BC)
    own_BTT = (block_BT[:, :, None] == block_BT[:, None]) & (
        moment_BT[:, :, None] == moment_BT[:, None]
    )
    sees_BTK = torch.cat([sees_BTC & is_seen_BC[:, None], own_BTT], 2).to(checks.DEVICE)
    q, k_c, v_c, k_t, v_t = (x.transpose(1, 2) for x in tensors)
    expected_BATE = torch.nn.functional.scaled_dot_product_attention(
        q,
        torch.cat([k_c, k_t], 2),
        torch.cat([v_c, v_t], 2),
        attn_mask=sees_BTK[:, None],
        enable_gqa=True,
    )
    ours = head_attention(
        *tensors,
        context_lengths=integers(lengths_B),
        context_group=integers(fed_in_BC),
        template_context_group=integers(moment_BT),
        template_group=integers(1 + block_BT + 3 * moment_BT),
        impl="triton",
    )
    torch.testing.assert_close(ours, expected_BATE.transpose(1, 2))


def test_equal_inputs_give_equal_bits():
    tensors, options = ragged("lengths with groups", HALF)
    first = results(tensors, options, "triton", HALF)
    second = results(tensors, options, "triton", HALF)
    assert all(map(torch.equal, first, second))


@pytest.mark.gpu
@pytest.mark.skipif(not checks.HAS_GPU, reason="needs a GPU")
@pytest.mark.parametrize("shape", [(1, 128, 512, 16, 4, 128), (32, 64, 512, 16, 4, 128)], ids=str)
def test_capture_in_a_graph(shape):
    tensors = full_rows(*shape, dtype=torch.bfloat16)
    lengths = integers([shape[2]] * shape[0])
    with torch.no_grad():
        head_attention(*tensors, context_lengths=lengths)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = head_attention(*tensors, context_lengths=lengths)
        lengths.fill_(7)
        tensors[0].normal_()
        graph.replay()
        expected = head_attention(*tensors, context_lengths=lengths)
    assert torch.equal(out, expected)


def test_plan_fills_the_gpu():
    hopper = configs.Device(num_sms=132, is_hopper=True)
    few = configs.Work(4, 512, (512, 128), 128, False, False)
    tiles, tiles_per_split = configs.forward_plan(few, hopper)
    num_splits = configs.cdiv((512 + 128) // tiles.block_n, tiles_per_split)
    assert 4 * 512 // tiles.block_m * num_splits in range(2 * 132 // 3, 2 * 132 + 1)
    for_queries, tiles_per_split, for_keys = configs.gradient_plan(few, hopper)
    num_splits = configs.cdiv((512 + 128) // for_queries.block_n, tiles_per_split)
    assert 4 * 512 // for_queries.block_m * num_splits >= 2 * 132 // 3
    assert 4 * (512 + 128) // for_keys.block_n >= 2 * 132 // 4
    many = configs.Work(128, 512, (2048, 128), 128, False, False)
    assert configs.forward_plan(many, hopper) == (configs.HOPPER_WAVES[128], 0)
    assert configs.forward_plan(many._replace(has_lengths=True), hopper) == (
        configs.HOPPER_LARGE[128],
        0,
    )
    twice = many._replace(num_queries=1024)
    assert configs.forward_plan(twice, hopper) == (configs.HOPPER_LARGE[128], 0)
    assert configs.gradient_plan(many, hopper).tiles_per_split == 0


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({}, "sdpa"),
        ({"num_queries": 512}, "triton"),  # the join would be paid for few products
        ({"num_pairs": 4}, "triton"),  # few programs: keys are split
        ({"has_groups": True}, "triton"),
        ({"has_lengths": True}, "triton"),
        ({"is_float32": True}, "triton"),
    ],
)
def test_auto_takes_what_the_rows_say(change, wanted):
    hopper = configs.Device(num_sms=132, is_hopper=True)
    work = configs.Work(256, 1024, (1024, 256), 128, False, False)._replace(**change)
    assert auto.chosen(work, hopper, has_gradient=False) == wanted
    assert auto.chosen(work, hopper, has_gradient=True) == "triton"
    assert auto.chosen(work, hopper._replace(is_hopper=False), has_gradient=False) == "triton"


def test_shapes_that_do_not_fit_are_refused():
    q, k_c, v_c, k_t, v_t = full_rows(2, 3, 4, 4, 2, 16, torch.float32)
    whole = (q, k_c, v_c, k_t, v_t)
    lengths = integers([3, 3])
    wrong: list[tuple[type[Exception], str, Sequence[Tensor], dict[str, Any]]] = [
        (TypeError, "k_context is torch.bfloat16", (q, k_c.bfloat16(), v_c, k_t, v_t), {}),
        (TypeError, "cast to float32", [x.long() for x in whole], {}),
        (ValueError, "head width", (q, k_c[..., :8], v_c, k_t, v_t), {}),
        (ValueError, "no multiple", (q[:, :, :3], k_c, v_c, k_t, v_t), {}),
        (ValueError, "v_context", (q, k_c, v_c[:, :3], k_t, v_t), {}),
        (ValueError, "one key for each position", (q, k_c, v_c, k_t[:, :2], v_t[:, :2]), {}),
        (ValueError, "2 rows of template, but 1", (q, k_c[:1], v_c[:1], k_t, v_t), {}),
        (ValueError, "has a dimension of rows", whole, {"max_context": 4}),
        (ValueError, "is packed", (q, k_c[0], v_c[0], k_t, v_t), {}),
        (TypeError, "must be int32", whole, {"context_lengths": lengths.long()}),
        (ValueError, "context_lengths", whole, {"context_lengths": lengths[:1]}),
        (ValueError, "context_group", whole, {"context_group": lengths}),
        (ValueError, "without context_group", whole, {"template_context_group": lengths}),
        (ValueError, "positive", whole, {"scale": -1.0}),
        (ValueError, "none of auto", whole, {"impl": "cuda"}),
    ]
    for error, message, tensors, options in wrong:
        with pytest.raises(error, match=message):
            head_attention(*tensors, **options)
    with pytest.raises(ValueError, match="head widths up to 256"):
        head_attention(*full_rows(1, 1, 1, 1, 1, 512, torch.float32), impl="triton")
