"""Drafts in tensors of fixed shapes against those made position by position; their CUDA graphs where there is a GPU."""

import copy
import gc
import weakref
from dataclasses import fields

import pytest
import torch
from draft_cases import ALL_RULES, PROMPT, SEEDS, TOKENIZER, Case, heads_of_all_tastes, in_object
from heads import shaken_head, small_model
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import easy_schemas

from smoldiff.decode import denoise, graphed
from smoldiff.decode.denoise import Denoiser
from smoldiff.decode.graphed import Bucket, Drafts
from smoldiff.decode.walk_tables import WalkTables
from smoldiff.errors import SchemaError
from smoldiff.head.memory import Memory
from smoldiff.head.packed import Packing
from smoldiff.head.projected import can_be_projected
from smoldiff.head.tables import Tables

KNOWN = {"/date": "2024-0", "/text": "abab", "/integer": "10", "/enum": "cel"}


@pytest.fixture(scope="module")
def model():
    return small_model(tokenizer=TOKENIZER)


@pytest.fixture(scope="module")
def heads(model):
    return heads_of_all_tastes(model)


@pytest.fixture
def in_tensors(monkeypatch):
    """Drafts are made in tensors on a CPU too; counts them."""
    made = []

    def fill(self, *args):
        made.append(FILL(self, *args))
        return made[-1]

    monkeypatch.setattr(denoise, "serves", lambda head, _: can_be_projected(head.config))
    monkeypatch.setattr(Drafts, "fill", fill)
    return made


FILL = Drafts.fill


def results(fills):
    return {pointer: (one.token_ids, one.is_ended) for pointer, one in fills.items()}


