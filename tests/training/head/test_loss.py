"""The loss against plain references, and that a head learns from it what its examples say."""

from dataclasses import fields, replace
from random import Random

import pytest
import torch
from heads import PARTS
from made_targets import made_targets, tiny_base
from torch import nn

from smoldiff.decode.denoise import Denoiser
from smoldiff.head.inputs import Queries
from smoldiff.head.model import DiffusionHead
from smoldiff.head.readings import Rows
from smoldiff.head.taps import Taps
from smoldiff.scaffold.answer import CallStyle
from smoldiff.template.template import MASK
from smoldiff.template.vocabulary import Vocabulary
from smoldiff_training.head.batches import Scaffolds
from smoldiff_training.head.collate import collate
from smoldiff_training.head.config import LossConfig, NoiseConfig
from smoldiff_training.head.examples import IGNORED, NULL, ExampleMaker
from smoldiff_training.head.loss import (
    HeadLoss,
    decision_loss,
    exclusive_sums,
    starts_of_runs,
    variation,
)

SIZES = {
    "num_layers": 2,
    "num_taps": 2,
    "markov_rank": 16,
    "copy_dim": 16,
    "intermediate_size": 128,
}
FIRST = NoiseConfig(full_mask_share=1.0, prefix_share=0.0, redraft_share=0.0, budget_jitter=1)
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


class Keeping(ExampleMaker):
    """A maker that keeps the slots it asked for, with the text that is right there."""

    def _labelled(self, asked, num, answer):
        self.slots.append((asked, answer.values[asked.open_slot.pointer]))
        return super()._labelled(asked, num, answer)


@pytest.fixture(scope="module")
def base(tokenizer):
    return tiny_base(tokenizer)


@pytest.fixture(scope="module")
def targets(tokenizer):
    return made_targets(tokenizer)


@pytest.fixture(scope="module")
def make(tokenizer, targets):
    """Examples of some targets, and the slots of each."""

    def made(noise, numbers, seed=1):
        maker = Keeping(Vocabulary.of(tokenizer), noise, 12, Scaffolds(CallStyle()))
        examples, slots = [], []
        for number in numbers:
            maker.slots = []
            examples.append(maker.make(targets[number], Random(f"{seed}/{number}")))
            slots.append(maker.slots)
        return examples, slots

    return made


def batch_of(make, targets, noise=FIRST, numbers=(0, 1, 3), seed=1):
    examples, _ = make(noise, numbers, seed)
    return collate(examples, [targets[number] for number in numbers])


def new_head(base, seed=0, **sizes):
    torch.manual_seed(seed)
    return DiffusionHead.for_base(base, **{**SIZES, **sizes})


def shaken(base, **sizes):
    head = new_head(base, **sizes)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return head


@pytest.fixture(scope="module")
def learned(base, make, targets):
    """A head after a few steps on a handful of examples, its examples and slots, and how the loss fell."""
    examples, slots = make(FIRST, range(5))
    batch = collate(examples, targets)
    head = new_head(base, hidden_size=128).train()
    loss_of = HeadLoss(head, base.base.model, LossConfig(reach_alpha=0.0))
    optimizer = torch.optim.AdamW(head.parameters(), weight_decay=0.0)
    losses = []
    for step in range(60):
        for group in optimizer.param_groups:
            group["lr"] = 0.012 * min(1.0, (step + 1) / 5, (60 - step) / 30)
        loss, metrics = loss_of(batch)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    return head.eval(), examples, slots, losses, metrics


def test_a_handful_of_examples_is_learned_by_heart_null_included(learned):
    _, _, _, losses, metrics = learned
    assert losses[0] > 3
    assert losses[-1] < 0.1
    assert metrics["cross_entropy"] < 0.05
    assert metrics["token_accuracy"] == 1
    assert metrics["decision_accuracy"] == 1
    assert metrics["guess_accuracy"] == 1


def test_what_was_learned_is_what_decoding_writes(base, learned):
    head, examples, slots, _, _ = learned
    num_filled = 0
    for example, asked in zip(examples, slots, strict=True):
        taps = Taps(head.config.taps)
        with torch.no_grad(), taps.reading(base.base.model):
            base.base.model(input_ids=torch.tensor([example.ids]))
        denoiser = Denoiser(head, base.tables, base.vocabulary)
        memory = denoiser.remember(example.ids, taps.states_BTS()[0], 0)
        fills = denoiser.fill(memory, [one for one, _ in asked], 1)
        for fill, (one, value) in zip(fills, asked, strict=True):
            right = base.vocabulary.encode(value)
            if len(right) > one.first_place + len(one.queries):
                continue  # its budget was made too small for it
            num_filled += 1
            assert fill.token_ids == right
            assert fill.confidence > 0.5
    assert num_filled > 5


