"""A head's pass in few launches against the plain one."""

import pytest
import torch
from draft_cases import ALL_RULES, SEEDS, TOKENIZER, Case, heads_of_all_tastes
from heads import small_model

from smoldiff.head.fused import FusedHead
from smoldiff.head.inputs import Queries


@pytest.fixture(scope="module")
def model():
    return small_model(tokenizer=TOKENIZER)


@pytest.fixture(scope="module")
def heads(model):
    return heads_of_all_tastes(model)


@pytest.mark.parametrize("seed", SEEDS)
@torch.inference_mode()
def test_the_states_are_those_of_the_plain_pass(model, heads, seed):
    case = Case(model, heads[seed], ALL_RULES)
    queries = Queries.of([[query for one in case.asked for query in one.queries]])
    num = queries.block_BQ.shape[1]
    wanted = heads[seed].encode(case.memory, queries, case.denoiser.tables)
    found = FusedHead(heads[seed], case.denoiser.tables).encode(case.memory, queries)
    torch.testing.assert_close(found.h_QH, wanted.h_BQH[0], rtol=1e-4, atol=1e-5)
    if heads[seed].config.has_anchor:
        row_Q, query_Q = torch.zeros(num, dtype=torch.long), torch.arange(num)
        anchored_QD = heads[seed].anchored(wanted, row_Q, query_Q)
        torch.testing.assert_close(found.anchored_QD, anchored_QD, rtol=1e-4, atol=1e-5)
    else:
        assert found.anchored_QD is None
