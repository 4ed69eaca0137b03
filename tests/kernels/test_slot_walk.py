"""The walk against its reference, on a GPU or in Triton's interpreter."""

import kernel_checks as checks  # first: it chooses Triton's interpreter where there is no GPU
import pytest
import torch

from smoldiff_kernels.slot_walk import (
    NO_TEXT,
    Automata,
    Context,
    Plain,
    Starts,
    Weights,
    slot_walk,
)

# Triton's interpreter multiplies the bits of bfloat16 as integers.
HALVES = [torch.float16, torch.bfloat16] if checks.HAS_GPU else [torch.float16]
# Slots, positions, rows, vocabulary, rank, pointer width, context.
SHAPES = [(1, 1, 1, 3, 1, 1, 1), (5, 4, 9, 300, 24, 20, 37), (17, 3, 40, 1031, 48, 16, 130)]
if checks.HAS_GPU:
    SHAPES += [(16, 8, 128, 128_256, 256, 128, 2048), (60, 8, 128, 50_257, 200, 100, 5000)]
NUM_AUTOMATA, NUM_STATES, NUM_CLASSES = 3, 5, 7


def automata(V, below):
    """Of each: states with all but one class, one where only the end is left, one from which nothing leads on."""
    states, edges = [], [(0, 0, 99)]
    for a in range(NUM_AUTOMATA):
        for s in range(NUM_STATES):
            classes = {NUM_STATES - 1: [], NUM_STATES - 2: [1]}.get(s, range(1, NUM_CLASSES - 1))
            states.append((len(edges), len(classes), s % 2 == 0))
            for c in classes:
                target = below(NUM_STATES)
                # More than any slot has left, where only one class leads on.
                steps = 99 if s == NUM_STATES - 2 else below(3)
                edges.append((c, a * NUM_STATES + int(target), int(steps)))
    return Automata(
        below(NUM_CLASSES, NUM_AUTOMATA, V).to(torch.int16),
        torch.tensor(states),
        torch.tensor(edges),
    )