def assert_equal(case, monkeypatch):
    found = case.fill()
    with monkeypatch.context() as plain:
        plain.setattr(denoise, "serves", lambda *_: False)
        wanted = case.fill()
    assert results(found) == results(wanted)
    for pointer, one in found.items():
        assert one.chances == pytest.approx(wanted[pointer].chances, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("known", [None, KNOWN], ids=["open", "begun"])
@pytest.mark.parametrize("positions", [None, 1, 3, 6])
@pytest.mark.parametrize("seed", SEEDS)
def test_slots_are_filled_as_position_by_position(
    model,
    heads,
    seed,
    positions,
    known,
    in_tensors,
    monkeypatch,
):
    assert_equal(Case(model, heads[seed], ALL_RULES, known, positions), monkeypatch)
    assert in_tensors[0] is not None


@settings(max_examples=40, deadline=None)
@given(easy_schemas(), st.sampled_from(SEEDS))
def test_any_schema_is_filled_as_position_by_position(model, heads, schema, seed):
    try:
        case = Case(model, heads[seed], schema)
    except SchemaError:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(denoise, "serves", lambda *_: True)
        assert_equal(case, patch)


@pytest.mark.parametrize("part", ["has_anchor", "has_confidence", "has_slot_positions"])
def test_a_head_without_a_part_fills_the_same(model, part, in_tensors, monkeypatch):
    assert_equal(Case(model, shaken_head(model, 5, **{part: False}), ALL_RULES), monkeypatch)
    assert in_tensors[0] is not None


def test_a_head_that_reads_the_prompt_alone_fills_the_same(model, in_tensors, monkeypatch):
    head = shaken_head(model, 5, has_template_states=False)
    case = Case(model, head, ALL_RULES)
    case.memory = case.memory.cut(len(PROMPT))  # the anchors are behind it
    assert_equal(case, monkeypatch)
    assert in_tensors[0] is not None


@pytest.mark.parametrize("part", ["has_markov", "has_copy", "has_null_row"])
def test_a_head_without_what_the_tables_are_made_of_goes_position_by_position(
    model,
    part,
    in_tensors,
):
    head = shaken_head(model, 5, **{part: False})
    assert Case(model, head, in_object(on={"type": "boolean"})).fill()
    assert in_tensors == []


def test_a_larger_bucket_changes_nothing(model, heads, in_tensors, monkeypatch):
    case = Case(model, heads[2], ALL_RULES)
    small = case.fill()
    monkeypatch.setattr(graphed, "LEAST", Bucket(128, 2048, 32, 64, 1024))
    large = case.fill()
    assert results(small) == results(large)
    for pointer, one in small.items():
        assert one.chances == pytest.approx(large[pointer].chances, rel=1e-4, abs=1e-6)


def test_the_next_draft_of_a_bucket_sees_nothing_of_the_last(model, heads, in_tensors, monkeypatch):
    schema = in_object(text={"type": "string"})
    Case(model, heads[1], schema, {"/text": "abab"}, positions=8).fill()
    assert_equal(Case(model, heads[1], schema, positions=5), monkeypatch)


def test_drafts_before_a_bucket_is_ready_are_counted(model, heads, in_tensors):
    head = copy.deepcopy(heads[0])
    case = Case(model, head, in_object(text={"type": "string"}))
    counts = [Drafts.num_cold_of(head)]
    for _ in range(3):
        case.fill()
        counts.append(Drafts.num_cold_of(head))
    assert counts == [0, 1, 1, 1]


def test_a_step_that_has_later_tokens_in_place_goes_position_by_position(
    model,
    heads,
    in_tensors,
):
    case = Case(model, heads[1], ALL_RULES)
    case.fill(num_steps=3)
    assert case.denoiser.num_passes == 3
    assert 1 <= len(in_tensors) < 3


def test_where_log_probabilities_are_wanted_each_position_is_asked(model, heads, in_tensors):
    case = Case(model, heads[0], in_object(on={"type": "boolean"}))
    (fill,) = case.denoiser.fill(case.memory, case.asked, 1, has_log_probs=True)
    assert in_tensors == []
    assert all(row is not None for row in fill.log_probs)


def test_too_many_slots_are_filled_position_by_position(
    model,
    heads,
    in_tensors,
    monkeypatch,
):
    monkeypatch.setattr(graphed, "MAX_SLOTS", 2)
    assert_equal(Case(model, heads[0], ALL_RULES), monkeypatch)
    assert in_tensors == [None]


def test_full_tables_begin_anew(model, heads, in_tensors, monkeypatch):
    monkeypatch.setattr("smoldiff.decode.walk_tables.MAX_AUTOMATA", 3)
    head = shaken_head(model, 7)
    kinds = [{"type": "boolean"}, {"type": "integer"}, {"type": "string"}, {"enum": ["C", "K"]}]
    for first, second in zip(kinds, kinds[1:] + kinds[:1], strict=True):
        assert_equal(Case(model, head, in_object(a=first, b=second)), monkeypatch)
    assert None not in in_tensors
    assert_equal(Case(model, head, in_object(**dict(zip("abcd", kinds, strict=True)))), monkeypatch)
    assert in_tensors[-1] is None


def test_an_automaton_is_copied_once(model, heads, in_tensors, monkeypatch):
    copied = []
    copy = WalkTables._copied
    monkeypatch.setattr(WalkTables, "_copied", lambda *args: copied.append(1) or copy(*args))
    head = shaken_head(model, 8)
    for _ in range(3):
        Case(model, head, in_object(on={"type": "boolean"}, off={"type": "boolean"})).fill()
    assert len(copied) == 1


def test_buckets_are_powers_of_two_from_the_least_on():
    assert Bucket.holding(1, 1, 1, 1, 1) == graphed.LEAST
    assert Bucket.holding(64, 1025, 17, 9, 513) == (64, 2048, 32, 16, 1024)


def test_a_head_that_is_gone_leaves_no_drafts(model, in_tensors):
    head = shaken_head(model, 9)
    case = Case(model, head, in_object(on={"type": "boolean"}))
    case.fill()
    drafts = weakref.ref(graphed._DRAFTS[head])
    del head, case
    gc.collect()
    assert drafts() is None


@pytest.mark.parametrize("seed", SEEDS)
def test_decisions_are_those_of_the_plain_pass(model, heads, seed, in_tensors, monkeypatch):
    case = Case(model, heads[seed], ALL_RULES)
    queries = [query for one in case.asked for query in one.queries]
    for some in (
        queries[:3],
        queries,
        queries[:1],
    ):  # what is left of an earlier question says nothing
        found = case.denoiser.decide(case.memory, some)
        with monkeypatch.context() as plain:
            plain.setattr(denoise, "serves", lambda *_: False)
            wanted = case.denoiser.decide(case.memory, some)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert case.denoiser.num_passes == 6


def test_what_was_read_is_copied_once(model, heads, in_tensors, monkeypatch):
    case = Case(model, heads[0], in_object(on={"type": "boolean"}))
    copied = []
    packed = Packing.packed
    monkeypatch.setattr(Packing, "packed", lambda *args: copied.append(1) or packed(*args))
    plain = Memory(**{field.name: getattr(case.memory, field.name) for field in fields(Memory)})
    queries = [query for one in case.asked for query in one.queries]
    first = case.denoiser.decide(plain, queries)
    assert torch.equal(case.denoiser.decide(plain, queries), first)
    assert len(copied) == 1
    case.denoiser.decide(case.memory.cut(2), queries)
    assert torch.equal(case.denoiser.decide(plain, queries), first)
    assert len(copied) == 3  # the shorter one too, and the longer one again


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def on_gpu(case, head):
    """The case's denoiser and memory, on the GPU."""
    tables = Tables(*(getattr(case.denoiser.tables, f.name).cuda() for f in fields(Tables)))
    moved = {
        f.name: tuple(x.cuda() for x in value) if isinstance(value, tuple) else value.cuda()
        for f in fields(Memory)
        for value in [getattr(case.memory, f.name)]
    }
    return Denoiser(head, tables, case.denoiser.vocabulary), Memory(**moved)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("seed", SEEDS)
def test_replayed_graphs_fill_as_a_cpu_does(model, heads, seed):
    head = copy.deepcopy(heads[seed]).cuda()
    schemas = [ALL_RULES, in_object(on={"type": "boolean"}), in_object(text={"type": "string"})]
    for schema in schemas * 3:
        case = Case(model, heads[seed], schema)
        wanted = case.fill()
        denoiser, memory = on_gpu(case, head)
        if head in graphed._DRAFTS:  # the same base as before
            denoiser.tables = graphed._DRAFTS[head].projected.tables
        fills = denoiser.fill(memory, case.asked, 1)
        found = {one.asked.open_slot.pointer: one for one in fills}
        assert results(found) == results(wanted)
        for pointer, one in found.items():
            assert one.chances == pytest.approx(wanted[pointer].chances, rel=1e-3, abs=1e-5)
        queries = [query for one in case.asked for query in one.queries]
        decided, known = (
            denoiser.decide(memory, queries),
            case.denoiser.decide(case.memory, queries),
        )
        torch.testing.assert_close(decided, known, rtol=1e-3, atol=1e-4)
    buckets = graphed._DRAFTS[head]._graphs
    assert len(buckets) <= 2 * len(schemas)
    assert all(graph._captured is not None for graph in buckets.values())


@pytest.mark.gpu
@needs_gpu
def test_nothing_in_a_draft_waits_for_the_device(model, heads):
    head = copy.deepcopy(heads[0]).cuda()
    denoiser, memory = on_gpu(case := Case(model, heads[0], ALL_RULES), head)
    denoiser.fill(memory, case.asked, 1)
    (graph,) = graphed._DRAFTS[head]._graphs.values()
    torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.inference_mode():
            graph.drafted()
    finally:
        torch.cuda.set_sync_debug_mode("default")