def plain_loss(head, base, batch, cfg):
    """The loss position by position: each example alone, without padding, chunks or checkpointing."""
    terms, weights = [], []
    for b, length in enumerate(batch["lengths_B"].tolist()):
        ids = batch["ids_BN"][b : b + 1, :length]
        taps = Taps(head.config.taps)
        with torch.no_grad(), taps.reading(base.base.model):
            base.base.model(input_ids=ids)
        seen = batch["prompts_B"] if not head.config.has_template_states else batch["lengths_B"]
        memory = head.remember(ids, taps.states_BTS(), seen[b : b + 1])
        own = batch["block_BQ"][b] > 0
        queries = Queries(**{f.name: batch[f.name][b : b + 1, own] for f in fields(Queries)})
        encoded = head.encode(memory, queries, base.tables)
        reached, last = 0.0, None
        for q in own.nonzero()[:, 0].tolist():
            label = int(batch["label_BQ"][b, q])
            if label == IGNORED:
                continue
            at = Rows(torch.tensor([0]), torch.tensor([q]), batch["history_BQM"][b, q : q + 1])
            scores = head.scores(encoded, at, base.tables)
            log_p = scores.log_probs_KV()[0]
            label = len(log_p) - 1 if label == NULL else label
            run = int(batch["block_BQ"][b, q]), int(batch["slot_BQ"][b, q])
            is_first = last is None or last[0] != run
            reached = 0.0 if is_first else reached
            is_later_null = not is_first and label == len(log_p) - 1 == last[1]
            weight = (
                cfg.null_weight
                if is_later_null
                else float(torch.tensor(cfg.reach_alpha * reached).exp())
            )
            if cfg.mdlm_weighting:
                weight /= max(0.05, float(batch["share_BQ"][b, q]))
            p_teacher = batch["teacher_p_BQT"][b, q]
            tv = torch.tensor(0.0)
            if p_teacher.sum() > 0:
                p_head = log_p[batch["teacher_ids_BQT"][b, q]].exp()
                tv = (
                    (p_head - p_teacher).abs().sum()
                    + ((1 - p_head.sum()) - (1 - p_teacher.sum())).abs()
                ) / 2
            is_right = (log_p.argmax() == label).float()
            chance = scores.confidence_K[0].sigmoid()
            ce, plain = -log_p[label], scores.logits_KV[0].log_softmax(-1)
            smooth = (1 - cfg.label_smoothing) * ce - cfg.label_smoothing * plain.mean()
            bce = -(is_right * chance.log() + (1 - is_right) * (1 - chance).log())
            entropy = torch.tensor(0.0)
            if p_teacher.sum() > 0:
                p_head = log_p[batch["teacher_ids_BQT"][b, q]].exp()
                outcomes = torch.cat([p_head, 1 - p_head.sum()[None]])
                entropy = -(outcomes * outcomes.log()).sum()
            terms.append(
                weight
                * (
                    cfg.ce_weight * smooth
                    + cfg.tv_weight * tv
                    + cfg.confidence_weight * bce
                    - cfg.entropy_weight * entropy
                )
            )
            weights.append(weight)
            reached, last = reached - float(ce.detach()), (run, label)
    return torch.stack(terms).sum() / sum(weights)


MIXED = replace(FIRST, full_mask_share=0.0)
CONFIGS = {
    "usual": LossConfig(),
    "even": LossConfig(reach_alpha=0.0, null_weight=1.0),
    "variation": LossConfig(ce_weight=0.1, tv_weight=0.9, reach_alpha=1.0),
    "options": LossConfig(label_smoothing=0.1, entropy_weight=0.05, mdlm_weighting=True),
}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("noise", [FIRST, MIXED], ids=["full", "mixed"])
def test_the_loss_is_that_of_the_plain_reference_and_so_are_its_gradients(
    base, make, targets, name, noise
):
    cfg = replace(CONFIGS[name], decision_weight=0.0, guess_weight=0.0, chunk_rows=7)
    batch = batch_of(make, targets, noise, numbers=(0, 3))
    fast, plain = shaken(base).train(), shaken(base).train()
    loss, _ = HeadLoss(fast, base.base.model, cfg)(batch)
    wanted = plain_loss(plain, base, batch, cfg)
    torch.testing.assert_close(loss, wanted, **CLOSE)
    loss.backward()
    wanted.backward()
    for (name, one), two in zip(fast.named_parameters(), plain.parameters(), strict=True):
        if two.grad is not None:
            torch.testing.assert_close(
                one.grad, two.grad, msg=lambda m, n=name: f"{n}: {m}", **CLOSE
            )