def operands(N, P, Q, V, R, C, K, dtype=torch.float32, head_dtype=None, num_kinds=20):
    """num_kinds: how many tokens the context has, so that most are there more than once."""
    generator = torch.Generator().manual_seed(N + V)
    head_dtype = head_dtype or dtype

    def drawn(*shape, to=head_dtype):
        return torch.randn(shape, generator=generator).to(to)

    def below(most, *shape):
        return torch.randint(most, shape, generator=generator)

    ids_K = below(V, num_kinds)[below(num_kinds, K)]
    automaton_N = below(NUM_AUTOMATA, N)
    history_NM = torch.stack([ids_K[below(K, N)] for _ in range(3)], 1)
    history_NM[::2, 1:] = -1
    history_NM[::4, 0] = -1
    left_N = below(P, N) + 1
    left_N[2::5] = 0
    groups = (
        Plain(drawn(Q, V, to=dtype), drawn(Q, R), drawn(Q, C + 3)),
        Weights(
            drawn(V + 1, R),
            (drawn(V, R) * R**-0.5).to(dtype),
            drawn(C + 3, R) * R**-0.5,
            drawn(3),
        ),
        Context(ids_K, drawn(K, C), torch.tensor([K - K // 4])),
        automata(V, below),
        Starts(
            below(Q, N),
            automaton_N,
            automaton_N * NUM_STATES + below(NUM_STATES, N),
            left_N,
            history_NM,
        ),
    )
    return [type(one)(*(t if t is None else t.to(checks.DEVICE) for t in one)) for one in groups]


def walked(groups, num_positions, impl, has_confidence=False):
    return slot_walk(
        *groups,
        num_positions=num_positions,
        num_classes=NUM_CLASSES + 2,
        has_confidence=has_confidence,
        impl=impl,
    )


def is_said(found, left_N):
    """[P, N]: where a chance means something, up to the end."""
    is_text_PN = found.token_PN != NO_TEXT
    place_P1 = torch.arange(len(is_text_PN), device=is_text_PN.device)[:, None]
    return (place_P1 <= is_text_PN.sum(0)) & (place_P1 < left_N)


@pytest.mark.parametrize("has_confidence", [False, True], ids=["likelihood", "confidence"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_kernel_walks_as_the_reference_does(shape, has_confidence):
    groups = operands(*shape)
    exact = walked(groups, shape[1], "reference", has_confidence)
    with checks.poisoned_memory():
        ours = walked(groups, shape[1], "triton", has_confidence)
    assert torch.equal(ours.token_PN, exact.token_PN)
    assert torch.equal(ours.is_ended_N, exact.is_ended_N)
    is_said_PN = is_said(exact, groups[-1].left_N)
    mine, other = ours.chance_PN[is_said_PN], exact.chance_PN[is_said_PN]
    torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-7)
    assert ours.chance_PN.isfinite().all()


@pytest.mark.parametrize("head_dtype", [None, torch.float32], ids=["one", "two"])
@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_in_half_precision_what_is_chosen_is_as_likely(shape, dtype, head_dtype):
    """One step: behind a near tie texts may part."""
    shape = (shape[0], 1, *shape[2:])
    groups = operands(*shape, dtype, head_dtype)
    exact = walked(groups, 1, "reference")
    with checks.poisoned_memory():
        ours = walked(groups, 1, "triton")
    is_said_PN = is_said(exact, groups[-1].left_N)
    assert torch.equal(is_said_PN, is_said(ours, groups[-1].left_N))
    mine, other = ours.chance_PN[is_said_PN], exact.chance_PN[is_said_PN]
    torch.testing.assert_close(mine, other, rtol=2e-2, atol=1e-6)
    assert (ours.token_PN == exact.token_PN).float().mean() >= 0.8


@pytest.mark.parametrize("impl", ["reference", "triton"])
def test_a_context_that_is_sorted_before_changes_nothing(impl):
    groups = operands(*SHAPES[1])
    wanted = walked(groups, SHAPES[1][1], impl)
    groups[2] = groups[2]._replace(by_id=tuple(groups[2].ids_K.sort()))
    found = walked(groups, SHAPES[1][1], impl)
    assert torch.equal(found.packed_XN, wanted.packed_XN)


@pytest.mark.parametrize("impl", ["reference", "triton"])
def test_rows_may_be_those_of_a_wider_product(impl):
    groups = operands(*SHAPES[1])
    wanted = walked(groups, SHAPES[1][1], impl)
    plain = groups[0]
    both = torch.cat([plain.state_QR, plain.rest_QX, torch.full_like(plain.rest_QX, 1e9)], 1)
    state_QR, rest_QX, _ = both.split([t.shape[1] for t in (*plain[1:], plain.rest_QX)], 1)
    groups[0] = plain._replace(state_QR=state_QR, rest_QX=rest_QX)
    assert torch.equal(walked(groups, SHAPES[1][1], impl).packed_XN, wanted.packed_XN)


IMPLS = ["reference", "triton"]


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("copies", [False, True], ids=["plain", "copied"])
def test_of_equal_tokens_the_lowest_is_taken(impl, copies):
    plain, weights, context, tables, starts = operands(3, 1, 4, 300, 8, 8, 40)
    nothing = [torch.zeros_like(t) for t in (*plain, *weights, context.key_KC)]
    plain, weights = Plain(*nothing[:3]), Weights(*nothing[3:7])
    plain.rest_QX[:, -3] = 60.0 if copies else -60.0
    plain.rest_QX[:, -1] = -20.0
    ids_K = torch.tensor([9, 7] * 20, device=checks.DEVICE)
    groups = [plain, weights, Context(ids_K, nothing[-1], context.num_seen_1 * 0 + 40), tables]
    tables.class_AV.fill_(1)
    starts = starts._replace(state_N=torch.zeros_like(starts.state_N))
    starts = starts._replace(left_N=torch.full_like(starts.left_N, 200))
    groups.append(starts._replace(automaton_N=torch.zeros_like(starts.automaton_N)))
    assert walked(groups, 1, impl).token_PN.tolist() == [[7 if copies else 0] * 3]


@pytest.mark.parametrize("impl", IMPLS)
def test_the_copies_of_a_token_count_together(impl):
    plain, weights, context, tables, starts = operands(2, 1, 4, 50, 8, 8, 40)
    nothing = [torch.zeros_like(t) for t in (*plain, *weights, context.key_KC)]
    plain, weights = Plain(*nothing[:3]), Weights(*nothing[3:7])
    plain.rest_QX[:, -3], plain.rest_QX[:, -1] = 60.0, -20.0
    ids_K = torch.tensor([3, 30, 4, 30], device=checks.DEVICE).repeat(10)
    tables.class_AV.fill_(1)
    context = Context(ids_K, nothing[-1], torch.full_like(context.num_seen_1, 38))
    zeros = torch.zeros_like(starts.state_N)
    starts = starts._replace(state_N=zeros, automaton_N=zeros, left_N=zeros + 99)
    found = walked([plain, weights, context, tables, starts], 1, impl)
    assert found.token_PN.tolist() == [[30, 30]]
    torch.testing.assert_close(found.chance_PN, torch.full_like(found.chance_PN, 19 / 38))


@pytest.mark.parametrize("impl", IMPLS)
def test_where_nothing_is_allowed_the_slot_ends_or_says_nothing(impl):
    groups = operands(2, 3, 9, 300, 24, 20, 37)
    dead = NUM_STATES - 1  # it accepts; one step further is a state from which no text leads on
    groups[-1] = groups[-1]._replace(
        state_N=torch.tensor([dead, dead - 1], device=checks.DEVICE),
        left_N=torch.tensor([3, 3], device=checks.DEVICE),
    )
    found = walked(groups, 3, impl)
    assert found.token_PN[:, 0].tolist() == [NO_TEXT] * 3
    assert found.token_PN[0, 1] == NO_TEXT
    assert found.is_ended_N[0]


def test_what_does_not_fit_is_refused():
    plain, weights, context, tables, starts = operands(3, 2, 4, 30, 8, 8, 9)
    wrong = [
        (plain._replace(logits_QV=plain.logits_QV.half()), weights, context, tables, starts),
        (plain, weights._replace(bonus_M=weights.bonus_M[:2]), context, tables, starts),
        (plain, weights, context._replace(key_KC=context.key_KC[1:]), tables, starts),
        (plain, weights, context, tables._replace(class_AV=tables.class_AV.int()), starts),
        (plain, weights, context, tables, starts._replace(row_N=starts.row_N.int())),
    ]
    for groups, error in zip(
        wrong, [TypeError, ValueError, ValueError, TypeError, TypeError], strict=True
    ):
        with pytest.raises(error):
            walked(groups, 2, "reference")
    empty = Context(context.ids_K[:0], context.key_KC[:0], context.num_seen_1)
    with pytest.raises(ValueError, match="holds no token"):
        walked((plain, weights, empty, tables, starts), 2, "reference")
    with pytest.raises(ValueError, match="impl"):
        walked((plain, weights, context, tables, starts), 2, "other")
