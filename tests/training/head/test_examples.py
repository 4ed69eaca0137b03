"""Examples ask what is left of an answer, and their labels spell it."""

import json
from dataclasses import replace
from itertools import groupby
from random import Random

import numpy as np
import pytest
from made_targets import ANSWERS, MAIL, PING, TOOLS, TRIP, made_target, made_targets

from smoldiff.decode.asked import name_ids
from smoldiff.head.inputs import DECISIONS, KINDS, NO_TOKEN, SLOTS
from smoldiff.head.readings import MAX_MATCH
from smoldiff.scaffold.answer import CallStyle
from smoldiff.schema.pointers import steps
from smoldiff.template.template import MASK
from smoldiff.template.vocabulary import Vocabulary
from smoldiff_training.head.batches import Scaffolds
from smoldiff_training.head.config import NoiseConfig
from smoldiff_training.head.examples import COMPLEMENT, IGNORED, NULL, ExampleMaker, num_common

MAX_POSITIONS = 16
FULL = NoiseConfig(full_mask_share=1.0, prefix_share=0.0)
PREFIXES = NoiseConfig(full_mask_share=0.0, prefix_share=1.0)
MIXED = NoiseConfig(full_mask_share=0.0, prefix_share=0.0)
ONE_SIDED = replace(MIXED, complementary=False)
SEEDS = range(25)


class Watched(ExampleMaker):
    """A maker that keeps each slot with its labels as they are before some are shown."""

    def _labelled(self, asked, num, answer):
        rows = super()._labelled(asked, num, answer)
        self.slots.append((asked, rows))
        return rows


@pytest.fixture(scope="module")
def vocabulary(tokenizer):
    return Vocabulary.of(tokenizer)


@pytest.fixture(scope="module")
def targets(tokenizer):
    return made_targets(tokenizer)


@pytest.fixture(scope="module")
def compiled():
    return Scaffolds(CallStyle())


@pytest.fixture
def make(vocabulary, compiled):
    """Makes an example and returns it with its slots."""

    def made(target, noise, seed):
        maker = Watched(vocabulary, noise, MAX_POSITIONS, compiled)
        maker.slots = []
        return maker.make(target, Random(seed)), maker.slots

    return made


@pytest.fixture
def examples(make, targets):
    """Examples of every target, each with the target, its calls and its slots."""

    def found(noise):
        for number, target in enumerate(targets):
            for seed in SEEDS:
                example, slots = make(target, noise, seed)
                if example is not None:
                    yield example, target, ANSWERS[number][1], slots

    return found


def value_at(calls, pointer):
    """The text of the slot at an answer's pointer."""
    call, _, *path = steps(pointer)
    value = calls[int(call)][1]
    for step in path:
        value = value[int(step)] if isinstance(value, list) else value[step]
    text = json.dumps(value, ensure_ascii=False)
    return text[1:-1] if isinstance(value, str) else text


@pytest.mark.parametrize("noise", [FULL, PREFIXES, MIXED], ids=["full", "prefixes", "mixed"])
def test_known_tokens_labels_and_null_spell_the_answer(vocabulary, examples, noise):
    num_slots = num_cut = 0
    for _, _, calls, slots in examples(noise):
        for asked, rows in slots:
            value = value_at(calls, asked.open_slot.pointer)
            labels = [one.label for one in rows if one.label != IGNORED]
            tokens = [label for label in labels if label != NULL]
            assert labels == tokens + [NULL] * (len(labels) - len(tokens))
            text = vocabulary.bytes_of([*asked.known_ids, *tokens])
            is_cut = NULL not in labels and text != value.encode()
            assert value.encode().startswith(text) if is_cut else text == value.encode()
            num_slots, num_cut = num_slots + 1, num_cut + is_cut
    assert num_slots > 200
    assert num_cut < num_slots / 4


@pytest.mark.parametrize("noise", [FULL, PREFIXES, MIXED], ids=["full", "prefixes", "mixed"])
def test_the_history_holds_the_right_tokens_before_a_position(examples, noise):
    for _, _, _, slots in examples(noise):
        for asked, rows in slots:
            right = [*asked.known_ids, *(one.label for one in rows if one.label >= 0)]
            for one in rows:
                place = one.query.place
                wanted = (
                    [
                        right[p] if p >= 0 else NO_TOKEN
                        for p in range(place - 1, place - 1 - MAX_MATCH, -1)
                    ]
                    if place <= len(right)
                    else [NO_TOKEN] * MAX_MATCH
                )
                assert list(one.history) == wanted


def test_a_teacher_is_the_base_at_the_token_that_it_wrote(examples):
    num_tokens = num_taught = 0
    for _, target, _, slots in examples(FULL):
        for one in (one for _, rows in slots for one in rows):
            num_tokens += one.label >= 0
            num_taught += one.teacher >= 0
            if one.teacher >= 0 and one.label != IGNORED:
                assert target.answer_ids[one.teacher] == one.label
            if one.label == NULL:
                assert one.teacher == -1
    assert num_taught > num_tokens / 2


