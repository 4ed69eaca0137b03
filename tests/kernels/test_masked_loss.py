"""Losses of masked positions: the kernel against the reference, and the reference against the head's own loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import kernel_checks as checks  # first: it chooses Triton's interpreter where there is no GPU
import pytest
import torch
from torch import Tensor

from smoldiff.head.readings import Scores
from smoldiff_kernels.masked_loss import Impl, LogProbs, masked_log_probs, masked_loss
from smoldiff_training.head.loss import variation

launch = pytest.importorskip("smoldiff_kernels.masked_loss.launch")

# Shapes: K rows, D hidden size, V vocabulary, C columns (V, or V + 1 with NULL), T tokens of each row.

SLACKS = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}
# Triton's interpreter cuts numbers off to bfloat16 instead of rounding them.
ROUNDED = [*SLACKS] if checks.HAS_GPU else [torch.float32, torch.float16]
SMALL = [(1, 1, 1, 1), (1, 16, 8, 1), (3, 17, 257, 9), (5, 33, 9001, 4), (7, 24, 1000, 16)]
REAL = [(1024, 2048, 128_256, 9), (515, 960, 49_152, 1)]
gpu = [pytest.mark.gpu, pytest.mark.skipif(not checks.HAS_GPU, reason="no CUDA device")]
SHAPES = [pytest.param(*s, id=str(s)) for s in SMALL] + [
    pytest.param(*s, id=str(s), marks=gpu) for s in REAL
]


@dataclass(frozen=True, eq=False)
class Case:
    hidden_KD: Tensor
    lm_head_VD: Tensor
    wanted_KT: Tensor
    null_logits_K: Tensor | None
    grad_KT: Tensor
    grad_mean_K: Tensor | None


def drawn(*shape: int, seed: int, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator) * scale).to(checks.DEVICE)


def tokens(*shape: int, below: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(below, shape, generator=generator).to(checks.DEVICE)


def case(
    K: int, D: int, V: int, T: int, *, has_null: bool = True, has_mean: bool = True, seed: int = 0
) -> Case:
    """The last token wanted is the first again, as where the label is the teacher's best.

    A mean over one token and NULL takes away nearly all of a gradient: what is left has no digits to compare.
    """
    wanted_KT = tokens(K, T, below=V + has_null, seed=seed)
    wanted_KT[:, -1] = wanted_KT[:, 0]
    if has_null:
        wanted_KT[0, 0] = V
    return Case(
        drawn(K, D, seed=seed + 1, scale=3.0),
        drawn(V, D, seed=seed + 2, scale=D**-0.5),
        wanted_KT,
        drawn(K, seed=seed + 3, scale=3.0) if has_null else None,
        drawn(K, T, seed=seed + 4),
        drawn(K, seed=seed + 5) if has_mean and V > 1 else None,
    )


def outcome(x: Case, dtype: torch.dtype, impl: Impl, of: torch.dtype) -> dict[str, Tensor]:
    """Everything that comes out, from inputs that were rounded to `of` and are held in `dtype`."""
    hidden_KD = x.hidden_KD.to(of).to(dtype).requires_grad_()
    null_K = None if x.null_logits_K is None else x.null_logits_K.to(dtype).requires_grad_()
    with checks.poisoned_memory():
        each = masked_log_probs(
            hidden_KD,
            x.lm_head_VD.to(of).to(dtype),
            x.wanted_KT,
            null_logits_K=null_K,
            impl=impl,
        )
        loss = (each.log_p_KT * x.grad_KT).sum()
        if x.grad_mean_K is not None:
            loss = loss + (each.mean_log_p_K * x.grad_mean_K).sum()
        loss.backward()
    parts = {name: getattr(each, name).detach() for name in ("log_p_KT", "mean_log_p_K", "lse_K")}
    parts["hidden gradient"] = hidden_KD.grad
    if null_K is not None:
        parts["null gradient"] = null_K.grad
    return parts | {"best_K": each.best_K}


def assert_no_worse(x: Case, dtype: torch.dtype) -> None:
    of = {} if x.null_logits_K is None else {"null_logits_K": x.null_logits_K.to(dtype).float()}
    x = Case(**{**vars(x), **of})
    exact = outcome(x, torch.float64, "reference", dtype)
    eager = outcome(x, dtype, "reference", dtype)
    ours = outcome(x, dtype, "triton", dtype)
    best_K = exact.pop("best_K"), eager.pop("best_K"), ours.pop("best_K")
    for name in exact:
        checks.assert_within_budget(ours[name], eager[name], exact[name], SLACKS[dtype])
    logits_KC = x.hidden_KD.to(dtype).double() @ x.lm_head_VD.to(dtype).double().T
    if x.null_logits_K is not None:
        logits_KC = torch.cat([logits_KC, x.null_logits_K[:, None].double()], 1)
    tops = [logits_KC.gather(1, best[:, None]) for best in best_K]
    checks.assert_within_budget(tops[2], tops[1], tops[0], SLACKS[dtype])


@pytest.mark.parametrize(("K", "D", "V", "T"), SHAPES)
@pytest.mark.parametrize("dtype", SLACKS, ids=str)
@pytest.mark.parametrize("has_more", [True, False], ids=["null and mean", "plain"])
def test_no_worse_than_plain_torch(
    K: int, D: int, V: int, T: int, dtype: torch.dtype, has_more: bool
) -> None:
    assert_no_worse(case(K, D, V, T, has_null=has_more, has_mean=has_more), dtype)


@pytest.mark.parametrize("dtype", ROUNDED, ids=str)
@pytest.mark.parametrize("steps", [(0, 100, 250), (-1000, 9, 18), (250, 0, 9)], ids=str)
def test_blocks_with_far_larger_logits_than_those_before(
    dtype: torch.dtype, steps: tuple[int, ...]
) -> None:
    V = 3 * launch.EXPONENTIALS_BLOCK - 5
    x = case(2, 1, V, 3, seed=3)
    levels_V = torch.tensor(steps, device=checks.DEVICE).repeat_interleave(
        launch.EXPONENTIALS_BLOCK
    )
    # One hidden dimension of 1: the LM head's only column is the logits.
    changed = {
        "hidden_KD": torch.ones_like(x.hidden_KD),
        "lm_head_VD": x.lm_head_VD + levels_V[:V, None],
        "null_logits_K": torch.tensor([-2000.0, max(steps) + 3.0], device=checks.DEVICE),
    }
    assert_no_worse(Case(**{**vars(x), **changed}), dtype)


@pytest.mark.parametrize("dtype", SLACKS, ids=str)
def test_chunks_of_rows_and_parts_of_the_vocabulary(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = case(11, 20, 480, 3)
    monkeypatch.setattr(launch, "ROWS_UNIT", 2)
    monkeypatch.setattr(launch, "MAX_BUFFER_BYTES", 5 * 480 * dtype.itemsize)
    monkeypatch.setattr(launch, "_num_multiprocessors", lambda tensor: 3)
    assert launch.chunk_rows(11, x.lm_head_VD.to(dtype)) == 4
    assert launch.num_parts(4, x.lm_head_VD) == 3
    assert_no_worse(x, dtype)


def test_parts_fill_the_multiprocessors(monkeypatch: pytest.MonkeyPatch) -> None:
    lm_head_VD = torch.empty(128_256, 2048, dtype=torch.bfloat16, device="meta")
    monkeypatch.setattr(launch, "_num_multiprocessors", lambda tensor: 132)
    assert launch.chunk_rows(16_384, lm_head_VD) == 512
    assert launch.chunk_rows(37, lm_head_VD) == 37
    assert launch.num_parts(512, lm_head_VD) == 4
    assert launch.num_parts(512, torch.empty(50_257, 2048, device="meta")) == 1


@pytest.mark.parametrize("dtype", SLACKS, ids=str)
def test_sure_rows_keep_their_small_gradients(dtype: torch.dtype) -> None:
    """The gradient is the difference of two rows that 16 bits cannot tell apart from zero if p is rounded first."""
    wanted_KT = torch.tensor([[5], [900]], device=checks.DEVICE)
    lm_head_VD = drawn(1000, 64, seed=1).to(dtype)
    hidden_KD = lm_head_VD[wanted_KT[:, 0]] * 0.23
    grads = []
    for of, impl in [(torch.float64, "reference"), (dtype, "triton")]:
        h_KD = hidden_KD.to(of).requires_grad_()
        each = masked_log_probs(h_KD, lm_head_VD.to(of), wanted_KT, impl=impl)
        assert ((each.log_p_KT > -0.02) & (each.log_p_KT < -1e-4)).all()
        each.log_p_KT.sum().backward()
        grads.append(h_KD.grad.double())
    exact_KD, ours_KD = grads
    # The logits themselves are rounded: at about 15, by up to 1/32 in bfloat16, which shifts 1 - p by that share.
    share = {torch.float32: 1e-3, torch.float16: 0.02, torch.bfloat16: 0.08}[dtype]
    assert ((ours_KD - exact_KD).norm(dim=1) <= share * exact_KD.norm(dim=1)).all()


@pytest.mark.parametrize("impl", ["reference", "triton"])
def test_best_token_is_the_first_of_equals_and_may_be_null(impl: Impl) -> None:
    lm_head_VD = torch.tensor([[1.0], [2.0], [2.0], [0.0]], device=checks.DEVICE)
    hidden_KD = torch.ones(3, 1, device=checks.DEVICE)
    null_logits_K = torch.tensor([1.0, 2.0, 3.0], device=checks.DEVICE)
    wanted_KT = torch.zeros(3, 1, dtype=torch.int64, device=checks.DEVICE)
    each = masked_log_probs(
        hidden_KD, lm_head_VD, wanted_KT, null_logits_K=null_logits_K, impl=impl
    )
    assert each.best_K.tolist() == [1, 1, 4]


@pytest.mark.parametrize("impl", ["reference", "triton"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_losses_are_those_of_the_trainer(impl: Impl, smoothing: float) -> None:
    x = case(6, 12, 300, 1)
    V, labels_K = 300, x.wanted_KT[:, 0]
    teacher_ids_KT = tokens(6, 4, below=V, seed=7)
    teacher_ids_KT[1, 0] = labels_K[1]
    teacher_p_KT = drawn(6, 5, seed=8, scale=2.0).softmax(-1)[:, :4].contiguous()
    teacher_ids_KT[0], teacher_p_KT[0] = 0, 0.0  # no teacher, as behind a slot's end
    weights_K = drawn(6, seed=9).exp()

    def trained(is_op: bool) -> list[Tensor]:
        hidden_KD, null_K = (t.clone().requires_grad_() for t in (x.hidden_KD, x.null_logits_K))
        if is_op:
            each = masked_loss(
                hidden_KD,
                x.lm_head_VD,
                labels_K,
                null_logits_K=null_K,
                teacher_ids_KT=teacher_ids_KT,
                teacher_p_KT=teacher_p_KT,
                label_smoothing=smoothing,
                impl=impl,
            )
            assert not each.log_p_K.requires_grad
            parts = [each.cross_entropy_K, each.variation_K, each.log_p_K, each.best_K]
        else:
            parts = trainer_losses(
                hidden_KD, x.lm_head_VD, null_K, labels_K, teacher_ids_KT, teacher_p_KT, smoothing
            )
        reach_K = parts[2].cumsum(0).mul(0.01).exp()
        loss = (weights_K * reach_K * (0.7 * parts[0] + 0.9 * parts[1])).sum()
        loss.backward()
        return [*(p.detach() for p in parts), loss.detach(), hidden_KD.grad, null_K.grad]

    ours, theirs = trained(True), trained(False)
    assert torch.equal(ours.pop(3), theirs.pop(3))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)
    assert ours[1][0] == 0
    assert (ours[1][1:] > 0).all()


def trainer_losses(
    hidden_KD: Tensor,
    lm_head_VD: Tensor,
    null_K: Tensor,
    labels_K: Tensor,
    teacher_ids_KT: Tensor,
    teacher_p_KT: Tensor,
    smoothing: float,
) -> list[Tensor]:
    """From all the head's log-probabilities, without a copy term."""
    logits_KC = torch.cat([hidden_KD @ lm_head_VD.T, null_K[:, None]], 1)
    scores = scores_of(logits_KC, torch.zeros_like(null_K), labels_K[:, None] * 0, None)
    log_p_KT = scores.log_probs_KV().gather(1, torch.cat([labels_K[:, None], teacher_ids_KT], 1))
    cross_entropy_K = -log_p_KT[:, 0]
    if smoothing:
        mean_K = -scores.logits_KV.log_softmax(-1).mean(-1)
        cross_entropy_K = (1 - smoothing) * cross_entropy_K + smoothing * mean_K
    variation_K = variation(log_p_KT[:, 1:].exp(), teacher_p_KT)
    best_K = scores.log_probs_KV().argmax(-1)
    return [cross_entropy_K, variation_K, log_p_KT[:, 0].detach(), best_K]


