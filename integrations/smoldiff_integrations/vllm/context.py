"""A step of vLLM's engine as drafters see it: the one place that reads the model runner's state."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from smoldiff.decode.drafters import NUM_CANDIDATES
from smoldiff_integrations.vllm.candidates import Candidates, Ranking
from smoldiff_integrations.vllm.features import FeatureTable, slots_of

# Shapes: N tokens of the step, S states of a token, R rows of logits, V vocabulary.


@dataclass(frozen=True, slots=True)
class Row:
    """One request of a batch after its step. Only what is asked for is read: most steps ask for little."""

    index: int
    request_id: str
    state: Any
    """vLLM's CachedRequestState."""
    num_new: int
    """Tokens that this step gave; 0 while the prompt is still read."""
    drafted: Sequence[int]
    """Draft tokens that this step verified: the proposed ones as far as the grammar took them."""
    candidates: Candidates | None
    """What the model would have said at those; None of none."""

    @property
    def sampling_params(self) -> Any:
        return self.state.sampling_params

    @property
    def prompt_ids(self) -> Sequence[int]:
        ids: Sequence[int] = self.state.prompt_token_ids
        return ids

    @property
    def num_written(self) -> int:
        return len(self.state.output_token_ids)

    @property
    def last(self) -> int | None:
        """The token that the answer ends with so far."""
        ids: Sequence[int] = self.state.output_token_ids
        return ids[-1] if ids else None

    @property
    def written(self) -> list[int]:
        """The answer's tokens, those of this step among them."""
        return list(self.state.output_token_ids)

    @property
    def before(self) -> list[int]:
        """The answer's tokens before this step."""
        return list(self.state.output_token_ids[: self.num_written - self.num_new])


@dataclass(frozen=True, slots=True)
class Step:
    """What the hook around `propose_draft_token_ids` was called with."""

    scheduler_output: Any
    hidden_states: Tensor
    """Behind the final norm, [at least N, hidden size]."""
    aux_hidden_states: Sequence[Tensor] | None
    attention: Any
    """vLLM's CommonAttentionMetadata."""
    logits_RV: Tensor | None
    """As the sampler got them, behind the grammar's mask; None where no draft was verified."""
    ms: float
    """From the step's begin to here."""

    def keep_states(self, table: FeatureTable) -> None:
        """Write the states of all tokens of the step: of the tapped layers, and behind the final norm."""
        num = self.scheduler_output.total_num_scheduled_tokens
        # What a graph added to the step's tokens is copied too: each call of torch less is worth more.
        states_NS = torch.cat([*(self.aux_hidden_states or ()), self.hidden_states], -1)
        table.write(self.attention.slot_mapping[:num].long(), states_NS[:num])

    @property
    def is_ahead(self) -> bool:
        """Whether the next step may begin before this one's tokens are known: nobody is drafted for."""
        return bool(getattr(self.scheduler_output, "is_ahead", False))

    @property
    def is_quiet(self) -> bool:
        """Whether nothing may be drafted for the next step, which follows this one's tokens."""
        return bool(getattr(self.scheduler_output, "is_quiet", False))

    @property
    def num_drafted(self) -> int:
        """Draft tokens that this step verified, of all requests."""
        return sum(map(len, self.scheduler_output.scheduled_spec_decode_tokens.values()))

    def rows(
        self, runner: Any, sampled: Sequence[Sequence[int]], without: Collection[str] = ()
    ) -> Iterator[Row | None]:
        """The batch's requests in its order; None for one without token ids, and for those named in `without`."""
        drafts = self.scheduler_output.scheduled_spec_decode_tokens
        ranking = self._ranking(runner, drafts)
        first_logit = 0
        for i, (request_id, new) in enumerate(
            zip(runner.input_batch.req_ids, sampled, strict=False)
        ):
            drafted = drafts.get(request_id) or ()
            candidates = None
            if drafted and ranking is not None:
                candidates = ranking.of(first_logit, first_logit + len(drafted))
            first_logit += len(drafted) + 1
            if request_id in without:
                yield None
            else:
                state = runner.requests[request_id]
                has_ids = state.prompt_token_ids is not None and state.sampling_params is not None
                yield Row(i, request_id, state, len(new), drafted, candidates) if has_ids else None

    def _ranking(self, runner: Any, drafts: Mapping[str, Sequence[int]]) -> Ranking | None:
        if self.logits_RV is None:
            return None
        drafted: list[int | None] = []
        for request_id in runner.input_batch.req_ids:
            drafted += [*drafts.get(request_id, ()), None]
        return Ranking(self.logits_RV, drafted, NUM_CANDIDATES)

    def states_at(
        self, table: FeatureTable, row: Row, block_size: int, start: int, stop: int
    ) -> Tensor | None:
        """The states of a request's tokens, [stop - start, S]; None where some are missing."""
        blocks = self.attention.block_table_tensor[row.index]
        return table.read(slots_of(blocks, block_size, start, stop))


def nothing_to_verify(runner: Any, num_rows: int) -> Any:
    """vLLM's SpecDecodeMetadata of a step without drafts, where each row's last token gives its logits.

    The rest, which vLLM would put together for its verifying sampler alone, is left empty.
    """
    from vllm.v1.spec_decode.metadata import SpecDecodeMetadata

    last_R = runner.query_start_loc.gpu[1 : num_rows + 1] - 1
    none = last_R[:0]
    return SpecDecodeMetadata(none, [0] * num_rows, none, none, none, none, last_R)


def table_for(runner: Any, num_taps: int, step: Step) -> FeatureTable | None:
    """An empty table for the runner's KV cache; None where its slots do not tell a token's place for certain."""
    config = runner.kv_cache_config
    if len(config.kv_cache_groups) != 1:
        return None
    block_size = int(config.kv_cache_groups[0].kv_cache_spec.block_size)
    states = step.hidden_states
    width = num_taps * states.shape[-1]
    return FeatureTable(config.num_blocks * block_size, width, states.dtype, states.device)


def block_size_of(runner: Any) -> int:
    """Tokens in a block of the tables that attention reads."""
    return int(runner.input_batch.block_table[0].block_size)