def test_all_of_what_is_left_is_masked_in_full(examples):
    for example, _, _, _ in examples(FULL):
        slots = [one for one in example.labelled if one.query.block == SLOTS]
        assert all(one.masked_share == 1.0 for one in slots)
        assert {one.query.block for one in example.labelled} <= {SLOTS, DECISIONS}
        for _, rows in groupby(slots, lambda one: one.slot):
            is_masked = [one.query.token_id == MASK for one in rows]
            assert is_masked == sorted(is_masked)  # only what is known stands in front


def test_prefixes_are_shown_from_the_left(examples):
    num_known = num_slots = 0
    for example, _, calls, slots in examples(PREFIXES):
        assert COMPLEMENT not in {one.query.block for one in example.labelled}
        for asked, rows in slots:
            value, known = value_at(calls, asked.open_slot.pointer), asked.open_slot.known
            assert value.startswith(known)
            is_begun = asked.open_slot.num_written is not None
            assert known != value or is_begun
            shown = [one.query.token_id for one in rows if one.label == IGNORED]
            assert tuple(shown) == asked.known_ids[asked.first_place :]
            num_known, num_slots = num_known + bool(known), num_slots + 1
    assert 0.2 < num_known / num_slots < 0.9


def by_place(example, block):
    """(slot, place) -> row, of one block."""
    return {
        (one.slot, one.query.place): one for one in example.labelled if one.query.block == block
    }


def test_complementary_blocks_cover_each_token_once_and_null_twice(examples):
    num_tokens = 0
    for example, _, _, slots in examples(MIXED):
        first, second = by_place(example, SLOTS), by_place(example, COMPLEMENT)
        assert first.keys() == second.keys()
        for num, (_, rows) in enumerate(slots):
            for right in rows:
                pair = [block[num, right.query.place] for block in (first, second)]
                labels = [one.label for one in pair]
                if right.label >= 0:
                    assert sorted(labels) == [IGNORED, right.label]
                    shown = pair[labels.index(IGNORED)]
                    assert shown.query.token_id == right.label
                    num_tokens += 1
                else:
                    assert labels == [right.label] * 2
                shares = [one.masked_share for one in pair]
                assert sum(shares) == pytest.approx(1.0)
    assert num_tokens > 200


def test_without_complements_there_is_one_block_with_as_much_masked_as_its_share_says(examples):
    found = []
    for example, _, _, slots in examples(ONE_SIDED):
        assert COMPLEMENT not in {one.query.block for one in example.labelled}
        block = by_place(example, SLOTS)
        for num, (_, rows) in enumerate(slots):
            for one in (block[num, right.query.place] for right in rows if right.label >= 0):
                found.append((one.masked_share, one.query.token_id == MASK))
    share, is_masked = np.array(found, dtype=float).T
    assert abs((is_masked - share).mean()) < 0.05
    assert 0.45 < np.corrcoef(share, is_masked)[0, 1] < 0.7  # 0.577 for even shares


def test_every_query_starts_from_a_token_that_was_fed(examples):
    for noise in (FULL, PREFIXES, MIXED):
        for example, target, _, _ in examples(noise):
            assert example.num_prompt == len(target.prompt_ids)
            assert example.ids[: example.num_prompt] == tuple(target.prompt_ids)
            for one in example.labelled:
                assert example.num_prompt - 1 <= one.query.anchor < len(example.ids)


def test_a_slot_has_a_few_positions_more_or_less(examples):
    lengths = {
        asked.first_place + len(asked.queries)
        for _, _, _, slots in examples(FULL)
        for asked, _ in slots
        if asked.open_slot.pointer == "/0/arguments/city"
    }
    assert len(lengths) > 4
    assert max(lengths) <= MAX_POSITIONS


def test_without_a_scaffold_only_the_prompt_is_fed(make, targets):
    noise = replace(FULL, redraft_share=0.0, no_scaffold_share=1.0)
    for target in targets:
        example, _ = make(target, noise, 0)
        assert example.ids == tuple(target.prompt_ids)
        assert {one.query.anchor for one in example.labelled} == {example.num_prompt - 1}
        assert not any(one.query.is_fed for one in example.labelled)


def test_the_first_draft_is_a_sketch_of_the_right_tool(vocabulary, make, targets):
    noise = replace(FULL, redraft_share=0.0, no_scaffold_share=0.0, wrong_tool_share=0.0)
    example, _ = make(targets[3], noise, 0)
    fed = vocabulary.bytes_of(example.ids[example.num_prompt :]).decode()
    assert fed == (
        '<tool_call>\n{"name": "send_mail", "arguments": {"text": "", "urgent": true}}\n</tool_call>'
    )
    asked = [one.query for one in example.labelled if one.query.block == SLOTS]
    assert all(query.is_fed for query in asked)


