"""Constrained scoring on a GPU, or in Triton's interpreter, against the reference and its own definition."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import kernel_checks as checks  # first: it chooses Triton's interpreter where there is no GPU
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from smoldiff_kernels.constrained_scoring import (
    Noise,
    Scored,
    TokenSets,
    constrained_scoring,
    token_sets,
)
from smoldiff_kernels.constrained_scoring.launch import (
    FEW,
    PLAIN,
    SCATTERED,
    Tiles,
    constrained_scoring_triton,
    tiles_for,
)
from smoldiff_kernels.constrained_scoring.noise import (
    DRAWN_SEGMENT,
    SEGMENT_BIT,
    gumbel_noise,
    random_words,
)
from smoldiff_kernels.constrained_scoring.reference import constrained_scoring_reference

# Shapes: N rows, H hidden size, V vocabulary, W words of a mask, X extra tokens, C classes.

NONE = float("-inf")
ONLY_GPU = (pytest.mark.gpu, pytest.mark.skipif(not checks.HAS_GPU, reason="needs a GPU"))
KINDS = ("all", "mask", "sets", "small sets")


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_noise(num_rows: int, seed: int) -> Noise:
    """Every third row is greedy."""
    of = generator(seed)
    seed_N = torch.randint(-(2**63), 2**63 - 1, (num_rows,), generator=of)
    temperature_N = torch.rand(num_rows, generator=of) + 0.5
    temperature_N[::3] = 0.0
    return Noise(seed_N.to(checks.DEVICE), temperature_N.to(checks.DEVICE))


def make_sets(num_ids: int, seed: int, vocab_size: int | None = None) -> TokenSets:
    """One set with most ids in five classes, one with a few in two, one that is empty."""
    of = generator(seed)
    most = torch.randperm(num_ids, generator=of)[: max(1, num_ids * 3 // 4)]
    few = torch.randperm(num_ids, generator=of)[: min(num_ids, 9)]
    ids = [most, few, most[:0]]
    classes = [
        torch.randint(num, (len(one),), generator=of)
        for one, num in zip(ids, (5, 2, 1), strict=True)
    ]
    return token_sets(ids, classes, vocab_size=vocab_size, device=checks.DEVICE)


def make_case(
    n: int,
    v: int,
    h: int,
    dtype: torch.dtype,
    kind: str,
    has_extra: bool,
    has_noise: bool,
    seed: int = 0,
) -> dict[str, Any]:
    of = generator(seed)
    case: dict[str, Any] = {
        "hidden_NH": torch.randn(n, h, generator=of).to(checks.DEVICE, dtype),
        "lm_head_VH": (3 * torch.randn(v, h, generator=of) / math.sqrt(h)).to(checks.DEVICE, dtype),
    }
    if kind == "mask":
        words = torch.randint(
            -(2**31), 2**31 - 1, (n, -(-v // 32)), generator=of, dtype=torch.int32
        )
        words[n // 2 :, 0] = 0
        case["mask_NW"] = words.to(checks.DEVICE)
    if kind.endswith("sets"):
        num_ids = v if kind == "sets" else min(v, 40)
        case["sets"] = make_sets(num_ids, seed, v if kind == "sets" else None)
        case["set_N"] = (torch.arange(n, dtype=torch.int32) % 3).to(checks.DEVICE)
    if has_extra:
        case["extra_NX"] = 3 * torch.randn(n, 2, generator=of).to(checks.DEVICE)
    if has_noise:
        case["noise"] = make_noise(n, seed)
    return case


def in_double(case: dict[str, Any]) -> Scored:
    """The definition, exactly."""
    names = ("mask_NW", "sets", "set_N", "extra_NX", "noise")
    hidden, lm_head = case["hidden_NH"].double(), case["lm_head_VH"].double()
    return Scored(*constrained_scoring_reference(hidden, lm_head, *map(case.get, names)))


def check_tokens(case: dict[str, Any], token: Tensor, exact_token: Tensor, slack: float) -> None:
    """Ours is the exact one, or as good but for rounding. token: [N] or [N, C]."""
    assert torch.equal(token < 0, exact_token < 0)
    is_other = (token != exact_token) & (token >= 0)
    for row, *pair in zip(
        is_other.nonzero()[:, 0].tolist(),
        token[is_other].tolist(),
        exact_token[is_other].tolist(),
        strict=True,
    ):
        (ours, mine), (theirs, right) = (exact_scores(case, row, one) for one in pair)
        if ours[0] == theirs[0]:  # drawn in the same segment
            assert mine >= right - slack
        else:
            assert ours[1] >= theirs[1] - slack


def exact_scores(case: dict[str, Any], row: int, token: int) -> tuple[tuple[int, float], float]:
    """A token's segment and that one's score, as a row draws it, and the token's own score."""
    num_vocab, noise, sets = len(case["lm_head_VH"]), case.get("noise"), case.get("sets")
    temperature = 0.0 if noise is None else float(noise.temperature_N[row])

    def gumbel(number: int) -> float:
        if noise is None or temperature == 0:
            return 0.0
        number_1 = torch.tensor([number], device=noise.seed_N.device)
        return float(gumbel_noise(noise.seed_N[row : row + 1], number_1))

    def logits(ids: Tensor) -> Tensor:
        if int(ids[0]) >= num_vocab:
            found = case["extra_NX"].double()[row, ids - num_vocab]
        else:
            found = case["lm_head_VH"][ids].double() @ case["hidden_NH"][row].double()
        return found / (temperature or 1.0)

    own = float(logits(torch.tensor([token], device=checks.DEVICE))[0]) + gumbel(token)
    if token >= num_vocab or noise is None or temperature == 0:
        return (-1 - token, own), own  # a segment of its own
    if sets is None:
        segment = token // DRAWN_SEGMENT
        ids = torch.arange(segment * DRAWN_SEGMENT, min((segment + 1) * DRAWN_SEGMENT, num_vocab))
    else:
        segment = int((sets.token_S == token).nonzero()) // sets.segment
        ids = sets.token_S.view(-1, sets.segment)[segment]
        ids = ids[ids >= 0].long().cpu()
    if "mask_NW" in case:
        words = case["mask_NW"][row].cpu()
        ids = ids[(words[ids // 32] >> (ids % 32) & 1).bool()]
    lse = float(logits(ids.to(checks.DEVICE)).logsumexp(0))
    return (segment, lse + gumbel(SEGMENT_BIT + segment)), own


TOKENS = {"log_prob_N": "token_N", "class_logit_NC": "class_token_NC"}
"""What belongs to a token; where two tokens are equal but for rounding, another one may have another."""


def check(case: dict[str, Any], ours: Scored) -> None:
    """Against float64, and against what plain PyTorch gets wrong in the same dtype."""
    exact = in_double(case)
    eager = constrained_scoring(**case, impl="reference")
    slack = 1e-5
    for name, mine in ours._asdict().items():
        theirs, right = getattr(eager, name), getattr(exact, name)
        if right is None:
            assert mine is None
        elif "token" in name:
            assert mine.dtype == torch.long
            check_tokens(case, mine, right, slack)
        elif name in TOKENS:
            token, other, wanted = (getattr(one, TOKENS[name]) for one in (ours, eager, exact))
            assert (token == wanted).sum() >= 0.9 * token.numel()
            is_same = (token == wanted) & (other == wanted)
            checks.assert_within_budget(mine[is_same], theirs[is_same], right[is_same], slack)
        else:
            assert mine.dtype == torch.float32
            checks.assert_within_budget(mine, theirs, right, slack)


ODD = [(1, 1, 1, torch.float32), (5, 299, 48, torch.float32), (17, 97, 40, torch.float16)]
REAL = [
    (
        3,
        130,
        33,
        torch.bfloat16,
    ),  # not real, but Triton's interpreter multiplies the bits of bfloat16 as integers
    (1, 128_256, 2048, torch.bfloat16),
    (16, 128_256, 2048, torch.bfloat16),
    (33, 151_936, 1024, torch.bfloat16),
    (128, 128_256, 2048, torch.bfloat16),
    (300, 50_257, 768, torch.float16),
    (7, 50_257, 768, torch.float32),
]
CASES = [
    *product(ODD, KINDS, (False, True), (False, True)),
    *(pytest.param(*one, marks=ONLY_GPU) for one in product(REAL, KINDS, (True,), (False, True))),
]


@pytest.mark.parametrize(("shape", "kind", "has_extra", "has_noise"), CASES, ids=str)
def test_kernel_is_no_worse_than_a_plain_matrix_product(
    shape: tuple[int, int, int, torch.dtype], kind: str, has_extra: bool, has_noise: bool
) -> None:
    case = make_case(*shape, kind, has_extra, has_noise)
    with checks.poisoned_memory():
        ours = constrained_scoring(**case, impl="triton")
    check(case, ours)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "tiles",
    [
        Tiles(32, 16, 16, 4, 3, programs_per_sm=1, merge_block=32, drawn_merge_block=32),
        Tiles(64, 32, 64, num_warps=4, num_stages=2, programs_per_sm=2),
        Tiles(128, 16, 32, num_warps=8, num_stages=4, programs_per_sm=400),
    ],
    ids=str,
)
def test_every_cut_gives_the_same(tiles: Tiles, kind: str) -> None:
    """Also several tiles a program, several blocks of rows, a last step that is not full, and several steps of merging."""
    case = make_case(
        33, 1100 if tiles.merge_block == 32 else 300, 72, torch.float32, kind, True, True, seed=1
    )
    names = ("mask_NW", "sets", "set_N", "extra_NX", "noise")
    with checks.poisoned_memory():
        found = constrained_scoring_triton(
            case["hidden_NH"], case["lm_head_VH"], *map(case.get, names), tiles
        )
    check(case, Scored(*found))


@pytest.mark.parametrize("impl", ["reference", "triton"])
def test_rows_that_are_not_next_to_each_other_are_read_where_they_are(impl: Any) -> None:
    case = make_case(4, 100, 32, torch.float32, "mask", True, True)
    spread = dict(case)
    for name in ("hidden_NH", "mask_NW", "extra_NX"):
        spread[name] = torch.stack([case[name], case[name] + 1], 2)[..., 0]
    spread["lm_head_VH"] = torch.cat([case["lm_head_VH"], case["lm_head_VH"] + 1], 1)[:, :32]
    for mine, theirs in zip(
        constrained_scoring(**spread, impl=impl),
        constrained_scoring(**case, impl=impl),
        strict=True,
    ):
        assert mine is theirs is None or torch.equal(mine, theirs)


@pytest.mark.parametrize("impl", ["reference", "triton"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_drawn", [False, True], ids=["best", "temperature 0"])
def test_the_lowest_of_equal_tokens_wins(impl: Any, kind: str, is_drawn: bool) -> None:
    """Logits of 0 and 1 alone, so that tokens of all tiles, segments and classes are equal."""
    v = 400
    case = make_case(6, v, 16, torch.float32, kind, True, False, seed=2)
    is_high_V = torch.rand(v, generator=generator(3)) < 0.3
    case["hidden_NH"] = torch.ones(6, 16, device=checks.DEVICE)
    case["lm_head_VH"] = (is_high_V[:, None] / 16.0).expand(v, 16).contiguous().to(checks.DEVICE)
    case["extra_NX"] = torch.ones(6, 2, device=checks.DEVICE)
    if is_drawn:
        seed_N = torch.arange(6, device=checks.DEVICE)
        case["noise"] = Noise(seed_N, torch.zeros(6, device=checks.DEVICE))
    ours = constrained_scoring(**case, impl=impl)
    high = is_high_V.nonzero()[:, 0]
    for n in range(6):
        allowed, classes = list(range(v)), {}
        if kind == "mask":
            words = case["mask_NW"][n].tolist()
            allowed = [t for t in allowed if words[t // 32] >> (t % 32) & 1]
        if kind.endswith("sets"):
            of = case["sets"].classes_AS()[int(case["set_N"][n])].tolist()
            classes = {int(t): c for t, c in zip(case["sets"].token_S, of, strict=True) if c >= 0}
            allowed = sorted(classes)
        best = [t for t in allowed if t in high] + [v]
        assert int(ours.token_N[n]) == best[0]
        for c in range(case["sets"].num_classes if classes else 0):
            members = [t for t in allowed if classes[t] == c]
            best = [t for t in members if t in high] + members + [-1]
            assert int(ours.class_token_NC[n, c]) == best[0]


@pytest.mark.parametrize("impl", ["reference", "triton"])
@pytest.mark.parametrize("has_noise", [False, True], ids=["best", "noise"])
def test_where_nothing_is_allowed_there_is_no_token(impl: Any, has_noise: bool) -> None:
    case = make_case(2, 70, 8, torch.float32, "all", False, has_noise)
    case["mask_NW"] = torch.tensor([[0, 0, 0], [0, 4, 0]], dtype=torch.int32, device=checks.DEVICE)
    case["extra_NX"] = torch.full((2, 1), NONE, device=checks.DEVICE)
    ours = constrained_scoring(**case, impl=impl)
    assert ours.token_N.tolist() == [-1, 34]
    assert ours.lse_N[0] == ours.log_prob_N[0] == NONE
    assert abs(ours.log_prob_N[1]) < 1e-6
    case["extra_NX"][0, 0] = 2.0
    ours = constrained_scoring(**case, impl=impl)
    assert ours.token_N.tolist() == [70, 34]
    assert abs(ours.log_prob_N[0]) < 1e-6


@pytest.mark.parametrize("impl", ["reference", "triton"])
def test_a_mask_may_be_narrower_or_wider_than_the_vocabulary(impl: Any) -> None:
    """Tokenizers know fewer tokens than a padded LM head has rows; bits behind V mean nothing."""
    case = make_case(3, 70, 8, torch.float32, "all", False, False)
    for num_words in (1, 2, 5):
        mask_NW = torch.full((3, num_words), -1, dtype=torch.int32, device=checks.DEVICE)
        ours = constrained_scoring(**case, mask_NW=mask_NW, impl=impl)
        logits_NV = case["hidden_NH"] @ case["lm_head_VH"][: 32 * num_words].T
        assert torch.equal(ours.token_N, logits_NV.argmax(1))
        torch.testing.assert_close(ours.lse_N, logits_NV.logsumexp(1))


@pytest.mark.parametrize("impl", ["reference", "triton"])
def test_no_rows_give_no_results(impl: Any) -> None:
    case = make_case(0, 50, 8, torch.float32, "small sets", True, True)
    ours = constrained_scoring(**case, impl=impl)
    assert [len(one) for one in ours if one is not None] == [0] * 7
    assert ours.class_score_NC is not None
    assert ours.class_score_NC.shape == (0, case["sets"].num_classes + 2)


@pytest.mark.parametrize("impl", ["reference", "triton"])
def test_sets_without_a_token_leave_the_extra_ones(impl: Any) -> None:
    case = make_case(2, 50, 8, torch.float32, "all", True, False)
    sets = token_sets([torch.arange(0)], device=checks.DEVICE)
    ours = constrained_scoring(**case, sets=sets, impl=impl)
    assert torch.equal(ours.token_N, 50 + case["extra_NX"].argmax(1))
    torch.testing.assert_close(ours.all_lse_N, case["extra_NX"].logsumexp(1))


def test_sets_add_up_to_the_whole_vocabulary() -> None:
    """log-probabilities over all tokens, as a head needs them: class_logit_NC - all_lse_N."""
    case = make_case(6, 299, 48, torch.float32, "sets", True, False)
    ours = constrained_scoring(**case, impl="triton")
    logits = torch.cat([case["hidden_NH"] @ case["lm_head_VH"].T, case["extra_NX"]], 1)
    log_p = logits.log_softmax(1)
    assert ours.class_token_NC is not None
    assert ours.class_logit_NC is not None
    assert ours.all_lse_N is not None
    found = (ours.class_logit_NC - ours.all_lse_N[:, None])[ours.class_token_NC >= 0]
    rows, columns = (ours.class_token_NC >= 0).nonzero(as_tuple=True)
    wanted = log_p[rows, ours.class_token_NC[rows, columns]]
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("impl", ["reference", "triton"])
def test_a_set_of_all_tokens_has_the_sum_of_all_and_others_beside_it_too(impl: Any) -> None:
    """Rows whose set has every segment, some, and none."""
    case = make_case(6, 299, 48, torch.float32, "all", True, False)
    ids = [torch.arange(299), torch.arange(0, 299, 3), torch.arange(0)]
    classes = [ids[0] % 4, ids[1] % 2, ids[2]]
    sets = token_sets(ids, classes, vocab_size=299, device=checks.DEVICE)
    set_N = (torch.arange(6, dtype=torch.int32) % 3).to(checks.DEVICE)
    with checks.poisoned_memory():
        ours = constrained_scoring(**case, sets=sets, set_N=set_N, impl=impl)
    logits = torch.cat([case["hidden_NH"] @ case["lm_head_VH"].T, case["extra_NX"]], 1)
    torch.testing.assert_close(ours.all_lse_N, logits.logsumexp(1))
    of_all = set_N == 0
    assert ours.all_lse_N is not None
    torch.testing.assert_close(ours.lse_N[of_all], ours.all_lse_N[of_all])
    assert (ours.lse_N[~of_all] < ours.all_lse_N[~of_all] - 0.1).all()


def test_a_class_of_one_token_each_returns_the_logits_of_these_tokens() -> None:
    case = make_case(3, 90, 16, torch.float32, "all", False, False)
    ids = torch.tensor([80, 3, 41])
    sets = token_sets([ids], [torch.arange(3)], device=checks.DEVICE)
    ours = constrained_scoring(**case, sets=sets, impl="triton")
    logits = case["hidden_NH"] @ case["lm_head_VH"][ids.to(checks.DEVICE)].T
    torch.testing.assert_close(ours.class_logit_NC, logits)


@pytest.mark.parametrize("num_tokens", [1, 3], ids=["one token a class", "several"])
@pytest.mark.parametrize("has_noise", [False, True], ids=["best", "noise"])
def test_classes_of_one_segment_are_found_side_by_side(num_tokens: int, has_noise: bool) -> None:
    """More of them than a program takes at once, gaps between them, a set with one class and one with none."""
    case = make_case(7, 299, 48, torch.float32, "all", True, has_noise)
    most, one, none = torch.randperm(299, generator=generator(4)).split([240, 1, 58])
    ids = [most, one, none[:0]]
    classes = [2 * (torch.arange(240) // num_tokens), torch.tensor([3]), none[:0]]
    case["sets"] = token_sets(ids, classes, device=checks.DEVICE)
    case["set_N"] = (torch.arange(7, dtype=torch.int32) % 3).to(checks.DEVICE)
    assert case["sets"].is_single
    assert case["sets"].segment == (1 if num_tokens == 1 else 16)
    names = ("mask_NW", "sets", "set_N", "extra_NX", "noise")
    tiles = Tiles(32, 16, 64, num_warps=4, num_stages=2, programs_per_sm=1, merge_block=64)
    with checks.poisoned_memory():
        found = constrained_scoring_triton(
            case["hidden_NH"], case["lm_head_VH"], *map(case.get, names), tiles
        )
    check(case, Scored(*found))


@pytest.mark.parametrize(
    ("counter", "key", "word"),
    [
        ((0, 0), 0, 0x257A3673),
        ((0xFFFFFFFF, 0xFFFFFFFF), 0xFFFFFFFF, 0xAB302C4D),
        ((0x243F6A88, 0x85A308D3), 0x13198A2E, 0xBEDBBE6B),
    ],
)
def test_random_words_are_those_of_philox(counter: tuple[int, int], key: int, word: int) -> None:
    """Known answers of Random123, philox2x32 with 7 rounds."""
    seed = counter[1] << 32 | key
    seed -= 2**64 if seed >= 2**63 else 0
    assert int(random_words(torch.tensor([seed]), torch.tensor([counter[0]]))) == word


def test_noise_has_the_gumbel_distribution() -> None:
    noise = gumbel_noise(torch.arange(200), torch.arange(1000)).double().flatten().sort().values
    cdf = (-(-noise).exp()).exp()
    steps = torch.arange(1, len(noise) + 1) / len(noise)
    assert (cdf - steps).abs().max() < 1.95 / math.sqrt(len(noise))  # Kolmogorov-Smirnov, 0.1%


@pytest.mark.parametrize("impl", ["reference", "triton"])
def test_draws_follow_the_softmax(impl: Any) -> None:
    """Whole, and of two classes together as a state of an automaton takes them: chi-square, 0.1%."""
    n = 4000 if impl == "reference" or checks.HAS_GPU else 200
    logits = torch.tensor([1.0, 0.2, -0.5, 2.0, 0.7, -1.0])
    sets = token_sets([torch.arange(6)], [torch.tensor([0, 0, 1, 2, 1, 2])], device=checks.DEVICE)
    noise = Noise(
        torch.arange(n, device=checks.DEVICE), torch.full((n,), 0.8, device=checks.DEVICE)
    )
    ours = constrained_scoring(
        torch.ones(n, 1, device=checks.DEVICE),
        logits[:, None].to(checks.DEVICE),
        sets=sets,
        noise=noise,
        impl=impl,
    )
    p = (logits / 0.8).softmax(0)
    assert ours.class_score_NC is not None
    assert ours.class_token_NC is not None
    two = ours.class_score_NC[:, :2].argmax(1)
    drawn_of_two = ours.class_token_NC[torch.arange(n, device=checks.DEVICE), two]
    for drawn, tokens in ((ours.token_N, [0, 1, 2, 3, 4, 5]), (drawn_of_two, [0, 1, 2, 4])):
        expected = n * p[tokens] / p[tokens].sum()
        counts = torch.bincount(drawn.cpu(), minlength=6)[tokens]
        assert int(counts.sum()) == n
        limit = {6: 20.52, 4: 16.27}[len(tokens)]
        assert float(((counts - expected) ** 2 / expected).sum()) < limit


@pytest.mark.parametrize("impl", ["reference", pytest.param("triton", marks=ONLY_GPU)])
@pytest.mark.parametrize("is_masked", [False, True], ids=["all", "mask"])
def test_draws_among_several_segments_follow_the_softmax(impl: Any, is_masked: bool) -> None:
    """Within each segment and between them, the extra token among them: chi-square, 0.1%."""
    n, v = 4000, 40
    of = generator(5)
    logits = torch.randn(v, generator=of)
    logits[DRAWN_SEGMENT : 2 * DRAWN_SEGMENT] += 1.0
    is_allowed_V = torch.rand(v, generator=of) < (0.4 if is_masked else 2)
    bits = sum(1 << t for t in range(v) if is_allowed_V[t])
    words = torch.tensor([bits & 0xFFFFFFFF, bits >> 32]).to(torch.int32)
    seeds = torch.randint(-(2**63), 2**63 - 1, (n,), generator=of)
    ours = constrained_scoring(
        torch.ones(n, 1, device=checks.DEVICE),
        logits[:, None].to(checks.DEVICE),
        mask_NW=words.expand(n, -1).contiguous().to(checks.DEVICE) if is_masked else None,
        extra_NX=torch.full((n, 1), 0.5, device=checks.DEVICE),
        noise=Noise(seeds.to(checks.DEVICE), torch.full((n,), 1.3, device=checks.DEVICE)),
        impl=impl,
    )
    whole = torch.cat([logits.masked_fill(~is_allowed_V, NONE), torch.tensor([0.5])])
    p = (whole / 1.3).softmax(0)
    counts = torch.bincount(ours.token_N.cpu(), minlength=v + 1)
    assert not counts[p == 0].any()
    expected = n * p[p > 0]
    statistic = float(((counts[p > 0] - expected) ** 2 / expected).sum())
    freedom = len(expected) - 1
    limit = freedom * (1 - 2 / (9 * freedom) + 3.09 * math.sqrt(2 / (9 * freedom))) ** 3
    assert statistic < limit  # Wilson and Hilferty, 1931


@pytest.mark.parametrize("impl", ["reference", "triton"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_rows_draw_depends_on_its_seed_alone(impl: Any, kind: str) -> None:
    """Not on its place, on the other rows, or on the tiles, which differ with the number of rows."""
    case = make_case(20, 120, 16, torch.float32, kind, True, True)
    ours = constrained_scoring(**case, impl=impl)
    some = torch.tensor([4, 1], device=checks.DEVICE)
    rows = {n: case[n][some] for n in ("hidden_NH", "mask_NW", "set_N", "extra_NX") if n in case}
    noise = Noise(*(one[some] for one in case["noise"]))
    again = constrained_scoring(**(case | rows | {"noise": noise}), impl=impl)
    assert torch.equal(again.token_N, ours.token_N[some])


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_sets_say_what_they_were_made_of(data: st.DataObject) -> None:
    vocab_size = data.draw(st.integers(1, 70))
    segment = data.draw(st.sampled_from([1, 4, 16]))
    ids = st.lists(st.integers(0, vocab_size - 1), unique=True)
    made = [
        {t: data.draw(st.integers(0, 4)) for t in data.draw(ids)}
        for _ in range(data.draw(st.integers(1, 4)))
    ]
    whole = data.draw(st.booleans())
    sets = token_sets(
        [torch.tensor(list(one), dtype=torch.long) for one in made],
        [torch.tensor(list(one.values()), dtype=torch.long) for one in made],
        vocab_size=vocab_size if whole else None,
        segment=segment,
    )
    tokens = [t for t in sets.token_S.tolist() if t >= 0]
    assert sorted(tokens) == sorted(range(vocab_size) if whole else set().union(*made))
    for class_S, one in zip(sets.classes_AS().tolist(), made, strict=True):
        found = {t: c for t, c in zip(sets.token_S.tolist(), class_S, strict=True) if c >= 0}
        assert found == one
    for row in sets.token_S.view(-1, segment).tolist():
        present = [t for t in row if t >= 0]
        assert present == sorted(present) == row[: len(present)]
        assert present


def test_whole_vocabularies_waste_few_places() -> None:
    classes = torch.arange(50_000) % 60
    sets = token_sets([torch.arange(50_000)], [classes], vocab_size=50_000)
    assert len(sets.token_S) <= 50_000 + 60 * (sets.segment - 1)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"lm_head_VH": torch.zeros(50, 8, dtype=torch.bfloat16)}, TypeError, "convert both"),
        ({"hidden_NH": torch.zeros(2, 9)}, ValueError, r"must be \[N, H\] and \[V, H\]"),
        ({"lm_head_VH": torch.zeros(0, 8)}, ValueError, "not be empty"),
        ({"lm_head_VH": torch.zeros(8, 50).T}, ValueError, "contiguous"),
        (
            {"mask_NW": torch.zeros(2, 2)},
            TypeError,
            "mask_NW is torch.float32; convert it to torch.int32",
        ),
        (
            {"mask_NW": torch.zeros(3, 2, dtype=torch.int32)},
            ValueError,
            r"mask_NW must be \[2, at least 1\]",
        ),
        ({"set_N": torch.zeros(2, dtype=torch.int32)}, ValueError, "pass sets too"),
        ({"sets": token_sets([torch.tensor([50])])}, ValueError, "tokens up to 50"),
        (
            {
                "sets": token_sets([torch.arange(3)]),
                "mask_NW": torch.zeros(2, 2, dtype=torch.int32),
            },
            ValueError,
            "pass one",
        ),
        ({"extra_NX": torch.zeros(2, 1, dtype=torch.int32)}, TypeError, "extra_NX"),
        ({"noise": Noise(torch.zeros(2), torch.zeros(2))}, TypeError, "noise.seed_N"),
        (
            {"noise": Noise(torch.zeros(2).long(), torch.zeros(1))},
            ValueError,
            "noise.temperature_N",
        ),
        ({"impl": "cuda"}, ValueError, "impl must be"),
    ],
)
def test_what_does_not_fit_is_refused(
    change: dict[str, Any], error: type[Exception], says: str
) -> None:
    case: dict[str, Any] = {"hidden_NH": torch.zeros(2, 8), "lm_head_VH": torch.zeros(50, 8)}
    with pytest.raises(error, match=says):
        constrained_scoring(**(case | change))


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (([],), "no set"),
        (([torch.tensor([-1])],), "run from -1"),
        (([torch.tensor([1, 1])],), "twice"),
        (([torch.tensor([1, 2])], [torch.tensor([0])]), "needs a class"),
        (([torch.tensor([1])], []), "1 sets of token_ids, 0 of classes"),
    ],
)
def test_sets_that_cannot_be_are_refused(args: tuple[Any, ...], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        token_sets(*args)
    with pytest.raises(ValueError, match="vocab_size is 5"):
        token_sets([torch.tensor([5])], vocab_size=5)
    with pytest.raises(ValueError, match="power of two"):
        token_sets([torch.tensor([5])], segment=3)
    sets = token_sets([torch.tensor([5])])
    with pytest.raises(TypeError, match="token_S must be contiguous int32"):
        replace(sets, token_S=sets.token_S.long())


def test_tiles_fit_a_gpu_of_this_kind() -> None:
    for table in (PLAIN, SCATTERED, FEW):
        for rows, tiles in table.items():
            assert rows % tiles.block_rows == 0
            assert tiles.shared_bytes(2) * tiles.programs_per_sm <= 227 * 1024
    assert tiles_for(200, 10**5, None, 2) is not None
    assert tiles_for(1, 100, 64, 2).block_places == 64
    assert tiles_for(128, 10**5, 32, 4).shared_bytes(4) <= 99 * 1024


COMPILE = """
from itertools import product

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from smoldiff_kernels.constrained_scoring.kernel import merge_segments, score_segments


def compiled(kernel, types, constants):
    names = kernel.arg_names
    signature = {n: "constexpr" if n in constants else types.get(n, "i32") for n in names}
    at = {(names.index(n),): value for n, value in constants.items()}
    aligned = {(i,): [["tt.divisibility", 16]] for i, n in enumerate(names) if n.endswith(("ptr", "stride"))}
    source = ASTSource(fn=kernel, signature=signature, constexprs=at, attrs=aligned)
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 4, "num_stages": 3})


floats = ("temperature", "top", "total", "extra", "lse_out", "all_lse_out", "log_prob_out",
          "class_score_out", "class_logit_out")
types = {f"{n}_ptr": "*fp32" for n in floats}
types |= {f"{n}_ptr": "*i32" for n in ("token", "place_token", "mask", "best", "set", "first", "entry")}
types |= {f"{n}_ptr": "*i64" for n in ("seed", "token_out", "class_token_out")}
types |= {f"{n}_ptr": "*bf16" for n in ("hidden", "lm_head")}
tile = {"HIDDEN_SIZE": 256, "BLOCK_PLACES": 128, "BLOCK_ROWS": 16, "BLOCK_HIDDEN": 64, "SEGMENT": 32}
for tokens, mask, noise in ((True, False, False), (True, False, True), (False, True, False)):
    kind = {"HAS_TOKENS": tokens, "HAS_MASK": mask, "HAS_NOISE": noise, "IS_CHAINED": True}
    code = compiled(score_segments, types, tile | kind).asm["ptx"]
    loads, product_at = code.count("cp.async.cg"), code.index("wgmma")
    ahead = code[:product_at].count("cp.async.cg")
    assert 0 < ahead < loads, f"{kind}: no loads run ahead of the products"
for sets, extra, noise in product((False, True), repeat=3):
    kind = {"HAS_SETS": sets, "HAS_MASK": not sets, "HAS_EXTRA": extra, "HAS_NOISE": noise}
    kind |= {"IS_SINGLE": sets and not extra, "IS_CHAINED": True}
    kind |= {"HIDDEN_SIZE": 300, "SEGMENT": 16, "BLOCK": 64, "BLOCK_EXTRA": 2, "BLOCK_HIDDEN": 256}
    compiled(merge_segments, types, kind)
"""


def test_kernels_compile_for_hopper_and_load_ahead(tmp_path: Path) -> None:
    """The interpreter takes what the compiler refuses, and a loop that it cannot pipeline is slow without a word."""
    environment = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    ran = subprocess.run(
        [sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr[-2000:]


@pytest.mark.gpu
@pytest.mark.skipif(not checks.HAS_GPU, reason="needs a GPU")
@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_holds_it_and_draws_anew_from_new_seeds(kind: str) -> None:
    case = make_case(16, 5000, 256, torch.bfloat16, kind, True, True)
    constrained_scoring(**case)  # compiles
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.cuda.graph(graph):
            ours = constrained_scoring(**case)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for step in range(3):
        case["noise"].seed_N.copy_(make_noise(16, 10 + step).seed_N)
        graph.replay()
        for mine, theirs in zip(ours, constrained_scoring(**case), strict=True):
            assert mine is theirs is None or torch.equal(mine, theirs)
