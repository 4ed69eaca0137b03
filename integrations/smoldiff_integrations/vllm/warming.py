"""What a GPU compiles and captures for drafts with the head, done before the first request has to wait for it."""

from __future__ import annotations

import logging
import time

from smoldiff.decode.graphed import serves
from smoldiff.scaffold.compile import compile_schema
from smoldiff.template.vocabulary import Vocabulary
from smoldiff_integrations.vllm.drafting import RequestDrafts
from smoldiff_integrations.vllm.head import ReadyHead
from smoldiff_integrations.vllm.schema import Constraint

SCHEMAS = (
    {"type": "object", "properties": {"text": {"type": "string"}, "number": {"type": "integer"}}},
    {"type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"]},
)
"""Long and short slots, and something to decide."""
NUM_PROMPT = (500, 1500)
NUM_PASSES = 3
"""The first compiles, the second captures."""
MAX_TOKENS = 64

log = logging.getLogger("vllm.smoldiff")


def warm_up(ready: ReadyHead, vocabulary: Vocabulary) -> None:
    """Draft a few answers to nothing. Does nothing where drafts with the head need no warming."""
    table_VH = ready.tables.embedding_VH
    if not serves(ready.head, table_VH.device):
        return
    began = time.perf_counter()
    width = len(ready.head.config.taps) * table_VH.shape[1]

    for schema in SCHEMAS:
        constraint = Constraint((compile_schema(schema),))
        for num_prompt in NUM_PROMPT:
            drafts = RequestDrafts(constraint, vocabulary, frozenset(), [0] * num_prompt, ready)
            ids = drafts.propose([], MAX_TOKENS, None)
            for _ in range(NUM_PASSES):
                drafts.see([], ids, lambda start, stop: table_VH.new_zeros(stop - start, width))
                ids = drafts.propose([], MAX_TOKENS, None)
    log.info("smoldiff made the head ready in %.0f s", time.perf_counter() - began)
