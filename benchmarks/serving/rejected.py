"""Drafts of chosen lengths that are never right: what verifying them costs an engine."""

import random
from collections.abc import Sequence
from typing import Any

from smoldiff_integrations.vllm.graphs import Graphs
from smoldiff_integrations.vllm.proposer import NO_LIMIT


class Lengths:
    """How long the next drafts are, each drawn anew; of the engine in this process."""

    least = most = 0
    random = random.Random(0)


class Rejected:
    """What `--speculative-config` names."""

    def __init__(self, vllm_config: Any) -> None:
        from vllm.v1.worker.gpu_model_runner import GPUModelRunner

        self._num_vocab = int(vllm_config.model_config.get_vocab_size())
        load_model = GPUModelRunner.load_model

        def unlimited(runner: Any, *args: Any, **kwargs: Any) -> Any:
            runner.effective_drafter_max_model_len = NO_LIMIT
            Graphs(runner, plain_tokens=None)
            return load_model(runner, *args, **kwargs)

        GPUModelRunner.load_model = unlimited

    def load_model(self, target: Any) -> None:
        """Nothing to load."""

    def propose(
        self, sampled_token_ids: Sequence[Sequence[int]], *_: Any, **__: Any
    ) -> list[list[int]]:
        """Tokens drawn from the whole vocabulary."""
        drawn, num_vocab = Lengths.random, self._num_vocab
        lengths = [drawn.randint(Lengths.least, Lengths.most) for _ in sampled_token_ids]
        return [[drawn.randrange(num_vocab) for _ in range(length)] for length in lengths]
