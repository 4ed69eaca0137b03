"""Packed training is plain training: attention, loss, optimiser; and a tiny model learns its rows."""

import json
from random import Random

import numpy as np
import pytest
import torch

from smoldiff_training.base.config import DataConfig, ModelConfig, OptimConfig
from smoldiff_training.base.evaluate import forced_scores, parse_calls
from smoldiff_training.base.loss import PackedLoss
from smoldiff_training.base.model import PACKED, new_model, packed_hidden, register_packed_attention
from smoldiff_training.base.optim import base_optimizers, rate_at
from smoldiff_training.data.rows import Row
from smoldiff_training.data.stream import Document, pack, tokenize

TINY = ModelConfig(hidden_size=64, num_layers=4, num_heads=2, num_kv_heads=1, head_dim=32, intermediate_size=128)  # fmt: skip
DATA = DataConfig("", "", "", "", tokens_per_step=512, max_document_tokens=256, max_documents=16)


@pytest.fixture
def model(tokenizer):
    register_packed_attention()
    return new_model(TINY, tokenizer, seed=0)


def some_rows(weather) -> list[Row]:
    cities = ("Oslo", "Lima", "Rome")
    return [
        Row("x", [weather], [{"role": "user", "content": f"weather in {c}"}], [{"name": "get_weather", "arguments": {"city": c}}])
        for c in cities
    ]  # fmt: skip


def test_packed_forward_equals_each_document_alone(model):
    docs = [torch.randint(30, 8000, (n,)) for n in (7, 33, 1)]
    cu = torch.tensor([0, 7, 40, 41, 41], dtype=torch.int32)
    positions = torch.cat([torch.arange(len(d)) for d in docs])
    with torch.no_grad():
        alone = torch.cat([model.model(d[None]).last_hidden_state[0] for d in docs])
        model.config._attn_implementation = PACKED
        packed = packed_hidden(model, torch.cat(docs)[None], positions[None], cu, 33)[0]
    torch.testing.assert_close(packed, alone, atol=2e-5, rtol=1e-4)


def test_pack_puts_every_answer_token_in_the_loss():
    docs = [Document(np.arange(1, 21, dtype=np.int32), 15, 1.0), Document(np.arange(50, 60, dtype=np.int32), 9, 0.3)]  # fmt: skip
    batch = pack(docs, DATA, 0.1, pad=0, rng=Random(0))
    assert batch["ids"].shape == (512,)
    assert batch["cu_seqlens"].tolist()[:5] == [0, 20, 30, 286, 512]
    k = int(batch["num_answer"])
    assert batch["targets"][:k].tolist() == [16, 17, 18, 19, 20, 59]
    assert batch["weights"][:k].tolist() == pytest.approx([1.0] * 5 + [0.3])
    assert torch.equal(batch["ids"][batch["loss_at"] + 1], batch["targets"])
    assert int((batch["weights"] > 0).sum()) == k + 14 + 8
    assert not (batch["targets"][k : k + 22] == 0).any()


def test_packed_loss_is_the_mean_over_answers(model, tokenizer, weather):
    (doc, *_) = tokenize(some_rows(weather), tokenizer.backend_tokenizer, 256)
    batch = pack([doc], DATA, 0.0, 0, Random(0))
    model.config._attn_implementation = PACKED
    loss, answer = PackedLoss(model, 256, is_compiled=False)(batch)
    model.config._attn_implementation = "sdpa"
    ids = torch.from_numpy(doc.ids).long()[None]
    logits = model(ids).logits[0, doc.num_prompt - 1 : -1]
    plain = torch.nn.functional.cross_entropy(logits, ids[0, doc.num_prompt :])
    torch.testing.assert_close(loss, plain, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(answer, plain, atol=1e-4, rtol=1e-4)


def test_rate_warms_up_holds_and_falls_to_zero():
    cfg = OptimConfig(max_steps=100, max_seconds=10.0, warmup_share=0.1, decay_share=0.5)
    assert rate_at(0.05, cfg) == pytest.approx(0.5, abs=0.01)
    assert rate_at(0.3, cfg) == 1.0
    assert rate_at(0.75, cfg) == pytest.approx(0.5)
    assert rate_at(1.0, cfg) == 0.0


def test_parse_calls_marks_what_does_not_parse():
    text = '<tool_call>\n{"name": "a", "arguments": {}}\n</tool_call>\n<tool_call>\n{\n</tool_call>'
    assert parse_calls(text) == [{"name": "a", "arguments": {}}, None]


def test_too_large_a_model_is_refused(tokenizer):
    with pytest.raises(ValueError, match="lower intermediate_size"):
        new_model(ModelConfig(intermediate_size=4096), tokenizer, 0)


def test_tiny_model_learns_its_rows(model, tokenizer, weather):
    rows = some_rows(weather)
    model.config._attn_implementation = PACKED
    optimizers = base_optimizers(model, OptimConfig(max_steps=1, muon_lr=0.02, adam_lr=0.01))
    batch = pack(tokenize(rows, tokenizer.backend_tokenizer, 256), DATA, 0.1, 0, Random(0))
    packed = PackedLoss(model, 256, is_compiled=False)
    for step in range(60):
        loss, _ = packed(batch)
        loss.backward()
        optimizers.step(1.0 - step / 60)
    scores = forced_scores(model, tokenizer.backend_tokenizer, rows)
    assert scores["all"] == {"rows": 3, "name": 1.0, "call": 1.0}
    assert json.dumps(scores)
