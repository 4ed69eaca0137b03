"""Slot decoding on a GPU, or in Triton's interpreter, against its reference and `best_fill`, to the last token and bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from itertools import accumulate
from typing import Any

import kernel_checks as checks  # first: it chooses Triton's interpreter where there is no GPU
import numpy as np
import pytest
import torch
from fakes import byte_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from smoldiff import compile_schema
from smoldiff.decode.flat import flat_automata, flat_classes
from smoldiff.decode.slots import best_fill
from smoldiff.template.automaton import TokenAutomaton
from smoldiff.template.languages import slot_automaton
from smoldiff.template.vocabulary import Vocabulary
from smoldiff_kernels import marks
from smoldiff_kernels.class_scores import class_scores
from smoldiff_kernels.slot_decoding import slot_decoding
from smoldiff_kernels.slot_decoding.kernel import Tiles, slot_decoding_triton

# Shapes: N slots, R rows, U scores of a row, C classes, P positions.

MERGES = [("a", "b"), ("ab", "a"), ("b", "a"), ("1", "2"), ("0", "0"), ("\\", "n"), ("Ã", "©")]
SCHEMAS: dict[str, dict[str, Any]] = {
    "string": {"type": "string"},
    "short string": {"type": "string", "minLength": 2, "maxLength": 5},
    "integer": {"type": "integer", "minimum": -20, "maximum": 1000},
    "number": {"type": "number"},
    "enum": {"enum": ["a", "ab", "aba", "abab", "ba", "bb", "12", "1200"]},
    "pattern": {"type": "string", "pattern": "^(ab|ba){1,3}[0-9]?$"},
    "letters": {"type": "string", "pattern": "^[a-z]{3}$"},
    "date": {"type": "string", "format": "date"},
}
IMPLS = ["reference", "triton"]
NEEDS_GPU = pytest.mark.skipif(not checks.HAS_GPU, reason="needs a CUDA device")
GPU = [pytest.mark.gpu, NEEDS_GPU]


@cache
def automata() -> dict[str, TokenAutomaton]:
    """Real ones by name, and one whose language is empty."""
    tokenizer = byte_tokenizer(MERGES)
    vocabulary = Vocabulary.of(tokenizer)
    found = {}
    for name, schema in SCHEMAS.items():
        whole = {
            "type": "object",
            "properties": {"x": schema},
            "required": ["x"],
            "additionalProperties": False,
        }
        (run,) = compile_schema(whole).bind(tokenizer).runs
        found[name] = slot_automaton(run.slot.language, vocabulary, 12)
    none = found["enum"]
    found["empty"] = none.without(s.encode() for s in SCHEMAS["enum"]["enum"])
    assert found["empty"].is_empty
    return found


class Batch:
    """Some slots with scores for single tokens, and what `best_fill` makes of each."""

    def __init__(
        self,
        slots: Sequence[tuple[TokenAutomaton, int]],
        draw: Callable[..., Tensor],
        dtype: torch.dtype = torch.float32,
        fix: Callable[[TokenAutomaton], int] | None = None,
    ) -> None:
        self.slots = slots
        num_columns = max(len(automaton.token_ids) for automaton, _ in slots)
        lengths = [num_positions for _, num_positions in slots]
        self.score_RU = draw(sum(lengths), num_columns).to(dtype)
        self.null_R = draw(sum(lengths)).to(dtype)
        self.fixed_R = None
        if fix is not None:
            rows = [fix(automaton) for automaton, num in slots for _ in range(num)]
            self.fixed_R = torch.tensor(rows, dtype=torch.long)
        self.first_rows = list(accumulate(lengths, initial=0))
        self.lengths = lengths
        self.max_positions = max(lengths) + 1

    def best_fills(self) -> tuple[Tensor, Tensor]:
        tokens_NP = torch.full((len(self.slots), self.max_positions), marks.NULL)
        best_N = torch.empty(len(self.slots))
        for n, (automaton, num_positions) in enumerate(self.slots):
            rows = slice(self.first_rows[n], self.first_rows[n] + num_positions)
            scores_1PU = self.score_RU[None, rows, : len(automaton.token_ids)]
            fixed_1P = None if self.fixed_R is None else self.fixed_R[None, rows]
            fill = best_fill(scores_1PU, self.null_R[None, rows], automaton, fixed_1P)
            tokens_NP[n, :num_positions] = fill.tokens_BP[0]
            best_N[n] = fill.score_B[0]
        return tokens_NP, best_N

    def operands(self, impl: Any) -> dict[str, Any]:
        """For `slot_decoding`, from `class_scores`."""
        languages = list(dict.fromkeys(automaton for automaton, _ in self.slots))
        number = {automaton: a for a, automaton in enumerate(languages)}
        automaton_N = integers([number[automaton] for automaton, _ in self.slots])
        classed = class_scores(
            self.score_RU.to(checks.DEVICE),
            self.null_R.to(checks.DEVICE),
            automaton_N.repeat_interleave(integers(self.lengths)),
            flat_classes(languages, checks.DEVICE),
            fixed_R=None if self.fixed_R is None else self.fixed_R.to(checks.DEVICE),
            impl=impl,
        )
        return {
            **classed._asdict(),
            "first_row_N": integers(self.first_rows),
            "automaton_N": automaton_N,
            "automata": flat_automata(languages, checks.DEVICE),
            "max_positions": self.max_positions,
        }


def integers(values: Any) -> Tensor:
    return torch.as_tensor(values, dtype=torch.int32, device=checks.DEVICE)


def assert_same(found: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor]) -> None:
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one.cpu(), other.cpu())


def decoded(impl: Any, operands: dict[str, Any], tiles: Tiles | None = None) -> Any:
    with checks.poisoned_memory():
        if tiles is not None:
            return slot_decoding_triton(**operands, tiles=tiles)
        return slot_decoding(**operands, impl=impl)


def drawing(seed: int, *, step: float = 0.0, forbidden: float = 0.0) -> Callable[..., Tensor]:
    """Normal scores; with `step` rounded to its multiples, so that many are equal; some -inf."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        drawn = torch.randn(shape, generator=generator)
        drawn = (drawn / step).round() * step if step else drawn
        return drawn.masked_fill(torch.rand(shape, generator=generator) < forbidden, float("-inf"))

    return draw


