"""What is put together in place of vLLM says the same."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip("vllm", reason="vLLM is not installed here; `make test-vllm` has it")

from vllm.v1.worker.gpu_model_runner import GPUModelRunner

from smoldiff_integrations.vllm.context import nothing_to_verify

MAX_TOKENS = 64


class Runner:
    """What vLLM's runner reads of itself there."""

    device = torch.device("cpu")
    _arange_scratch = np.zeros(MAX_TOKENS, np.int64)
    arange_np = np.arange(MAX_TOKENS, dtype=np.int64)
    _get_cumsum_and_arange = GPUModelRunner._get_cumsum_and_arange

    def __init__(self, ends):
        starts = torch.tensor([0, *ends, *[ends[-1]] * 4], dtype=torch.int32)  # padded
        self.query_start_loc = SimpleNamespace(gpu=starts)
        self.input_ids = SimpleNamespace(gpu=torch.arange(MAX_TOKENS, dtype=torch.int32))


@pytest.mark.parametrize("ends", [[1], [1, 2, 3], [4, 5, 30]], ids=str)
def test_a_step_without_drafts_gives_the_logits_of_the_same_tokens(ends):
    runner = Runner(ends)
    drafted = np.zeros(len(ends), np.int32)
    vllms = GPUModelRunner._calc_spec_decode_metadata(runner, drafted, np.array(ends, np.int32))
    own = nothing_to_verify(runner, len(ends))
    assert own.logits_indices.tolist() == vllms.logits_indices.tolist()
    assert (own.max_spec_len, own.num_draft_tokens) == (vllms.max_spec_len, vllms.num_draft_tokens)
    assert own.draft_token_ids.tolist() == vllms.draft_token_ids.tolist() == []
