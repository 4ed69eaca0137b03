"""How far the width of a pass moves a logit: what `Base.tie_tolerance` has to cover."""

from collections.abc import Sequence

import torch
from calls.data import Example

from smoldiff.decode.chat import read_messages, render_prompt
from smoldiff.decode.model import Model
from smoldiff.schema.source import read_source


def largest_gap_shift(model: Model, example: Example, answer_ids: Sequence[int]) -> float:
    """The largest change of the gap between an answer's two best logits, one pass a token against one pass for all."""
    tools = read_source(list(example.tools)).tools
    prompt_ids = render_prompt(model.tokenizer, read_messages(list(example.messages)), tools)
    wide_TV = model.base.open().forward([[*prompt_ids, *answer_ids]], [len(answer_ids) + 1])[0]
    passes = model.base.open()
    feeds = [prompt_ids, *([token_id] for token_id in answer_ids)]
    narrow_TV = torch.cat([passes.forward([feed], [1])[0] for feed in feeds])
    best = narrow_TV.topk(2, dim=-1)
    wide_gap_T = wide_TV.gather(-1, best.indices).diff(dim=-1)
    return float((wide_gap_T - best.values.diff(dim=-1)).abs().max())