NAMES = ["empty", *SCHEMAS]
SEEDS = st.integers(0, 2**31)


@settings(max_examples=60, deadline=None)
@given(
    slots=st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 6)), min_size=1, max_size=4),
    seed=SEEDS,
    step=st.sampled_from([0.0, 0.0, 1.0]),
    forbidden=st.sampled_from([0.0, 0.3]),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
)
def test_ragged_slots_get_the_tokens_of_best_fill(slots, seed, step, forbidden, dtype):
    chosen = [(automata()[name], num_positions) for name, num_positions in slots]
    batch = Batch(chosen, drawing(seed, step=step, forbidden=forbidden), dtype)
    wanted = batch.best_fills()
    for impl in IMPLS:
        assert_same(decoded(impl, batch.operands("reference")), wanted)


@settings(max_examples=15, deadline=None)
@given(
    slots=st.lists(st.tuples(st.sampled_from(NAMES), st.integers(1, 4)), min_size=1, max_size=3),
    seed=SEEDS,
    data=st.data(),
)
def test_decided_positions_keep_their_tokens(slots, seed, data):
    def fix(automaton: TokenAutomaton) -> int:
        known = automaton.token_ids.tolist()
        some = st.sampled_from([marks.UNDECIDED, marks.NULL, *known[:40:5], 10**6])
        return data.draw(st.just(marks.UNDECIDED) | some)

    chosen = [(automata()[name], num_positions) for name, num_positions in slots]
    batch = Batch(chosen, drawing(seed), fix=fix)
    wanted = batch.best_fills()
    for impl in IMPLS:
        assert_same(decoded(impl, batch.operands("reference")), wanted)


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_of_tokens_whose_sums_round_to_the_same_the_best_of_its_class_is_taken(seed):
    batch = Batch([(automata()["letters"], 6)], drawing(seed))
    batch.null_R -= 1e7  # and three positions must stay unused
    wanted = batch.best_fills()
    for impl in IMPLS:
        assert_same(decoded(impl, batch.operands("reference")), wanted)