@pytest.mark.parametrize("chunk_rows", [1, 5, 10_000])
def test_chunks_change_nothing(base, make, targets, chunk_rows):
    batch, head = batch_of(make, targets), shaken(base)
    wanted, _ = HeadLoss(head, base.base.model, LossConfig())(batch)
    found, _ = HeadLoss(head, base.base.model, LossConfig(chunk_rows=chunk_rows))(batch)
    torch.testing.assert_close(found, wanted)


def test_checkpointed_layers_change_nothing(base, make, targets):
    batch = batch_of(make, targets)
    plain, saving = shaken(base).train(), shaken(base).train()
    saving.gradient_checkpointing_enable()
    for head in (plain, saving):
        HeadLoss(head, base.base.model, LossConfig())(batch)[0].backward()
    for one, two in zip(plain.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad)


@pytest.mark.parametrize("part", PARTS)
def test_the_loss_of_a_head_without_a_part_is_that_of_the_plain_reference(
    base, make, targets, part
):
    cfg = LossConfig(decision_weight=0.0, guess_weight=0.0)
    batch, head = batch_of(make, targets, numbers=(0, 3)), shaken(base, **{part: False})
    loss, _ = HeadLoss(head, base.base.model, cfg)(batch)
    torch.testing.assert_close(loss, plain_loss(head, base, batch, cfg), **CLOSE)


def test_every_parameter_has_a_gradient_in_every_batch(base, make, targets):
    """Several GPUs wait for the gradient of each parameter."""
    heads = [shaken(base), shaken(base, has_null_row=False), shaken(base, has_copy=False)]
    for head in heads:
        HeadLoss(head, base.base.model, LossConfig())(batch_of(make, targets))[0].backward()
        assert [name for name, p in head.named_parameters() if p.grad is None] == []


def test_only_the_head_is_trained(base):
    head = new_head(base)
    loss_of = HeadLoss(head, base.base.model, LossConfig())
    assert {id(p) for p in loss_of.parameters()} == {id(p) for p in head.parameters()}
    assert all(name.startswith("head.") for name in loss_of.state_dict())


def test_without_template_states_nothing_behind_the_prompt_matters(base, make, targets):
    batch = batch_of(make, targets)
    head = shaken(base, has_template_states=False)
    other = {**batch, "ids_BN": batch["ids_BN"].clone()}
    for b, num in enumerate(batch["prompts_B"].tolist()):
        other["ids_BN"][b, num:] = 77
    losses = [HeadLoss(head, base.base.model, LossConfig())(one)[0] for one in (batch, other)]
    torch.testing.assert_close(*losses)


def test_a_masked_token_is_not_shown(make, targets):
    for seed in range(5):
        batch = batch_of(make, targets, MIXED, seed=seed)
        assert (batch["token_BQ"][batch["label_BQ"] != IGNORED] == MASK).all()
        assert (batch["label_BQ"][batch["token_BQ"] != MASK] == IGNORED).all()


def test_a_batch_without_labels_or_questions_has_a_loss_of_zero(base, make, targets):
    batch = batch_of(make, targets, numbers=(0,))
    empty = {
        **batch,
        "label_BQ": torch.full_like(batch["label_BQ"], IGNORED),
        "group_BQ": torch.full_like(batch["group_BQ"], -1),
        "guess_right_B": torch.full_like(batch["guess_right_B"], -1),
        "implicit_G": torch.zeros(0, dtype=torch.bool),
        "has_implicit_G": torch.zeros(0, dtype=torch.bool),
    }
    head = shaken(base)
    loss, metrics = HeadLoss(head, base.base.model, LossConfig())(empty)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert all(bool(value.isfinite()) for value in metrics.values())


def test_autocast_changes_little(base, make, targets):
    batch, head = batch_of(make, targets), shaken(base)
    loss_of = HeadLoss(head, base.base.model, LossConfig())
    exact, _ = loss_of(batch)
    with torch.autocast("cpu", torch.bfloat16):
        half, _ = loss_of(batch)
    assert float((half - exact).detach().abs()) < 0.1


