"""Batches are a function of seed, step and process, and hold what the examples say."""

import numpy as np
import pytest
import torch
from made_targets import TOP_K, made_targets

from smoldiff.head.inputs import NO_TOKEN
from smoldiff.scaffold.answer import CallStyle
from smoldiff.template.template import MASK
from smoldiff.template.vocabulary import Vocabulary
from smoldiff_training.head.batches import HeadBatches
from smoldiff_training.head.collate import collate
from smoldiff_training.head.config import NoiseConfig
from smoldiff_training.head.examples import IGNORED, NO_GROUP


@pytest.fixture(scope="module")
def targets(tokenizer):
    return made_targets(tokenizer)


@pytest.fixture
def batches(tokenizer, targets):
    lengths = np.array([len(one.prompt_ids) + len(one.answer_ids) for one in targets])
    vocabulary = Vocabulary.of(tokenizer)
    return HeadBatches(targets, lengths, 4, vocabulary, CallStyle(), NoiseConfig(), 12, seed=3)


def rows(batch):
    """Each example's tensors without padding, in the order of the batch."""
    found = []
    for b, length in enumerate(batch["lengths_B"].tolist()):
        own = batch["block_BQ"][b] > 0
        names = sorted(name for name in batch if name.endswith(("_BQ", "_BQL", "_BQM", "_BQT")))
        parts = [batch[name][b][own].tolist() for name in names if name != "group_BQ"]
        found.append((batch["ids_BN"][b, :length].tolist(), parts))
    return found


def test_a_batch_is_the_same_whenever_it_is_asked_for(batches):
    first, other, again = batches.batch(5), batches.batch(6), batches.batch(5)
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert rows(first) != rows(other)


def test_the_parts_of_several_processes_are_the_batch_of_one(batches):
    for step in range(4):
        whole = rows(batches.batch(step))
        for num_ranks in (2, 4):
            parts = [rows(batches.batch(step, rank, num_ranks)) for rank in range(num_ranks)]
            for number, row in enumerate(whole):
                assert parts[number % num_ranks][number // num_ranks] == row


def test_every_target_is_seen_once_before_any_comes_again(batches, targets):
    seen = np.sort(np.concatenate([batches._numbers(step) for step in range(32)]))
    counts = np.bincount(seen, minlength=len(targets))
    assert counts.max() - counts.min() <= 1


def test_collated_examples_are_what_they_were(batches, targets):
    pairs = [batches._example(number, 0, number) for number in range(3)]
    examples, made_of = [one for one, _ in pairs], [one for _, one in pairs]
    batch, first_group = collate(examples, made_of), 0
    for b, (example, target) in enumerate(pairs):
        num = len(example.labelled)
        assert batch["lengths_B"][b] == len(example.ids)
        assert batch["prompts_B"][b] == example.num_prompt
        assert batch["label_BQ"][b, num:].eq(IGNORED).all()
        assert batch["group_BQ"][b, num:].eq(NO_GROUP).all()
        assert batch["block_BQ"][b, num:].eq(0).all()
        for q, one in enumerate(example.labelled):
            assert batch["label_BQ"][b, q] == one.label
            assert tuple(batch["history_BQM"][b, q].tolist()) == one.history
            assert batch["token_BQ"][b, q] == one.query.token_id
            assert batch["anchor_BQ"][b, q] == one.query.anchor
            names = [i for i in batch["names_BQL"][b, q].tolist() if i != NO_TOKEN]
            assert tuple(names) == one.query.names
            group = one.group + first_group if one.group >= 0 else NO_GROUP
            assert batch["group_BQ"][b, q] == group
            assert bool(batch["is_right_BQ"][b, q]) == one.is_right_option
            teacher = batch["teacher_ids_BQT"][b, q].tolist()
            wanted = target.topk_ids[one.teacher].tolist() if one.teacher >= 0 else [0] * TOP_K
            assert teacher == wanted
            assert (batch["teacher_p_BQT"][b, q].sum() > 0) == (one.teacher >= 0)
        first_group += len(example.implicit)
    assert batch["implicit_G"].tolist() == [one for e in examples for one in e.implicit]
    assert batch["has_implicit_G"].tolist() == [one for e in examples for one in e.has_implicit]
    assert batch["token_BQ"].min() == MASK