@pytest.mark.parametrize(
    "tiles", [Tiles(16, 4, 1), Tiles(4, 16, 1), Tiles(64, 2, 2), Tiles(128, 128, 4)], ids=str
)
def test_every_tile_gives_the_same(tiles):
    slots = [(automata()[name], 4) for name in ("short string", "pattern", "integer")]
    batch = Batch(slots, drawing(3, step=1.0))
    assert_same(decoded("triton", batch.operands("reference"), tiles), batch.best_fills())


def test_no_position_is_left_unwritten_and_single_slots_work():
    for name in NAMES:
        for num_positions in (0, 1):
            batch = Batch([(automata()[name], num_positions)], drawing(1))
            wanted = batch.best_fills()
            for impl in IMPLS:
                assert_same(decoded(impl, batch.operands(impl)), wanted)


def test_no_slots_and_no_positions_are_fine():
    batch = Batch([(automata()["enum"], 3)], drawing(0))
    operands = batch.operands("reference")
    nothing = {"automaton_N": integers([]), "first_row_N": integers([0])}
    for impl in IMPLS:
        tokens_NP, best_N = decoded(impl, {**operands, **nothing})
        assert (tokens_NP.shape, best_N.shape) == ((0, 4), (0,))
        tokens_NP, best_N = decoded(impl, {**operands, "max_positions": 0})
        assert tokens_NP.shape == (1, 0)
        assert best_N.tolist() == [float("-inf")]  # the empty text is none of them


def test_rows_beyond_max_positions_are_left_out():
    batch = Batch([(automata()["string"], 6)], drawing(5))
    operands = {**batch.operands("reference"), "max_positions": 4}
    short = Batch([(automata()["string"], 4)], drawing(0))
    short.score_RU, short.null_R, short.max_positions = batch.score_RU[:4], batch.null_R[:4], 4
    for impl in IMPLS:
        assert_same(decoded(impl, operands), short.best_fills())


def test_scores_may_be_part_of_wider_tensors():
    batch = Batch([(automata()["enum"], 3), (automata()["date"], 5)], drawing(7))
    operands = batch.operands("reference")
    wanted = batch.best_fills()
    wide = torch.full((8, 3 * operands["score_RC"].shape[1]), float("nan"), device=checks.DEVICE)
    num_classes = operands["score_RC"].shape[1]
    for columns in (slice(num_classes), slice(None, None, 3)):
        view = wide[:, columns]
        view.copy_(operands["score_RC"])
        ids = operands["token_RC"].long()
        for impl in IMPLS:
            assert_same(
                decoded(impl, {**operands, "score_RC": view, "token_RC": ids}),
                wanted,
            )


def test_the_constants_are_those_of_best_fill():
    from smoldiff.decode import slots

    assert (marks.NULL, marks.UNDECIDED) == (slots.NULL, slots.UNDECIDED)


WRONG = [
    ("score_RC", lambda t: t.double(), TypeError, "convert it"),
    ("score_RC", lambda t: t[0], ValueError, "rows, classes"),
    ("score_RC", lambda t: t[:, :1], ValueError, "rows, classes"),
    ("token_RC", lambda t: t.float(), TypeError, "convert it"),
    ("null_R", lambda t: t[1:], ValueError, "must be"),
    ("first_row_N", lambda t: t[1:], ValueError, r"N \+ 1"),
    ("first_row_N", lambda t: t.long(), TypeError, "convert it"),
    ("automaton_N", lambda t: t.to("meta"), ValueError, "move one"),
    ("max_positions", lambda _: -1, ValueError, "negative"),
    ("automata", lambda one: replace(one, max_classes=10**6), ValueError, "classes"),
]