def scores_of(
    logits_KC: Tensor, copy_K: Tensor, ids_KN: Tensor, pointers_KN: Tensor | None
) -> Scores:
    if pointers_KN is None:
        pointers_KN = torch.zeros_like(ids_KN, dtype=torch.float32)
    return Scores(logits_KC, copy_K, pointers_KN, ids_KN, torch.zeros_like(copy_K))


@pytest.mark.parametrize("impl", ["reference", "triton"])
def test_a_copy_term_is_made_of_the_log_probabilities(impl: Impl) -> None:
    x = case(5, 12, 50, 3, has_null=False)
    ids_KN, pointers_KN = tokens(5, 9, below=50, seed=7), drawn(5, 9, seed=8).softmax(-1)
    ids_KN[:, 0] = x.wanted_KT[:, 0]
    copy_K = drawn(5, seed=9).sigmoid()

    def grads(is_op: bool) -> list[Tensor]:
        h_KD, c_K = x.hidden_KD.clone().requires_grad_(), copy_K.clone().requires_grad_()
        if is_op:
            each = masked_log_probs(h_KD, x.lm_head_VD, x.wanted_KT, impl=impl)
            is_at_KTN = ids_KN[:, None] == x.wanted_KT[:, :, None]
            copied_KT = (pointers_KN[:, None] * is_at_KTN).sum(-1)
            log_p_KT = ((1 - c_K[:, None]) * each.log_p_KT.exp() + c_K[:, None] * copied_KT).log()
        else:
            scores = scores_of(h_KD @ x.lm_head_VD.T, c_K, ids_KN, pointers_KN)
            log_p_KT = scores.log_probs_KV().gather(1, x.wanted_KT)
        (log_p_KT * x.grad_KT).sum().backward()
        return [log_p_KT.detach(), h_KD.grad, c_K.grad]

    for ours, theirs in zip(grads(True), grads(False), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_gradients_of_the_reference() -> None:
    x = case(3, 5, 11, 4)
    teacher_p_KT = drawn(3, 4, seed=6).double().softmax(-1) * 0.8

    def loss(hidden_KD: Tensor, null_K: Tensor) -> tuple[Tensor, Tensor]:
        each = masked_loss(
            hidden_KD,
            x.lm_head_VD.double(),
            x.wanted_KT[:, 0],
            null_logits_K=null_K,
            teacher_ids_KT=x.wanted_KT.clamp(max=10),
            teacher_p_KT=teacher_p_KT,
            label_smoothing=0.1,
            impl="reference",
        )
        return each.cross_entropy_K, each.variation_K

    inputs = [t.double().requires_grad_() for t in (x.hidden_KD, x.null_logits_K)]
    assert torch.autograd.gradcheck(loss, inputs)


def test_without_gradients_the_values_are_the_same() -> None:
    x = case(3, 9, 100, 2)
    each = run(x, "triton")
    with torch.no_grad():
        again = run(x, "triton")
    assert not again.log_p_KT.requires_grad
    for name, value in vars(each).items():
        assert torch.equal(getattr(again, name), value)
    assert not each.lse_K.requires_grad


def run(x: Case, impl: Impl) -> LogProbs:
    return masked_log_probs(
        x.hidden_KD.clone().requires_grad_(),
        x.lm_head_VD,
        x.wanted_KT,
        null_logits_K=x.null_logits_K,
        impl=impl,
    )


def test_the_backward_pass_may_be_repeated() -> None:
    x = case(3, 9, 100, 2)
    hidden_KD = x.hidden_KD.clone().requires_grad_()
    each = masked_loss(hidden_KD, x.lm_head_VD, x.wanted_KT[:, 0] % 100, impl="triton")
    total = each.cross_entropy_K.sum()
    (once_KD,) = torch.autograd.grad(total, hidden_KD, retain_graph=True)
    (again_KD,) = torch.autograd.grad(total * 4, hidden_KD)
    torch.testing.assert_close(again_KD, 4 * once_KD, rtol=1e-6, atol=0)


@pytest.mark.parametrize("impl", ["reference", "triton"])
def test_no_rows(impl: Impl) -> None:
    hidden_KD = torch.empty(0, 4, device=checks.DEVICE, requires_grad=True)
    labels_K = torch.empty(0, dtype=torch.int64, device=checks.DEVICE)
    lm_head_VD = torch.ones(7, 4, device=checks.DEVICE)
    each = masked_loss(hidden_KD, lm_head_VD, labels_K, label_smoothing=0.1, impl=impl)
    each.cross_entropy_K.sum().backward()
    assert each.best_K.shape == (0,)
    assert hidden_KD.grad.shape == (0, 4)


def test_only_the_null_row_is_trained() -> None:
    x = case(3, 9, 100, 2)
    grads = []
    for impl in ("reference", "triton"):
        null_K = x.null_logits_K.clone().requires_grad_()
        each = masked_log_probs(
            x.hidden_KD, x.lm_head_VD, x.wanted_KT, null_logits_K=null_K, impl=impl
        )
        (each.log_p_KT * x.grad_KT).sum().backward()
        grads.append(null_K.grad)
    torch.testing.assert_close(grads[1], grads[0])


def test_tokens_out_of_range_give_nan() -> None:
    x = case(2, 8, 40, 2, has_null=False)
    x.wanted_KT[0, 1], x.wanted_KT[1, 0] = 40, -100
    log_p_KT = launch.log_probs_triton(x.hidden_KD, x.lm_head_VD, x.wanted_KT, None)[0]
    assert log_p_KT.isnan().tolist() == [[False, True], [True, False]]


WRONG: list[tuple[type[Exception], str, dict[str, Any]]] = [
    (ValueError, "one label a row", {"labels_K": torch.zeros(3, 1, dtype=torch.int64)}),
    (ValueError, r"tokens \(2, 1\) for 3 rows", {"labels_K": torch.zeros(2, dtype=torch.int64)}),
    (TypeError, "wanted: int64", {"labels_K": torch.zeros(3, dtype=torch.int32)}),
    (ValueError, "outside 0 to 4", {"labels_K": torch.tensor([0, 5, 1])}),
    (ValueError, "outside 0 to 5", {"labels_K": torch.tensor([0, -100, 1]), "null_logits_K": torch.zeros(3)}),
    (ValueError, r"wanted: \[K, D\]", {"lm_head_VD": torch.zeros(5, 3)}),
    (ValueError, "at least one token", {"lm_head_VD": torch.zeros(0, 4)}),
    (TypeError, "one floating dtype", {"lm_head_VD": torch.zeros(5, 4, dtype=torch.bfloat16)}),
    (ValueError, "freeze it", {"lm_head_VD": torch.zeros(5, 4, requires_grad=True)}),
    (ValueError, "not contiguous", {"lm_head_VD": torch.zeros(4, 5).T, "impl": "triton"}),
    (ValueError, "one a row", {"null_logits_K": torch.zeros(2)}),
    (TypeError, "null_logits_K is torch.int64", {"null_logits_K": torch.zeros(3, dtype=torch.int64)}),
    (ValueError, "pass both", {"teacher_ids_KT": torch.zeros(3, 2, dtype=torch.int64)}),
    (ValueError, "below 1", {"label_smoothing": 1.0}),
    (ValueError, "one device", {"labels_K": torch.zeros(3, dtype=torch.int64, device="meta")}),
    (ValueError, "none of auto", {"impl": "cuda"}),
]  # fmt: skip


@pytest.mark.parametrize(("error", "message", "wrong"), WRONG, ids=[w[1] for w in WRONG])
def test_what_does_not_fit_is_an_error(
    error: type[Exception], message: str, wrong: dict[str, Any]
) -> None:
    right = {
        "hidden_KD": torch.zeros(3, 4),
        "lm_head_VD": torch.zeros(5, 4),
        "labels_K": torch.zeros(3, dtype=torch.int64),
    }
    with pytest.raises(error, match=message):
        masked_loss(**{**right, **wrong})


def test_the_kernel_takes_no_float64() -> None:
    x = case(2, 4, 10, 1, has_null=False)
    with pytest.raises(TypeError, match="impl='reference'"):
        masked_log_probs(x.hidden_KD.double(), x.lm_head_VD.double(), x.wanted_KT, impl="triton")


@pytest.mark.gpu
@pytest.mark.skipif(not checks.HAS_GPU, reason="no CUDA device")
@pytest.mark.parametrize("num_rows", [1024, 16_384])
def test_no_more_than_256_mib_beside_inputs_and_gradient(num_rows: int) -> None:
    lm_head_VD = torch.randn(128_256, 2048, dtype=torch.bfloat16, device="cuda") * 0.02
    hidden_KD = torch.randn(num_rows, 2048, dtype=torch.bfloat16, device="cuda").requires_grad_()
    labels_K = torch.randint(128_256, (num_rows,), device="cuda")

    def step() -> None:
        hidden_KD.grad = None
        masked_loss(hidden_KD, lm_head_VD, labels_K).cross_entropy_K.sum().backward()

    step()
    hidden_KD.grad = None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    assert torch.cuda.max_memory_allocated() - before <= 256 * 2**20
