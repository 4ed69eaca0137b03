"""What is compiled and captured before the first request, here on a CPU that makes drafts as a GPU does."""

import copy
import time

import pytest
import torch

import smoldiff
from smoldiff.decode import denoise
from smoldiff.decode.graphed import Drafts
from smoldiff.head.projected import can_be_projected
from smoldiff.scaffold.compile import compile_schema
from smoldiff.scaffold.style import SPACED
from smoldiff_integrations.vllm import batch, warming
from smoldiff_integrations.vllm.counters import Counters
from smoldiff_integrations.vllm.drafting import RequestDrafts
from smoldiff_integrations.vllm.head import ReadyHead
from smoldiff_integrations.vllm.schema import Constraint

BOOKING = {
    "type": "object",
    "properties": {
        "restaurant": {"type": "string"},
        "people": {"type": "integer", "minimum": 1},
        "outdoor": {"type": "boolean"},
    },
    "required": ["restaurant"],
}


@pytest.fixture(scope="module")
def model():
    return smoldiff.load("smoldiff-nano", device="cpu")


@pytest.fixture
def ready(model):
    return ReadyHead(copy.deepcopy(model.head), model.tables)


def as_a_gpu(monkeypatch):
    for module in (denoise, warming):
        monkeypatch.setattr(module, "serves", lambda head, _: can_be_projected(head.config))


def test_on_a_cpu_there_is_nothing_to_warm(model, ready, monkeypatch):
    monkeypatch.setattr(warming, "RequestDrafts", None)
    warming.warm_up(ready, model.vocabulary)


@pytest.mark.parametrize("seed", range(6))
def test_behind_it_a_request_finds_all_its_graphs(model, ready, monkeypatch, seed):
    torch.manual_seed(seed)  # states say nothing, so drafts of all lengths come up
    as_a_gpu(monkeypatch)
    warming.warm_up(ready, model.vocabulary)
    num_cold = Drafts.num_cold_of(ready.head)
    assert num_cold
    constraint = Constraint((compile_schema(BOOKING),))
    drafts = RequestDrafts(constraint, model.vocabulary, frozenset(), list(range(300)), ready)
    ids = drafts.propose([], 64, None)
    states_TS = torch.randn(400, ready.head.fuse.in_features)
    drafts.see([], ids, lambda start, stop: states_TS[start:stop])
    assert drafts.propose([], 64, None)
    assert Drafts.num_cold_of(ready.head) == num_cold


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_a_request_waits_for_no_compiler_and_no_capture():
    model = smoldiff.load("smoldiff-nano", device="cuda")
    ready = ReadyHead(model.head, model.tables)
    warming.warm_up(ready, model.vocabulary)
    num_cold = Drafts.num_cold_of(ready.head)
    drafts = RequestDrafts(
        Constraint((compile_schema(BOOKING),)),
        model.vocabulary,
        frozenset(),
        list(range(300)),
        ready,
    )
    ids = drafts.propose([], 64, None)
    states_TS = torch.randn(400, ready.head.fuse.in_features).to(ready.tables.embedding_VH)
    drafts.see([], ids, lambda start, stop: states_TS[start:stop])
    began = time.perf_counter()
    assert drafts.propose([], 64, None)
    assert time.perf_counter() - began < 0.1
    assert Drafts.num_cold_of(ready.head) == num_cold


def test_a_server_starts_without_a_head_that_cannot_draft(model, ready, monkeypatch):
    as_a_gpu(monkeypatch)
    monkeypatch.setattr(Drafts, "fill", lambda *_: 1 / 0)
    one = batch.BatchDrafts(
        model.vocabulary, (SPACED,), frozenset({"copy"}), 64, Counters(), head=ready
    )
    one.warm_up()
    assert one.head is None
