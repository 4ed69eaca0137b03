"""A served model that writes recorded answers, whatever its weights: what a server costs at a model's shape.

Loaded into vLLM's workers as `--worker-extension-cls serving.recorded.Extension`, which wraps the model runner's sampler:
the logit of each recorded token is raised above all others. Every step, draft and verification is that of a model that
would have said the same; only the words are known beforehand. `Oracle` drafts the recorded tokens, so that nothing of a
draft is ever wrong: no drafter can do better.

vLLM has two model runners; with drafts of a class of one's own it takes the first, without drafts perhaps the second.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from smoldiff_integrations.vllm.proposer import NO_LIMIT

RECORDED = "SMOLDIFF_RECORDED"
"""Environment variable of a server: the path of the recorded answers."""
FORCING = ("--load-format", "dummy", "--worker-extension-cls", "serving.recorded.Extension")
"""Flags of a server that writes them."""
NUM_DRAFTED = 64
RAISED = 1e4


class Answers:
    """Recorded answers by the tokens of their prompts."""

    def __init__(self, path: Path) -> None:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        self._by_prompt = {tuple(row["prompt_ids"]): row["answer_ids"] for row in rows}

    def of(self, prompt_ids: Iterable[int]) -> Sequence[int]:
        """Empty for a prompt that was not recorded."""
        return self._by_prompt.get(tuple(prompt_ids), ())


def write_answers(path: Path, pairs: Iterable[tuple[Sequence[int], Sequence[int]]]) -> None:
    """Tokens of prompts and of their answers."""
    rows = ({"prompt_ids": prompt, "answer_ids": answer} for prompt, answer in pairs)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def oracle_config() -> str:
    """Value of `--speculative-config` for drafts of the recorded tokens."""
    config = {"method": "custom_class", "model": "serving.recorded.Oracle"}
    return json.dumps({**config, "num_speculative_tokens": NUM_DRAFTED})


_answers: Answers | None = None


def answers() -> Answers:
    global _answers
    if _answers is None:
        _answers = Answers(Path(os.environ[RECORDED]))
    return _answers


def answer_of(state: Any) -> Sequence[int]:
    """The recorded answer to a runner's request, looked up once."""
    if not hasattr(state, "recorded"):
        state.recorded = answers().of(state.prompt_token_ids)
    return state.recorded  # type: ignore[no-any-return]


class Extension:
    """Nothing of its own: importing this module wraps the runner."""


def places(runner: Any, scheduler_output: Any) -> Iterator[tuple[int, int]]:
    """(row of the logits, recorded token) of a step: each request has one row for each drafted token and one more."""
    row = 0
    drafts = scheduler_output.scheduled_spec_decode_tokens
    for request_id in runner.input_batch.req_ids:
        state = runner.requests[request_id]
        num_drafted = len(drafts.get(request_id) or ())
        num_scheduled = scheduler_output.num_scheduled_tokens[request_id]
        stop = state.num_computed_tokens + num_scheduled - len(state.prompt_token_ids) + 1
        recorded = answer_of(state)
        for place in range(stop - num_drafted - 1, stop):
            if 0 <= place < len(recorded):
                yield row, recorded[place]
            row += 1


def wrap(runner_class: type) -> None:
    """Raise the recorded tokens in every step of the runner."""
    execute, sample = runner_class.execute_model, runner_class._sample  # type: ignore[attr-defined]

    def execute_model(self: Any, scheduler_output: Any, *args: Any, **kwargs: Any) -> Any:
        self.recorded_step = scheduler_output
        drafter = getattr(self, "drafter", None)
        if isinstance(drafter, Oracle):
            drafter.bind(self)
        return execute(self, scheduler_output, *args, **kwargs)

    def _sample(self: Any, logits: Any, spec_decode_metadata: Any) -> Any:
        if logits is not None:
            found = [*places(self, self.recorded_step)]
            if found:
                rows, tokens = torch.tensor(found).T.to(logits.device, non_blocking=True)
                # a number instead of a tensor on the device would let the host wait for the device
                raised = torch.full((1,), RAISED, dtype=logits.dtype, device=logits.device)
                logits.index_put_((rows, tokens), raised)
        return sample(self, logits, spec_decode_metadata)

    runner_class.execute_model = execute_model  # type: ignore[attr-defined]
    runner_class._sample = _sample  # type: ignore[attr-defined]


