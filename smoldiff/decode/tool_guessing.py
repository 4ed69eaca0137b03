"""Which tool the first draft names: the head's guess, as arrays and as an answer, or that of the words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from smoldiff.decode.ranking import (
    MAX_TAIL_TOKENS,
    conversation_end,
    likely_tool,
    tool_text,
    tool_tokens,
)
from smoldiff.head.inputs import NO_TOKEN
from smoldiff.head.model import DiffusionHead
from smoldiff.head.tables import Tables
from smoldiff.head.tool_guess import NUM_QUERY_TOKENS, NUM_TOOL_TOKENS
from smoldiff.schema.source import Tool
from smoldiff.template.vocabulary import Vocabulary

# Shapes: K tools, L tokens of the conversation's end, M tokens of a tool's text.


def first_tool(
    vocabulary: Vocabulary,
    tools: Sequence[Tool],
    prompt_ids: Sequence[int],
    head: DiffusionHead | None,
    tables: Tables | None,
) -> int:
    """The number of the tool that the first draft names; a head comes with the tables that it shares with its base."""
    if len(tools) < 2:
        return 0
    if head is not None and tables is not None and head.config.has_tool_guess:
        return guessed_tool(head, tables, vocabulary, tools, prompt_ids)
    end = conversation_end(vocabulary, prompt_ids, tools, MAX_TAIL_TOKENS)
    return likely_tool(tools, vocabulary.bytes_of(end).decode(errors="replace"))


@torch.inference_mode()
def guessed_tool(
    head: DiffusionHead,
    tables: Tables,
    vocabulary: Vocabulary,
    tools: Sequence[Tool],
    prompt_ids: Sequence[int],
) -> int:
    """The number of the tool that the head thinks is called."""
    query_L, tools_KM = guess_arrays(vocabulary, tools, prompt_ids)
    device = tables.embedding_VH.device
    query_1L = torch.from_numpy(query_L)[None].to(device)
    tools_1KM = torch.from_numpy(tools_KM)[None].to(device)
    return int(head.tool_guess(query_1L, tools_1KM, tables.embedding_VH)[0].argmax())


def guess_arrays(
    vocabulary: Vocabulary, tools: Sequence[Tool], prompt_ids: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The conversation's end [L] and the tools' texts [K, M] as token ids."""
    end = conversation_end(vocabulary, prompt_ids, tools, NUM_QUERY_TOKENS)
    query_L = np.full(NUM_QUERY_TOKENS, NO_TOKEN, dtype=np.int64)
    query_L[NUM_QUERY_TOKENS - len(end) :] = end
    tools_KM = np.full((len(tools), NUM_TOOL_TOKENS), NO_TOKEN, dtype=np.int64)
    for k, tool in enumerate(tools):
        ids = tool_tokens(vocabulary, tool_text(tool), NUM_TOOL_TOKENS)
        tools_KM[k, : len(ids)] = ids
    return query_L, tools_KM