@pytest.mark.parametrize(
    ("name", "change", "error", "says"), WRONG, ids=[f"{name}, {says}" for name, *_, says in WRONG]
)
def test_what_does_not_fit_is_refused(name, change, error, says):
    operands = Batch([(automata()["enum"], 3)], drawing(0)).operands("reference")
    with pytest.raises(error, match=says):
        slot_decoding(**{**operands, name: change(operands[name])})


def test_malformed_automata_are_refused():
    good = flat_automata([automata()["enum"]], checks.DEVICE)
    with pytest.raises(TypeError, match="accepts_S"):
        replace(good, accepts_S=good.accepts_S.int())
    with pytest.raises(ValueError, match="one entry more"):
        replace(good, first_state_A=good.first_state_A[:1])
    with pytest.raises(ValueError, match="each state"):
        replace(good, first_quad_S=good.first_quad_S[1:])
    with pytest.raises(ValueError, match="QUAD"):
        replace(good, class_E=good.class_E[1:], target_E=good.target_E[1:])


def grown(num_states: int, num_edges: int, num_classes: int, seed: int) -> TokenAutomaton:
    """An automaton of any size, one token a class; every state has `num_edges` edges."""
    generator = np.random.default_rng(seed)
    classes = [
        np.sort(generator.choice(num_classes, num_edges, replace=False)) for _ in range(num_states)
    ]
    return TokenAutomaton(
        automata()["enum"].vocabulary,
        token_ids=np.arange(num_classes, dtype=np.int32) * 3,
        classes=generator.permutation(num_classes).astype(np.int32),
        accepts=generator.random(num_states) < 0.2,
        source=np.repeat(np.arange(num_states, dtype=np.int32), num_edges),
        cls=np.concatenate(classes).astype(np.int32),
        target=generator.integers(0, num_states, num_states * num_edges).astype(np.int32),
        min_tokens=1,
    )


@pytest.mark.parametrize(
    ("num_slots", "num_positions", "num_states", "num_edges"),
    [
        (1, 1, 1, 1),
        (2, 3, 5, 3),
        (3, 2, 37, 19),
        pytest.param(16, 16, 64, 16, marks=GPU),
        pytest.param(64, 33, 577, 17, marks=GPU),
        pytest.param(2, 24, 10_000, 9, marks=GPU),
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_sizes(num_slots, num_positions, num_states, num_edges, dtype):
    languages = [grown(num_states, num_edges, max(40, num_edges), seed) for seed in range(3)]
    slots = [(languages[n % 3], num_positions) for n in range(num_slots)]
    batch = Batch(slots, drawing(num_slots, forbidden=0.1), dtype)
    wanted = batch.best_fills()
    operands = batch.operands("auto")
    for impl in IMPLS:
        assert_same(decoded(impl, operands), wanted)


@pytest.mark.gpu
@NEEDS_GPU
def test_a_cuda_graph_holds_it():
    languages = [grown(64, 16, 40, seed) for seed in range(3)]
    slots = [(languages[n % 3], 3 + n) for n in range(8)]
    first, second = (Batch(slots, drawing(seed)) for seed in (0, 1))
    operands, later = first.operands("triton"), second.operands("triton")
    slot_decoding(**operands)  # compiles
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = slot_decoding(**operands)
    graph.replay()
    assert_same(found, first.best_fills())
    for name in ("score_RC", "token_RC", "null_R"):
        operands[name].copy_(later[name])
    graph.replay()
    assert_same(found, second.best_fills())
