"""The row-wise steps of a head's pass against their references, on a GPU or in Triton's interpreter."""

import kernel_checks as checks  # first: it chooses Triton's interpreter where there is no GPU
import pytest
import torch

from smoldiff_kernels.head_pass import Asked, Rows, Seen, add_norm, gated, inputs, norm_rotary

# Triton's interpreter multiplies the bits of bfloat16 as integers.
HALVES = [torch.float16, torch.bfloat16] if checks.HAS_GPU else [torch.float16]
DTYPES = [torch.float32, *HALVES]
# Queries, tokens of a name, vocabulary, tokens seen, sizes of the base and of the head.
SHAPES = [(1, 1, 3, 1, 1, 1), (5, 3, 50, 37, 24, 40), (17, 8, 90, 64, 96, 33)]
if checks.HAS_GPU:
    SHAPES += [(128, 8, 5000, 2048, 2048, 2048)]
DEVICE = checks.DEVICE


def drawn(*shape, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(shape, generator=generator).to(DEVICE, dtype)


def below(most, *shape, seed=0):
    generator = torch.Generator().manual_seed(seed + most)
    return torch.randint(most, shape, generator=generator).to(DEVICE)


def agree(ours, plain, dtype):
    assert ours.dtype == plain.dtype
    tolerance = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}[dtype]
    torch.testing.assert_close(ours, plain, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("parts", ["all", "no anchors", "no places"])
def test_inputs(shape, dtype, parts):
    Q, L, V, N, D, H = shape
    names = below(V + 2, Q, L, seed=5).clamp(max=V) - 1  # some places of a name are empty
    names[0] = -1
    asked = Asked(
        below(3, Q),
        below(7, Q),
        below(N + 4, Q),  # also behind the tokens that were seen
        below(9, Q),
        below(12, Q),
        below(5, Q),
        below(2, Q) == 1,
        below(V + 1, Q, seed=2) - 1,
        below(2, Q, seed=4),
        names,
    )
    num_seen = torch.tensor([max(1, N - 3)], device=DEVICE)
    seen = Seen(
        drawn(V, D, dtype=dtype), drawn(N, H, dtype=dtype), drawn(N, D, dtype=dtype), num_seen
    )
    rows = Rows(
        drawn(H, dtype=dtype),
        drawn(7, H, dtype=dtype),
        drawn(5, H, dtype=dtype),
        drawn(H, seed=1, dtype=dtype),
        None if parts == "no places" else drawn(8, H, dtype=dtype),
        None if parts == "no anchors" else drawn(4, dtype=dtype),
    )
    plain = inputs(asked, seen, rows, num_blocks=3, impl="reference")
    with checks.poisoned_memory():
        ours = inputs(asked, seen, rows, num_blocks=3, impl="triton")
    for mine, right in zip(ours, plain, strict=True):
        if right is None:
            assert mine is None
        elif right.dtype == torch.int32:
            assert torch.equal(mine, right)
        else:
            agree(mine, right, dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", [1, 24, 130])
def test_add_norm(size, dtype):
    x, more, weight = (drawn(5, size, seed=s, dtype=dtype) for s in range(3))
    weight = weight[0].contiguous()
    for other in (more, None):
        plain = add_norm(x, other, weight, impl="reference")
        with checks.poisoned_memory():
            ours = add_norm(x, other, weight, impl="triton")
        for mine, right in zip(ours, plain, strict=True):
            agree(mine, right, dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("heads", [1, 3, 20])
@pytest.mark.parametrize("width", [2, 24, 64])
def test_norm_rotary(heads, width, dtype):
    x = drawn(5, heads + 2, width, dtype=dtype)[:, :heads]
    weight = drawn(heads, width, dtype=dtype)
    position = below(4096, 5).int()
    frequency = 1e4 ** -(torch.arange(0, width, 2, device=DEVICE) / width)
    plain = norm_rotary(x, weight, position, frequency, impl="reference")
    with checks.poisoned_memory():
        ours = norm_rotary(x, weight, position, frequency, impl="triton")
    assert ours.is_contiguous()
    # Sines of large angles differ by what float32 leaves of the angle.
    torch.testing.assert_close(
        ours, plain, rtol=1e-3, atol=2e-2 if dtype == torch.bfloat16 else 2e-3
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", [1, 40, 1500])
def test_gated(size, dtype):
    x = 3 * drawn(4, 2 * size, dtype=dtype)
    with checks.poisoned_memory():
        ours = gated(x, impl="triton")
    agree(ours, gated(x, impl="reference"), dtype)


def test_an_unknown_implementation_is_refused():
    with pytest.raises(ValueError, match="impl must be"):
        gated(drawn(1, 2), impl="eager")
