"""Run by test_features_of_server: an engine in this process, and what its feature table gives at each reading."""

import json
import sys

import torch
from small_engine import SCHEMA, prompts_of, small_engine
from vllm import SamplingParams
from vllm.sampling_params import StructuredOutputsParams

from smoldiff_integrations.vllm.batch import BatchDrafts, RequestDrafts
from smoldiff_integrations.vllm.serve import speculative_config

LONG = "The list of guests: " + ", ".join(f"guest {i} from town {i * 7}" for i in range(52)) + ". "
QUESTIONS = [
    LONG + f"Reserve a table at Nopa in Oakland at {hour}:30 for two" for hour in range(12, 20)
]


def main(path: str) -> None:
    snapshots, counted = [], {"parts of prompts": 0, "rejected drafts": 0}
    see, draft = RequestDrafts.see, BatchDrafts._draft

    def seeing(self, before, drafted, states):
        def kept(start, stop):
            found = states(start, stop)
            if found is not None:
                ids = [*self._prompt_ids, *before, *drafted][:stop]
                snapshots.append((ids, start, found.clone()))
            return found

        return see(self, before, drafted, kept)

    def drafting(self, runner, row, step, num_rows):
        counted["rejected drafts"] += len(row.drafted) > row.num_new - 1
        return draft(self, runner, row, step, num_rows)

    def opening(self, runner, step, rows):
        counted["parts of prompts"] += sum(row is not None and not row.num_new for row in rows)
        counted["hooks"] = sum(len(one._forward_hooks) for one in runner.get_model().modules())
        return opened(self, runner, step, rows)

    opened = BatchDrafts._open
    RequestDrafts.see, BatchDrafts._draft = seeing, drafting
    BatchDrafts._open = opening
    llm = small_engine(
        max_model_len=768,
        max_num_batched_tokens=384,  # prompts are read in parts
        num_gpu_blocks_override=8,  # and requests preempted
        speculative_config=speculative_config(),
    )
    params = SamplingParams(
        temperature=0, max_tokens=120, structured_outputs=StructuredOutputsParams(json=SCHEMA)
    )
    outputs = llm.generate(prompts_of(QUESTIONS), params, use_tqdm=False)
    counted["cached prompt tokens"] = sum(one.num_cached_tokens or 0 for one in outputs)
    metrics = {one.name: getattr(one, "value", 0) for one in llm.get_metrics()}
    counted["preempted"] = metrics["vllm:num_preemptions"]
    torch.save({"snapshots": snapshots, "counted": json.dumps(counted)}, path)


if __name__ == "__main__":
    main(sys.argv[1])