def test_processes_with_parts_of_a_batch_have_the_mean_loss_and_gradient_of_one_with_all(
    base, make, targets, monkeypatch
):
    """Their parts differ in positions and questions, which is why each divides by the mean of both."""
    parts = [batch_of(make, targets, numbers=numbers) for numbers in ((0, 4), (1, 3))]
    whole, split = shaken(base).train(), shaken(base).train()
    wanted, _ = HeadLoss(whole, base.base.model, LossConfig())(
        batch_of(make, targets, numbers=(0, 4, 1, 3))
    )
    wanted.backward()

    loss_of = HeadLoss(split, base.base.model, LossConfig())
    totals = []
    monkeypatch.setattr(loss_of, "_shared", lambda total: totals.append(total.detach()) or total)
    for part in parts:
        loss_of(part)
    first, second = totals[: len(totals) // 2], totals[len(totals) // 2 :]
    means = iter([(one + two) / 2 for one, two in zip(first, second, strict=True)] * 2)
    monkeypatch.setattr(loss_of, "_shared", lambda total: next(means))
    found = sum(loss_of(part)[0] for part in parts) / 2
    found.backward()
    torch.testing.assert_close(found, wanted, **CLOSE)
    for one, two in zip(whole.parameters(), split.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, **CLOSE)


def test_a_total_is_shared_only_while_training(base, monkeypatch):
    asked = []
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda total: asked.append(total.mul_(4)))
    loss_of = HeadLoss(new_head(base), base.base.model, LossConfig())
    total = torch.tensor(3.0)
    assert float(loss_of.eval()._shared(total.clone())) == 3.0
    assert float(loss_of.train()._shared(total.clone())) == 6.0  # (3 + 9) / 2
    assert len(asked) == 1


def test_a_position_weighs_as_much_as_it_is_reached():
    log_p = torch.tensor([0.5, 0.5, 0.25, 0.1, 0.9]).log()
    is_first = torch.tensor([True, False, False, True, False])
    reach = exclusive_sums(log_p, is_first).exp()
    torch.testing.assert_close(reach, torch.tensor([1.0, 0.5, 0.25, 1.0, 0.1]))


def test_a_run_starts_where_anything_changes():
    rows = torch.tensor([0, 0, 0, 1, 1, 1])
    slots = torch.tensor([4, 4, 5, 5, 5, 6])
    assert starts_of_runs(rows, slots).tolist() == [True, False, True, True, False, True]
    assert starts_of_runs(rows[:0], slots[:0]).tolist() == []


def test_variation_is_half_of_all_that_differs():
    head = torch.tensor([[0.5, 0.2], [0.1, 0.1], [0.3, 0.3]])
    base = torch.tensor([[0.5, 0.2], [0.6, 0.3], [0.0, 0.0]])
    wanted = []
    for p, q in zip(head[:2].tolist(), base[:2].tolist(), strict=True):
        whole = [*p, 1 - sum(p)], [*q, 1 - sum(q)]
        wanted.append(sum(max(0.0, a - b) for a, b in zip(*whole, strict=True)))
    torch.testing.assert_close(variation(head, base), torch.tensor([*wanted, 0.0]))


def decision_batch(groups):
    """(scores, right option, whether there is an option without a query) of each question, over two rows."""
    rows = [groups[::2], groups[1::2]]
    width = max(sum(len(scores) for _, (scores, _, _) in enumerate(row)) for row in rows) + 1
    batch = {
        "group_BQ": torch.full((2, width), -1),
        "is_right_BQ": torch.zeros(2, width, dtype=torch.bool),
        "implicit_G": torch.tensor([right is None for row in rows for _, right, _ in row]),
        "has_implicit_G": torch.tensor([has for row in rows for _, _, has in row]),
    }
    scores_BQ, number = torch.full((2, width), 7.0), 0
    for b, row in enumerate(rows):
        q = 0
        for scores, right, _ in row:
            for option, score in enumerate(scores):
                scores_BQ[b, q], batch["group_BQ"][b, q] = score, number
                batch["is_right_BQ"][b, q] = option == right
                q += 1
            number += 1
    return scores_BQ.requires_grad_(), batch


def test_the_decision_loss_is_the_cross_entropy_of_each_question():
    torch.manual_seed(0)
    groups = [
        ([2.0, -1.0, 0.5], 1, False),
        ([1.5], 0, True),
        ([0.7], None, True),
        ([-3.0], None, True),
        ([30.0, -60.0], 0, False),
        ([0.1, 0.2, 0.3, 0.4], 3, False),
    ]
    scores_BQ, batch = decision_batch(groups)
    loss, metrics = decision_loss(scores_BQ, batch, torch.tensor(6.0))
    each, num_right = [], 0
    for scores, right, has_implicit in groups:
        logits = torch.tensor([0.0] * has_implicit + scores)
        label = 0 if right is None else right + has_implicit
        each.append(nn.functional.cross_entropy(logits, torch.tensor(label)))
        num_right += int(logits.argmax()) == label
    torch.testing.assert_close(loss, torch.stack(each).mean())
    assert float(metrics["decision_accuracy"]) == pytest.approx(num_right / len(groups))
    loss.backward()
    assert scores_BQ.grad.isfinite().all()
    assert (scores_BQ.grad[batch["group_BQ"] < 0] == 0).all()
