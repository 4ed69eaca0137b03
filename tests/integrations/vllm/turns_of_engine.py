"""Run by test_turns_of_engine: an engine in this process that goes back and forth between its two ways of scheduling.

A CPU has no streams, so that vLLM never schedules ahead there; stand-ins for them let it.
"""

import json
import sys
from collections import Counter
from contextlib import nullcontext

import torch
from small_engine import SCHEMA, prompts_of, small_engine
from vllm import SamplingParams
from vllm.sampling_params import StructuredOutputsParams

from smoldiff_integrations.vllm import config
from smoldiff_integrations.vllm.pace import Pace
from smoldiff_integrations.vllm.serve import speculative_config

TEXT = {
    "greedy": {"temperature": 0, "max_tokens": 60},
    "seeded": {"temperature": 0.8, "seed": 7, "max_tokens": 60},
    "penalised": {"temperature": 0, "repetition_penalty": 1.3, "max_tokens": 60},
    "short": {"temperature": 0, "max_tokens": 5},
    "logprobs": {"temperature": 0, "logprobs": 2, "max_tokens": 30},
    "long": {"temperature": 0, "max_tokens": 150, "ignore_eos": True},
}
JSON = {"temperature": 0, "max_tokens": 80}
ARRIVALS = [
    (0, "greedy"), (0, "seeded"), (3, "penalised"), (5, "long"), (6, "long"), (7, "long"), (9, "json"), (11, "short"),
    (14, "logprobs"), (15, "choice"), (40, "greedy"), (41, "short"),
    (300, "long"), (302, "choice"), (304, "json"), (305, "aborted"), (306, "penalised"),
    (600, "long"), (601, "cached"), (620, "cached"), (640, "json"), (645, "cached"),
]  # fmt: skip
"""(engine step, kind of request)."""
BLOCK_SIZE = 32


class Stream:
    device = torch.device("cpu")

    def __init__(self, *args, **kwargs):
        self.wait_stream = self.record = self.synchronize = lambda *args: None


def ready_for_streams():
    torch.cuda.Stream = torch.cuda.Event = torch.Event = Stream
    torch.cuda.current_stream = Stream
    torch.cuda.stream = lambda stream: nullcontext()


def main(way: str, path: str) -> None:
    counted: Counter[str] = Counter()
    options, at = {}, 0
    if way != "without drafts":
        options["speculative_config"] = speculative_config()
    if way == "turning":
        ready_for_streams()
        config.can_be_ahead = lambda _: True
        Pace.is_ahead = lambda *batch: at // 20 % 2 == 1  # as if drafts paid now and then
    llm = small_engine(
        max_model_len=384,
        max_num_batched_tokens=256,
        block_size=BLOCK_SIZE,
        num_gpu_blocks_override=448 // BLOCK_SIZE,  # requests are preempted
        **options,
    )
    engine = llm.llm_engine
    if way == "turning":
        count_turns(engine.engine_core.engine_core, counted)
    answers = {}
    prompts = prompts_of(
        f"Where shall {i + 2} of us have dinner in Oakland at {i}:30?" for i in range(len(ARRIVALS))
    )
    for prompt, (_, kind) in zip(prompts, ARRIVALS, strict=True):
        if kind == "cached":  # all but one token of the second and third are in the cache
            prompt["prompt_token_ids"] = [t for one in prompts for t in one["prompt_token_ids"]][
                : BLOCK_SIZE + 1
            ]
    pending = [*enumerate(ARRIVALS)]
    while pending or engine.has_unfinished_requests():
        while pending and pending[0][1][0] <= at:
            i, (_, kind) = pending.pop(0)
            engine.add_request(f"{i}-{kind}", prompts[i], params_of(kind))
        for output in engine.step():
            one = output.outputs[0]
            if output.request_id.endswith("aborted"):
                engine.abort_request([output.request_id])
            elif output.finished:
                answers[output.request_id] = {
                    "ids": list(one.token_ids),
                    "num_logprobs": [len(found) for found in one.logprobs or ()],
                }
        at += 1
    if way == "turning":
        worker = engine.engine_core.engine_core.model_executor.driver_worker.worker
        counted["faults"] = worker.model_runner.drafter._batch._num_faults
    found = {one.name: one.value for one in llm.get_metrics() if hasattr(one, "value")}
    counted["accepted"] = int(found.get("vllm:spec_decode_num_accepted_tokens", 0))
    counted["preempted"] = int(found["vllm:num_preemptions"])
    with open(path, "w") as file:
        json.dump({"answers": answers, "counted": counted}, file)


def params_of(kind):
    given = TEXT.get(kind, TEXT["greedy"])
    if kind == "choice":
        options = StructuredOutputsParams(choice=["lunch", "dinner"])
        given = {"temperature": 0, "structured_outputs": options}
    if kind == "json":
        given = {**JSON, "structured_outputs": StructuredOutputsParams(json=SCHEMA)}
    return SamplingParams(**given)


def count_turns(engine, counted):
    scheduler = engine.scheduler
    turn, schedule = scheduler.turn, scheduler.schedule

    def turning(is_ahead):
        counted["turns"] += is_ahead != scheduler.is_ahead
        turn(is_ahead)

    def scheduling(*args, **kwargs):
        counted["begun while one was under way"] += bool(engine.batch_queue)
        output = schedule(*args, **kwargs)
        counted["ahead with a schema"] += scheduler.is_ahead and any(
            one.use_structured_output and one.request_id.split("-")[1] == "json"
            for one in scheduler.running
        )
        return output

    scheduler.turn, scheduler.schedule = turning, scheduling


if __name__ == "__main__":
    main(*sys.argv[1:])
