"""Class scores on a GPU, or in Triton's interpreter, against the reference and their own definition."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import kernel_checks as checks  # first: it chooses Triton's interpreter where there is no GPU
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from smoldiff_kernels.class_scores import ClassScores, TokenClasses, class_scores
from smoldiff_kernels.class_scores.kernel import Tiles, class_scores_triton
from smoldiff_kernels.marks import NULL, UNDECIDED

# Shapes: A automata, R rows, U scores of a row, T tokens of one automaton, C classes.

NONE = float("-inf")


def integers(values: Any) -> Tensor:
    return torch.as_tensor(values, dtype=torch.int32, device=checks.DEVICE)


def make_classes(num_tokens: list[int], num_classes: int, seed: int) -> TokenClasses:
    """Of automata with these numbers of tokens: ids are 7, 10, 13 ..., classes random."""
    generator = torch.Generator().manual_seed(seed)
    of = [torch.randint(num_classes, (num,), generator=generator) for num in num_tokens]
    orders = [one.argsort(stable=True) for one in of]
    column_U = torch.cat(orders)
    return TokenClasses(
        integers([sum(num_tokens[:a]) for a in range(len(num_tokens) + 1)]),
        integers(7 + 3 * column_U),
        integers(column_U),
        integers(torch.cat([one[order] for one, order in zip(of, orders, strict=True)])),
        max(num_tokens),
        num_classes,
    )


def by_definition(
    score_RU: Tensor, null_R: Tensor, automaton_R: Tensor, classes: TokenClasses, fixed_R: Any
) -> ClassScores:
    """Token by token."""
    first_A = classes.first_token_A.tolist()
    ids, columns, of = (t.tolist() for t in (classes.token_U, classes.column_U, classes.class_U))
    rows, tokens, nulls = [], [], []
    for r, a in enumerate(automaton_R.tolist()):
        best = [(NONE, 0)] * classes.max_classes
        fixed = UNDECIDED if fixed_R is None else int(fixed_R[r])
        for u in range(first_A[a], first_A[a + 1]):
            if fixed in (UNDECIDED, ids[u]):
                score = float(score_RU[r, columns[u]])
                best[of[u]] = max(best[of[u]], (score, -ids[u]))
        rows.append([score for score, _ in best])
        tokens.append([NULL if score == NONE else -lowest for score, lowest in best])
        nulls.append(NONE if fixed >= 0 else float(null_R[r]))
    shape = len(rows), classes.max_classes
    tokens_RC = torch.tensor(tokens, dtype=torch.int32).reshape(shape)
    return ClassScores(torch.tensor(rows).reshape(shape), tokens_RC, torch.tensor(nulls))


def assert_same(found: ClassScores, wanted: ClassScores) -> None:
    for name, one, other in zip(ClassScores._fields, found, wanted, strict=True):
        assert one.dtype == other.dtype, name
        assert torch.equal(one.cpu(), other.cpu()), name


def scored(impl: Any, *operands: Any) -> ClassScores:
    """By one `impl`, or by Triton in tiles so small that a class is spread over programs."""
    with checks.poisoned_memory():
        if impl == "small":
            return ClassScores(*class_scores_triton(*operands, Tiles(8, 4, 1)))
        return class_scores(*operands[:4], fixed_R=operands[4], impl=impl)


@settings(max_examples=15, deadline=None)
@given(
    num_tokens=st.tuples(*[st.integers(0, 20)] * 3),
    num_classes=st.integers(1, 6),
    rows=st.lists(st.tuples(st.integers(0, 2), st.integers(-2, 24)), min_size=1, max_size=3),
    seed=st.integers(0, 2**31),
    step=st.sampled_from([0.01, 1.0]),
    has_fixed=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
)
def test_the_best_token_of_each_class_is_found(
    num_tokens, num_classes, rows, seed, step, has_fixed, dtype
):
    generator = torch.Generator().manual_seed(seed)
    classes = make_classes(list(num_tokens), num_classes, seed)
    score_RU = (torch.randn(len(rows), 21, generator=generator) / step).round() * step
    score_RU = score_RU.masked_fill(torch.rand(score_RU.shape, generator=generator) < 0.3, NONE)
    null_R = torch.randn(len(rows), generator=generator)
    score_RU, null_R = (t.to(checks.DEVICE, dtype) for t in (score_RU, null_R))
    fixed_R = torch.tensor([one for _, one in rows], device=checks.DEVICE) if has_fixed else None
    operands = score_RU, null_R, integers([a for a, _ in rows]), classes, fixed_R
    wanted = by_definition(*operands)
    for impl in ("reference", "small"):
        assert_same(scored(impl, *operands), wanted)


def test_zeros_of_both_signs_are_equal():
    classes = TokenClasses(
        integers([0, 3]), integers([4, 5, 6]), integers([0, 1, 2]), integers([0, 0, 0]), 3, 1
    )
    score_RU = torch.tensor([[-0.0, 0.0, -0.0], [NONE, -0.0, 0.0]], device=checks.DEVICE)
    null_R = torch.zeros(2, device=checks.DEVICE)
    for impl in ("reference", "triton"):
        found = scored(impl, score_RU, null_R, integers([0, 0]), classes, None)
        assert found.token_RC.tolist() == [[4], [5]]


def test_strided_rows_and_odd_numbers_are_fine():
    classes = make_classes([5, 1], 3, 0)
    wide = torch.randn(4, 30, generator=torch.Generator().manual_seed(1)).to(checks.DEVICE)
    fixed_R = torch.tensor([[UNDECIDED, 0], [10, 0], [NULL, 0], [7, 0]], device=checks.DEVICE)
    for view in (wide[:, 3:8], wide[:, ::3], wide[:, 1:6].expand(4, 5)):
        operands = view, wide[:, 9], integers([0, 1, 0, 1]), classes, fixed_R[:, 0]
        wanted = by_definition(*operands)
        for impl in ("reference", "triton", "small"):
            assert_same(scored(impl, *operands), wanted)


def test_no_rows_and_no_classes_are_fine():
    for num_rows, num_tokens, num_classes in [(0, 3, 2), (2, 0, 0), (2, 0, 3)]:
        classes = make_classes([num_tokens], max(1, num_classes), 0)
        classes = replace(classes, max_classes=num_classes)
        score_RU = torch.zeros(num_rows, num_tokens, device=checks.DEVICE)
        null_R = torch.ones(num_rows, device=checks.DEVICE)
        for impl in ("reference", "triton"):
            found = scored(impl, score_RU, null_R, integers([0] * num_rows), classes, None)
            assert found.score_RC.shape == found.token_RC.shape == (num_rows, num_classes)
            assert (found.token_RC == NULL).all()
            assert torch.equal(found.null_R, null_R)


WRONG = [
    ("score_RU", lambda t: t.double(), TypeError, "convert it"),
    ("score_RU", lambda t: t[0], ValueError, "rows, scores"),
    ("score_RU", lambda t: t[:, :4], ValueError, "4 columns for 5 tokens"),
    ("null_R", lambda t: t[1:], ValueError, "must be"),
    ("null_R", lambda t: t.to("meta"), ValueError, "move one"),
    ("automaton_R", lambda t: t.long(), TypeError, "convert it"),
    ("fixed_R", lambda t: t.int(), TypeError, "convert it"),
    ("classes", lambda one: replace(one, token_U=one.token_U[1:]), ValueError, "each token"),
    ("classes", lambda one: replace(one, token_U=one.token_U.long()), TypeError, "int32"),
]


@pytest.mark.parametrize(
    ("name", "change", "error", "says"), WRONG, ids=[f"{name}, {says}" for name, *_, says in WRONG]
)
def test_what_does_not_fit_is_refused(name, change, error, says):
    operands = {
        "score_RU": torch.zeros(2, 5, device=checks.DEVICE),
        "null_R": torch.zeros(2, device=checks.DEVICE),
        "automaton_R": integers([0, 0]),
        "classes": make_classes([5], 3, 0),
        "fixed_R": torch.tensor([UNDECIDED, NULL], device=checks.DEVICE),
    }
    class_scores(**operands)
    with pytest.raises(error, match=says):
        class_scores(**{**operands, name: change(operands[name])})


@pytest.mark.gpu
@pytest.mark.skipif(not checks.HAS_GPU, reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_real_vocabulary(dtype):
    """147,449 tokens in 25 classes, as in a string without bounds; with bfloat16 many scores are equal."""
    classes = make_classes([147_449, 11, 42_672], 25, 0)
    generator = torch.Generator().manual_seed(0)
    score_RU = torch.randn(48, 147_449, generator=generator).to(checks.DEVICE, dtype)
    null_R = torch.randn(48, generator=generator).to(checks.DEVICE, dtype)
    automaton_R = integers([r % 3 for r in range(48)])
    fixed_R = torch.full((48,), UNDECIDED, device=checks.DEVICE)
    fixed_R[::5] = 10
    operands = score_RU, null_R, automaton_R, classes, fixed_R
    assert_same(scored("triton", *operands), scored("reference", *operands))
