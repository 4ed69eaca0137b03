"""Low-rank scoring against its reference, on a GPU or in Triton's interpreter."""

from __future__ import annotations

import kernel_checks as checks  # first: it chooses Triton's interpreter where there is no GPU
import pytest
import torch

from smoldiff_kernels.low_rank_scoring import low_rank_scoring

SLACKS = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}
# Triton's interpreter multiplies the bits of bfloat16 as integers.
DTYPES = [*SLACKS] if checks.HAS_GPU else [torch.float32, torch.float16]
SHAPES = [(1, 1, 33, 1), (5, 9, 300, 8), (17, 40, 1031, 48)]
if checks.HAS_GPU:
    SHAPES += [(16, 128, 128_256, 256), (70, 128, 50_257, 256)]


def operands(num_rows, Q, V, R, dtype, num_classes=4):
    generator = torch.Generator().manual_seed(num_rows + V)

    def drawn(*shape):
        return torch.randn(shape, generator=generator)

    def below(most, *shape):
        return torch.randint(most, shape, generator=generator)

    is_allowed_NC = below(2, num_rows, num_classes).bool()
    is_allowed_NC[0] = False
    tensors = (
        (2 * drawn(Q, V)).to(dtype),
        below(Q, num_rows),
        drawn(num_rows, R).to(dtype),
        (drawn(V, R) * R**-0.5).to(dtype),
        is_allowed_NC,
        below(num_classes, 3, V).to(torch.int16),
        below(3, num_rows),
        drawn(num_rows),
    )
    return [t.to(checks.DEVICE) for t in tensors]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_kernel_is_as_right_as_the_reference(shape, dtype):
    tensors = operands(*shape, dtype)
    exact = low_rank_scoring(*tensors, impl="reference")  # its sums are float32
    with checks.poisoned_memory():
        ours = low_rank_scoring(*tensors, impl="triton")
    assert ours.token_N[0] == exact.token_N[0] == -1
    for mine, other in ((ours.logit_N, exact.logit_N), (ours.lse_N, exact.lse_N)):
        checks.assert_within_budget(mine, other, other, 1e-5)
    # Where the tokens differ, their logits are equal but for rounding.
    logits_QV, row_N, inner_NR, table_VR, *_ = tensors
    logits_NV = logits_QV[row_N].float() + inner_NR.float() @ table_VR.float().T
    chosen_N = logits_NV.gather(1, ours.token_N.clamp(min=0)[:, None])[:, 0]
    is_open_N = ours.token_N >= 0
    torch.testing.assert_close(chosen_N[is_open_N], exact.logit_N[is_open_N], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("impl", ["reference", "triton"])
def test_of_equal_tokens_the_lowest_is_taken_and_every_token_counts(impl):
    tensors = operands(3, 4, 300, 8, torch.float32)
    tensors[0], tensors[2] = torch.zeros_like(tensors[0]), torch.zeros_like(tensors[2])
    tensors[4] = torch.ones_like(tensors[4])
    tensors[4][1] = torch.tensor([False, True, False, False])
    found = low_rank_scoring(*tensors, impl=impl)
    class_V = tensors[5][tensors[6][1]]
    assert found.token_N.tolist() == [0, int((class_V == 1).nonzero()[0, 0]), 0]
    wanted = torch.logaddexp(torch.tensor(300.0).log().to(checks.DEVICE), tensors[7])
    torch.testing.assert_close(found.lse_N, wanted)


def test_what_does_not_fit_is_refused():
    tensors = operands(3, 4, 30, 8, torch.float32)
    for number, wrong, error in (
        (0, tensors[0].half(), TypeError),
        (1, tensors[1].int(), TypeError),
        (3, tensors[3][:-1], ValueError),
        (5, tensors[5].int(), TypeError),
        (7, tensors[7][:-1], ValueError),
    ):
        with pytest.raises(error):
            low_rank_scoring(*tensors[:number], wrong, *tensors[number + 1 :])
    with pytest.raises(ValueError, match="impl"):
        low_rank_scoring(*tensors, impl="other")
