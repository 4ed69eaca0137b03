"""The guess of the tool: what counts is which tokens are there, not in which order the tools are given."""

import pytest
import torch

from smoldiff.head.inputs import NO_TOKEN
from smoldiff.head.tool_guess import NUM_QUERY_TOKENS, NUM_TOOL_TOKENS, ToolGuess

EMBEDDING_VD = torch.randn(50, 16, generator=torch.Generator().manual_seed(0))
TOOLS = [[3, 4, 5], [6, 7], [8, 9, 10, 11]]


@pytest.fixture
def guess():
    """One of random weights."""
    torch.manual_seed(0)
    found = ToolGuess(16, 50)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return found


def query_of(ids, num=NUM_QUERY_TOKENS):
    return torch.tensor([[NO_TOKEN] * (num - len(ids)) + ids])


def tools_of(tools, num=NUM_TOOL_TOKENS):
    return torch.tensor([[ids + [NO_TOKEN] * (num - len(ids)) for ids in tools]])


def test_tools_have_the_same_scores_in_any_order(guess):
    query = query_of([1, 7, 4, 2])
    scores = guess(query, tools_of(TOOLS), EMBEDDING_VD)[0]
    turned = guess(query, tools_of(TOOLS[::-1]), EMBEDDING_VD)[0]
    torch.testing.assert_close(scores, turned.flip(0))


def test_padding_changes_nothing(guess):
    wide = guess(query_of([1, 7, 4]), tools_of(TOOLS), EMBEDDING_VD)
    narrow = guess(query_of([1, 7, 4], 3), tools_of(TOOLS, 4), EMBEDDING_VD)
    torch.testing.assert_close(wide, narrow)


def test_what_is_no_tool_scores_least(guess):
    scores = guess(query_of([1, 7]), tools_of([*TOOLS, []]), EMBEDDING_VD)[0]
    assert scores.argmin() == 3
    assert scores.softmax(-1)[3] == 0
    torch.testing.assert_close(
        scores[:3], guess(query_of([1, 7]), tools_of(TOOLS), EMBEDDING_VD)[0]
    )


def test_a_conversation_in_a_batch_is_judged_as_it_is_alone(guess):
    queries, tools = torch.cat([query_of([1, 7]), query_of([9])]), tools_of(TOOLS).expand(2, -1, -1)
    together = guess(queries, tools, EMBEDDING_VD)
    for b in range(2):
        alone = guess(queries[b : b + 1], tools[:1], EMBEDDING_VD)
        torch.testing.assert_close(together[b : b + 1], alone)


def test_a_shared_word_speaks_for_a_tool_as_much_as_it_weighs(guess):
    query = query_of([1, 7, 30])
    before = guess(query, tools_of(TOOLS), EMBEDDING_VD)[0]
    with torch.no_grad():
        guess.tool_weights[7] += 3.0
        guess.query_weights[7] += 3.0
    after = guess(query, tools_of(TOOLS), EMBEDDING_VD)[0]
    assert after[1] - after[0] > before[1] - before[0]


def test_an_empty_conversation_is_no_error(guess):
    assert guess(query_of([]), tools_of(TOOLS), EMBEDDING_VD).isfinite().all()
