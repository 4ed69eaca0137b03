"""Examples as one batch of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smoldiff.head.inputs import NO_TOKEN, stacked
from smoldiff.head.readings import MAX_MATCH
from smoldiff.head.tool_guess import NUM_QUERY_TOKENS, NUM_TOOL_TOKENS
from smoldiff_training.data.targets import Target
from smoldiff_training.head.examples import IGNORED, NO_GROUP, Example

# Shapes: B examples, N tokens that the base is fed, Q queries, M tokens of a history, T best tokens of the base, G questions.

Batch = dict[str, Tensor]


def collate(examples: Sequence[Example], targets: Sequence[Target]) -> Batch:
    """Padded to the longest of the batch. `targets` are those that the examples were made of."""
    shape = (len(examples), max(1, *(len(one.labelled) for one in examples)))
    top_k = targets[0].topk_ids.shape[1]
    num_fed = max(len(one.ids) for one in examples)
    arrays: dict[str, Any] = {
        "ids_BN": np.zeros((len(examples), num_fed), dtype=np.int64),
        "positions_BN": np.tile(np.arange(num_fed), (len(examples), 1)),
        "fed_in_BN": np.zeros((len(examples), num_fed), dtype=np.int64),
        "lengths_B": np.array([len(one.ids) for one in examples]),
        "prompts_B": np.array([one.num_prompt for one in examples]),
        "label_BQ": np.full(shape, IGNORED, dtype=np.int64),
        "history_BQM": np.full((*shape, MAX_MATCH), NO_TOKEN, dtype=np.int64),
        "slot_BQ": np.zeros(shape, dtype=np.int64),
        "moment_BQ": np.zeros(shape, dtype=np.int64),
        "share_BQ": np.ones(shape, dtype=np.float32),
        "teacher_ids_BQT": np.zeros((*shape, top_k), dtype=np.int64),
        "teacher_p_BQT": np.zeros((*shape, top_k), dtype=np.float32),
        "group_BQ": np.full(shape, NO_GROUP, dtype=np.int64),
        "is_right_BQ": np.zeros(shape, dtype=bool),
    }
    implicit: list[bool] = []
    has_implicit: list[bool] = []
    for b, (one, target) in enumerate(zip(examples, targets, strict=True)):
        arrays["ids_BN"][b, : len(one.ids)] = one.ids
        if one.moments:
            arrays["positions_BN"][b, : len(one.ids)] = positions(one)
            arrays["fed_in_BN"][b, : len(one.ids)] = one.moments
        rows, num = one.labelled, len(one.labelled)
        arrays["moment_BQ"][b, :num] = [row.moment for row in rows]
        arrays["label_BQ"][b, :num] = [row.label for row in rows]
        arrays["history_BQM"][b, :num] = [row.history for row in rows]
        arrays["slot_BQ"][b, :num] = [row.slot for row in rows]
        arrays["share_BQ"][b, :num] = [row.masked_share for row in rows]
        arrays["is_right_BQ"][b, :num] = [row.is_right_option for row in rows]
        teacher_Q = np.array([row.teacher for row in rows], dtype=np.int64)
        at_Q = np.flatnonzero(teacher_Q >= 0)
        arrays["teacher_ids_BQT"][b, at_Q] = target.topk_ids[teacher_Q[at_Q]]
        arrays["teacher_p_BQT"][b, at_Q] = np.exp(
            target.topk_logp[teacher_Q[at_Q]].astype(np.float32)
        )
        group_Q = np.array([row.group for row in rows], dtype=np.int64)
        arrays["group_BQ"][b, :num] = np.where(group_Q >= 0, group_Q + len(implicit), NO_GROUP)
        implicit += one.implicit
        has_implicit += one.has_implicit
    arrays |= guesses(examples)
    arrays["implicit_G"] = np.array(implicit, dtype=bool)
    arrays["has_implicit_G"] = np.array(has_implicit, dtype=bool)
    queries = stacked([[row.query for row in one.labelled] for one in examples])
    return {name: torch.from_numpy(array) for name, array in {**queries, **arrays}.items()}


def positions(example: Example) -> list[int]:
    """Where each token stands in its own text: every moment goes on behind the prompt."""
    found: list[int] = []
    for moment in example.moments:
        is_first = moment != (example.moments[len(found) - 1] if found else 0)
        found.append(example.num_prompt if is_first else (found[-1] + 1 if found else 0))
    return found


def guesses(examples: Sequence[Example]) -> dict[str, Any]:
    """The arrays of the tool guess; the right tool is -1 where there is nothing to guess."""
    num_tools = max((len(e.guess.tools_KM) for e in examples if e.guess), default=1)
    query_BL = np.full((len(examples), NUM_QUERY_TOKENS), NO_TOKEN, dtype=np.int64)
    tools_BKM = np.full((len(examples), num_tools, NUM_TOOL_TOKENS), NO_TOKEN, dtype=np.int64)
    right_B = np.full(len(examples), -1, dtype=np.int64)
    for b, example in enumerate(examples):
        if example.guess is not None:
            query_BL[b] = example.guess.query_L
            tools_BKM[b, : len(example.guess.tools_KM)] = example.guess.tools_KM
            right_B[b] = example.guess.right
    return {"guess_query_BL": query_BL, "guess_tools_BKM": tools_BKM, "guess_right_B": right_B}