def test_now_and_then_the_sketch_is_of_the_wrong_tool(vocabulary, make, targets):
    noise = replace(FULL, redraft_share=0.0, no_scaffold_share=0.0, wrong_tool_share=1.0)
    fed = {
        vocabulary.bytes_of(made.ids[made.num_prompt :]).decode()[:30]
        for made, _ in (make(targets[0], noise, seed) for seed in SEEDS)
        if made is not None
    }
    assert len(fed) == len(TOOLS)


def test_later_drafts_are_sometimes_right_and_sometimes_not(vocabulary, make, targets):
    noise = replace(FULL, redraft_share=1.0)
    target = targets[1]
    fed = [make(target, noise, seed)[0] for seed in range(60)]
    texts = {vocabulary.bytes_of(one.ids[one.num_prompt :]) for one in fed if one is not None}
    answer = target.answer_text.encode()
    shares = [num_common(text, answer) / len(answer) for text in texts]
    assert min(shares) < 0.5 < max(shares)
    assert all(text.startswith(b"<tool_call>") for text in texts)


def test_a_seed_gives_one_example_and_another_seed_another(make, targets):
    noise = replace(MIXED, redraft_share=0.0)
    one, again, other = (make(targets[1], noise, seed)[0] for seed in (3, 3, 4))
    assert (one.ids, one.labelled) == (again.ids, again.labelled)
    assert (one.ids, one.labelled) != (other.ids, other.labelled)


def test_an_answer_that_the_tools_cannot_write_makes_no_example(make, tokenizer):
    for calls in ([("send_mail", {"city": "Oslo"})], [("fly", {})]):
        target = made_target(tokenizer, "x", calls, [MAIL])
        assert all(make(target, FULL, seed)[0] is None for seed in SEEDS)


def test_an_answer_that_leaves_nothing_open_makes_no_example(vocabulary, tokenizer):
    single = Scaffolds(CallStyle(can_repeat=False))
    maker = ExampleMaker(vocabulary, FULL, MAX_POSITIONS, single)
    target = made_target(tokenizer, "ping", [("ping", {})], [PING])
    assert all(maker.make(target, Random(seed)) is None for seed in SEEDS)


def groups(example):
    """The options of each question."""
    options = [one for one in example.labelled if one.query.block == DECISIONS]
    return [(number, list(rows)) for number, rows in groupby(options, lambda one: one.group)]


def test_every_question_has_one_right_option(examples):
    for example, _, _, _ in examples(NoiseConfig()):
        found = groups(example)
        assert [number for number, _ in found] == list(range(len(example.implicit)))
        for number, rows in found:
            num_right = sum(one.is_right_option for one in rows) + example.implicit[number]
            assert num_right == 1
            assert example.has_implicit[number] or not example.implicit[number]


def test_a_key_is_right_where_the_answer_has_it(vocabulary, make, targets):
    noise = replace(FULL, redraft_share=0.0)
    for number, wanted in ((0, set()), (1, {"day", "size", "to"}), (2, {"tags", "unit"})):
        example, _ = make(targets[number], noise, 0)
        rows = [one for one in example.labelled if KINDS[one.query.kind] == "ask-key"]
        right = {one.query.names for one in rows if one.is_right_option}
        assert right == {name_ids(vocabulary, key) for key in wanted}
        assert len(rows) == len(TRIP["parameters"]["properties"]) - 1


def test_the_tool_the_number_of_calls_and_of_items_are_those_of_the_answer(
    vocabulary, make, targets
):
    noise = replace(FULL, redraft_share=0.0, no_scaffold_share=1.0)

    def right(number, kind):
        example, _ = make(targets[number], noise, 0)
        rows = [one for one in example.labelled if KINDS[one.query.kind] == kind]
        return [one.query.index for one in rows if one.is_right_option]

    assert [right(number, "ask-branch")[:1] for number in range(5)] == [[0], [0], [0], [1], [0]]
    assert right(4, "ask-branch") == [0, 1]
    assert [right(number, "ask-length")[0] for number in range(5)] == [0, 0, 0, 0, 1]
    assert right(2, "ask-length") == [0, 2]


def test_questions_are_asked_only_for_what_is_left(make, targets):
    noise = replace(FULL, redraft_share=1.0)
    num_asked = set()
    for seed in range(40):
        example, _ = make(targets[1], noise, seed)
        if example is not None:
            num_asked.add(len(example.implicit))
    assert max(num_asked) == 6  # five keys and the number of calls
    assert min(num_asked) < 3


def test_common_beginnings_are_counted():
    assert num_common([1, 2, 3], [1, 2, 4]) == 2
    assert num_common([1, 2], [1, 2, 4]) == 2
    assert num_common([], [1]) == 0
