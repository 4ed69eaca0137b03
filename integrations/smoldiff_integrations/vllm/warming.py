"""What a GPU compiles and captures for drafts with the head, done before the first request has to wait for it."""

from __future__ import annotations

import logging
import time
from itertools import product

import torch
from torch import Tensor

from smoldiff.decode.denoise import Denoiser
from smoldiff.decode.graphed import Drafts, SlotStart, serves
from smoldiff.head.inputs import KINDS, NO_TOKEN, SLOTS, Query
from smoldiff.head.readings import MAX_MATCH
from smoldiff.scaffold.compile import compile_schema
from smoldiff.schema.nodes import String
from smoldiff.template.languages import slot_automaton
from smoldiff.template.template import MASK
from smoldiff.template.vocabulary import Vocabulary
from smoldiff_integrations.vllm.drafting import RequestDrafts
from smoldiff_integrations.vllm.head import ReadyHead
from smoldiff_integrations.vllm.schema import Constraint

SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}}
"""Something to decide, and a slot of the commonest language."""
NUM_TOKENS, NUM_QUERIES, NUM_POSITIONS = (1024, 2048), (64, 128), (8, 16)
"""The most of the buckets that nearly all requests fall in: tokens seen, queries, positions of a slot."""
NUM_PASSES = 3
"""The first compiles, the second captures, the third replays."""
MAX_TOKENS = 64

log = logging.getLogger("vllm.smoldiff")


def warm_up(ready: ReadyHead, vocabulary: Vocabulary) -> None:
    """Draft answers to nothing. Does nothing where drafts with the head need no warming."""
    if not serves(ready.head, ready.tables.embedding_VH.device):
        return
    began = time.perf_counter()
    _play(ready, vocabulary)
    _capture(ready, vocabulary)
    log.info("smoldiff made the head ready in %.0f s", time.perf_counter() - began)


def _play(ready: ReadyHead, vocabulary: Vocabulary) -> None:
    """A request from its prompt on: what is compiled beside the graphs."""
    constraint = Constraint((compile_schema(SCHEMA),))
    drafts = RequestDrafts(constraint, vocabulary, frozenset(), [0] * NUM_TOKENS[0], ready)
    ids = drafts.propose([], MAX_TOKENS, None)
    for _ in range(NUM_PASSES):
        drafts.see([], ids, lambda start, stop: _states(ready, stop - start))
        ids = drafts.propose([], MAX_TOKENS, None)


@torch.inference_mode()
def _capture(ready: ReadyHead, vocabulary: Vocabulary) -> None:
    """The graphs of all these sizes."""
    table_VH = ready.tables.embedding_VH
    denoiser = Denoiser(ready.head, ready.tables, vocabulary)
    drafts = Drafts.of(ready.head, ready.tables, table_VH.device)
    automaton = slot_automaton(String("/text"), vocabulary, max(NUM_POSITIONS))
    query = Query(SLOTS, KINDS.index("string"), 0, 0, 0, 0, False, MASK, ())
    history = [NO_TOKEN] * MAX_MATCH
    for num_tokens, num_queries in product(NUM_TOKENS, NUM_QUERIES):
        memory = denoiser.remember([0] * num_tokens, _states(ready, num_tokens), 0)
        queries = [query] * num_queries
        for _ in range(NUM_PASSES):
            drafts.decide(memory, queries)
            for num_left in NUM_POSITIONS:
                start = SlotStart(0, automaton, 0, num_left, history)
                drafts.fill(ready.head, memory, queries, [start])


def _states(ready: ReadyHead, num_tokens: int) -> Tensor:
    """[L, S] of a base that says nothing."""
    table_VH = ready.tables.embedding_VH
    return table_VH.new_zeros(num_tokens, len(ready.head.config.taps) * table_VH.shape[1])