def wrap_second(runner_class: type, sampler_class: type) -> None:
    """The same for the second runner, which samples without drafts and does not tell the host how far a request is."""
    execute, sample = runner_class.execute_model, sampler_class.__call__  # type: ignore[attr-defined,misc]
    requests: dict[str, tuple[int, Sequence[int]]] = {}
    last: tuple[list[str], torch.Tensor | None] = [], None

    def execute_model(self: Any, scheduler_output: Any, *args: Any, **kwargs: Any) -> Any:
        for one in scheduler_output.scheduled_new_reqs:
            prompt_ids = one.prompt_token_ids or ()
            requests[one.req_id] = (len(prompt_ids), answers().of(prompt_ids))
        for request_id in scheduler_output.finished_req_ids:
            requests.pop(request_id, None)
        return execute(self, scheduler_output, *args, **kwargs)

    def sampled(self: Any, logits: Any, input_batch: Any) -> Any:
        nonlocal last
        names, table = last
        if names != input_batch.req_ids:
            names = [*input_batch.req_ids]
            table = table_of([requests.get(name, (0, ())) for name in names], logits.device)
            last = names, table
        if table is not None:
            force(logits, input_batch, table)
        return sample(self, logits, input_batch)

    runner_class.execute_model = execute_model  # type: ignore[attr-defined]
    sampler_class.__call__ = sampled  # type: ignore[method-assign,misc]


def table_of(
    known: Sequence[tuple[int, Sequence[int]]], device: torch.device
) -> torch.Tensor | None:
    """[N, 1 + X]: of each row the number of the prompt's tokens, and the recorded ones, then -1; None without any."""
    most = max((len(answer) for _, answer in known), default=0)
    if not most:
        return None
    table = [[num, *answer, *[-1] * (most - len(answer))] for num, answer in known]
    return torch.tensor(table).to(device, non_blocking=True)


def force(logits_NV: torch.Tensor, input_batch: Any, table_NX: torch.Tensor) -> None:
    """Raise the recorded token of each row, where the device knows its position: the host does not wait."""
    most = table_NX.shape[1] - 1
    position_N1 = input_batch.positions[input_batch.logits_indices].long()[:, None]
    place_N1 = position_N1 + 1 - table_NX[:, :1]
    token_N1 = table_NX[:, 1:].gather(1, place_N1.clamp(0, most - 1))
    is_recorded_N1 = (place_N1 >= 0) & (place_N1 < most) & (token_N1 >= 0)
    token_N1 = token_N1.clamp(min=0)
    logits_NV.scatter_(
        1, token_N1, logits_NV.gather(1, token_N1).masked_fill(is_recorded_N1, RAISED)
    )


class Oracle:
    """What `--speculative-config` names to draft the recorded tokens."""

    def __init__(self, vllm_config: Any) -> None:
        self._num = int(vllm_config.speculative_config.num_speculative_tokens)
        self._runner: Any = None

    def bind(self, runner: Any) -> None:
        """The runner whose rows are drafted for, before each step."""
        self._runner = runner
        runner.effective_drafter_max_model_len = NO_LIMIT

    def load_model(self, target: Any) -> None:
        """Nothing to load."""

    def propose(
        self, sampled_token_ids: Sequence[Sequence[int]], *_: Any, **__: Any
    ) -> list[list[int]]:
        """The recorded tokens that come next in each row of the batch."""
        drafts: list[list[int]] = []
        ids = self._runner.input_batch.req_ids
        for request_id, new in zip(ids, sampled_token_ids, strict=False):
            state = self._runner.requests[request_id]
            recorded, num = answer_of(state), len(state.output_token_ids)
            drafts.append(list(recorded[num : num + self._num]) if len(new) else [])
        return drafts


if RECORDED in os.environ:
    from vllm.v1.worker.gpu.model_runner import GPUModelRunner as SecondRunner
    from vllm.v1.worker.gpu.sample.sampler import Sampler
    from vllm.v1.worker.gpu_model_runner import GPUModelRunner

    wrap(GPUModelRunner)
    wrap_second(SecondRunner, Sampler)
