"""A step of vLLM's engine as drafters see it: the one place that reads the model runner's state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

# Shapes: N tokens of the step, H hidden size, L rows of logits, V vocabulary.


@dataclass(frozen=True, slots=True)
class Row:
    """One request of a batch after its step."""

    request_id: str
    prompt_ids: Sequence[int]
    written: list[int]
    """The answer's tokens, those of this step among them."""
    num_new: int
    """Tokens that this step gave; 0 while the prompt is still read."""
    drafted: Sequence[int]
    """Draft tokens that this step verified: the proposed ones as far as the grammar took them."""
    first_logit: int
    """Where the row's logits begin, one for each drafted token and one more."""
    sampling_params: Any


@dataclass(frozen=True, slots=True)
class Step:
    """What the hook around `propose_draft_token_ids` was called with."""

    scheduler_output: Any
    logits_LV: Tensor | None
    """As the sampler got them, behind the grammar's mask; None where they were not seen."""

    def rows(self, runner: Any, sampled: Sequence[Sequence[int]]) -> Iterator[Row | None]:
        """The batch's requests in its order; None for one without token ids."""
        drafts = self.scheduler_output.scheduled_spec_decode_tokens
        first_logit = 0
        for request_id, new in zip(runner.input_batch.req_ids, sampled, strict=False):
            state = runner.requests[request_id]
            drafted = drafts.get(request_id) or ()
            if state.prompt_token_ids is None or state.sampling_params is None:
                yield None
            else:
                yield Row(
                    request_id,
                    state.prompt_token_ids,
                    list(state.output_token_ids),
                    len(new),
                    drafted,
                    first_logit,
                    state.sampling_params,
                )
            first_logit += len(drafted) + 1
