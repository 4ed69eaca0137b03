"""What is compiled for verification before the first request."""

import inspect
from types import SimpleNamespace

import pytest
import torch

from smoldiff_integrations.vllm import verifying

CONFIG = SimpleNamespace(dtype=torch.float32, get_hidden_size=lambda: 8)
VOCAB_SIZE = 100
NOT_A_CPU = torch.device("cuda")


class Model(torch.nn.Linear):
    """A model that can be asked for logits, on a device."""

    def __init__(self, device="cpu"):
        super().__init__(8, VOCAB_SIZE, bias=False, device=device)

    def compute_logits(self, states_RH):
        return self(states_RH)


def test_on_a_cpu_there_is_nothing_to_compile(monkeypatch):
    monkeypatch.setattr(Model, "compute_logits", None)
    verifying.warm_up(Model(), CONFIG)


def test_masks_are_put_on_all_numbers_of_rows_that_triton_tells_apart(monkeypatch):
    xgrammar = pytest.importorskip("xgrammar", reason="`make test-vllm` has xgrammar")
    apply, seen = xgrammar.apply_token_bitmask_inplace, set()

    def applied(logits, bitmask, indices=None):
        num = len(logits) if indices is None else len(indices)
        seen.add((num == 1, num % 16 == 0, indices is None))
        apply(logits, bitmask, indices=indices)

    monkeypatch.setattr(xgrammar, "apply_token_bitmask_inplace", applied)
    logits_RV = torch.zeros(17, VOCAB_SIZE)
    verifying.mask_rows(logits_RV)
    kinds = [(True, False), (False, True), (False, False)]
    assert seen == {(*kind, are_all) for kind in kinds for are_all in (False, True)}
    assert not logits_RV.any()  # everything is allowed


def test_drafts_of_greedy_requests_are_compared_as_vllm_does_it(monkeypatch):
    sampler = pytest.importorskip(
        "vllm.v1.sample.rejection_sampler", reason="`make test-vllm` has vLLM"
    )
    signature, asked = inspect.signature(sampler.rejection_sample), []
    monkeypatch.setattr(
        sampler, "rejection_sample", lambda *args: asked.append(signature.bind(*args).arguments)
    )
    verifying.accept(torch.zeros(17, VOCAB_SIZE, dtype=torch.bfloat16))
    (one,) = asked
    assert one["sampling_metadata"].all_greedy
    assert one["target_logits"].dtype == torch.float32
    assert one["target_logits"].shape == (sum(one["num_draft_tokens"]), VOCAB_SIZE)
    assert one["bonus_token_ids"].shape == (1, 1)


@pytest.mark.parametrize("wrong", [lambda *_: 1 / 0, lambda *_: None], ids=["fault", "no logits"])
def test_a_model_that_cannot_be_asked_starts_all_the_same(monkeypatch, wrong):
    model = Model()
    monkeypatch.setattr(Model, "parameters", lambda _: iter([SimpleNamespace(device=NOT_A_CPU)]))
    monkeypatch.setattr(torch, "zeros", lambda *_, **__: None)
    monkeypatch.setattr(Model, "compute_logits", wrong)
    verifying.warm_up(model, CONFIG)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_no_request_waits_for_a_compiler():
    triton = pytest.importorskip("xgrammar.kernels.apply_token_bitmask_inplace_triton")
    sampler = pytest.importorskip("vllm.v1.sample.rejection_sampler")
    verifying.warm_up(Model("cuda"), CONFIG)

    def num_compiled():
        kernels = (
            triton.apply_token_bitmask_inplace_kernel,
            sampler.rejection_greedy_sample_kernel,
        )
        return [len(kernel.device_caches[torch.cuda.current_device()][0]) for kernel in kernels]

    before = num_compiled()
    assert min(before) > 0
    mask = torch.full((80, -(-VOCAB_SIZE // 32)), -1, dtype=torch.int32, device="cuda")
    logits_RV = torch.zeros(80, VOCAB_SIZE, device="cuda")
    for num in (1, 2, 4, 7, 16, 33, 48, 65, 80):
        triton.apply_token_bitmask_inplace_triton(logits_RV[:num], mask[:num])
        some = torch.arange(num, dtype=torch.int32, device="cuda")
        triton.apply_token_bitmask_inplace_triton(logits_RV, mask, indices=some)
    ids = torch.zeros(16, dtype=torch.int32, device="cuda")
    greedy = SimpleNamespace(all_greedy=True, all_random=False)
    for num in (1, 5, 16):
        ends = torch.tensor([num], dtype=torch.int32, device="cuda")
        sampler.rejection_sample(
            ids[:num], [num], num, ends, None, logits_RV[:num], ids[:1, None], greedy
        )
    assert num_compiled() == before
