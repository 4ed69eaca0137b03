"""Which tool a conversation is about, guessed before the base has run: the first draft has to name one.

Two bags of token embeddings, each token with a weight of its own, and the words that the two share. It costs less than a
millisecond, and a wrong guess costs nothing but a draft.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from smoldiff.head.inputs import NO_TOKEN

# Shapes: B conversations, K tools of each, L tokens of a conversation's end, M tokens of a tool's text, V vocabulary,
# D hidden size of the base, R width of the comparison.

NUM_QUERY_TOKENS = 96
NUM_TOOL_TOKENS = 40
WIDTH = 64
_NEVER = -1e9
_LEAST = -20.0


class ToolGuess(nn.Module):
    def __init__(self, base_size: int, vocab_size: int) -> None:
        super().__init__()
        self.query_weights = nn.Parameter(torch.zeros(vocab_size))
        self.tool_weights = nn.Parameter(torch.zeros(vocab_size))
        self.query_places = nn.Parameter(torch.zeros(NUM_QUERY_TOKENS))
        """Counted from the end."""
        self.tool_places = nn.Parameter(torch.zeros(NUM_TOOL_TOKENS))
        self.query_in = nn.Linear(base_size, WIDTH, bias=False)
        self.tool_in = nn.Linear(base_size, WIDTH, bias=False)
        self.shared = nn.Parameter(torch.ones(1))

    def forward(self, query_BL: Tensor, tools_BKM: Tensor, embedding_VD: Tensor) -> Tensor:
        """A score for each tool, [B, K] float32; a tool without a token scores least.

        query_BL holds a conversation's last tokens, NO_TOKEN in front of a shorter one; tools_BKM the first tokens of
        each tool's text, NO_TOKEN behind them.
        """
        is_query_BL, is_tool_BKM = query_BL != NO_TOKEN, tools_BKM != NO_TOKEN
        query_BL, tools_BKM = query_BL.clamp(min=0), tools_BKM.clamp(min=0)
        weight_BL = self.query_weights[query_BL] + self.query_places[-query_BL.shape[1] :]
        weight_BL = weight_BL.float().masked_fill(~is_query_BL, _NEVER)
        weight_BKM = self.tool_weights[tools_BKM] + self.tool_places[: tools_BKM.shape[2]]
        weight_BKM = weight_BKM.float().masked_fill(~is_tool_BKM, _NEVER)
        query_BR = self.query_in(_mean(query_BL, weight_BL, embedding_VD, self.shared))
        tools_BKR = self.tool_in(_mean(tools_BKM, weight_BKM, embedding_VD, self.shared))
        alike_BK = (query_BR[:, None] * tools_BKR).sum(-1).float() / WIDTH**0.5
        shared_BK = _shared(query_BL, weight_BL, tools_BKM, weight_BKM)
        score_BK = alike_BK + self.shared.float() * shared_BK
        return score_BK.masked_fill(~is_tool_BKM.any(-1), _NEVER)


def _mean(ids: Tensor, weights: Tensor, embedding_VD: Tensor, like: Tensor) -> Tensor:
    """The weighted mean of the tokens' embeddings, over the last dimension."""
    tokens = nn.functional.rms_norm(embedding_VD[ids].float(), embedding_VD.shape[-1:], eps=1e-6)
    return (weights.softmax(-1)[..., None] * tokens).sum(-2).to(like.dtype)


def _shared(query_BL: Tensor, weight_BL: Tensor, tools_BKM: Tensor, weight_BKM: Tensor) -> Tensor:
    """How much each tool's tokens weigh that stand in the query too, each with its heaviest place there: [B, K]."""
    is_same_BKML = tools_BKM[..., None] == query_BL[:, None, None]
    found_BKML = is_same_BKML * weight_BL[:, None, None].clamp(min=_LEAST).exp()
    return (found_BKML.amax(-1) * weight_BKM.clamp(min=_LEAST).exp()).sum(-1)
