import json

import bench_drafts
import pytest
from calls.data import read_example
from calls.drafts import DraftedSlot, by_kind, drafted_slots, first_draft_slots, watch
from fakes import byte_tokenizer

import smoldiff
from smoldiff.decode.draft import Draft, Span, cut_draft
from smoldiff.schema.nodes import Integer, String
from smoldiff.template.vocabulary import Vocabulary

VOCABULARY = Vocabulary.of(byte_tokenizer())  # one token a byte
TEXT = b'"city": "Oslo", "seats": 12}'
SPANS = (
    Span("/city", String("/city"), 9, 13),
    Span("/seats", Integer("/seats"), 25, 27),
)


def ids(text):
    return tuple(VOCABULARY.encode_bytes(text))


def draft(text=TEXT, spans=SPANS):
    return Draft(ids(text), tuple(range(1, len(text) + 1)), text, spans)


def numbers(written, of=None):
    slots = drafted_slots(VOCABULARY, of or draft(), ids(written))
    return [(slot.num_tokens, slot.num_right, slot.is_whole) for slot in slots]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (TEXT, [(4, 4, True), (2, 2, True)]),
        (b'"city": "Oslo", "seats": 12, "x": 1}', [(4, 4, True), (2, 2, True)]),
        (b'"city": "Oslo", "seats": 123}', [(4, 4, True), (2, 2, False)]),
        (b'"city": "Oslo", "seats": 17}', [(4, 4, True), (2, 1, False)]),
        (b'"city": "Oslo2", "seats": 12}', [(4, 4, False), (2, None, None)]),
        (b'"city": "Os", "seats": 12}', [(4, 2, False), (2, None, None)]),
        (b'"city": "Bern", "seats": 12}', [(4, 0, False), (2, None, None)]),
        (b'"town": "Oslo"}', [(4, None, None), (2, None, None)]),
    ],
    ids=str,
)
def test_a_slot_is_right_up_to_the_first_wrong_token_and_unknown_behind_it(written, expected):
    assert numbers(written) == expected


def test_a_slot_that_has_begun_counts_what_was_drafted_of_it():
    begun = draft(b'lo"}', (Span("/city", String("/city"), -2, 2),))
    assert numbers(b'lo"}', begun) == [(2, 2, True)]
    assert numbers(b'lt"}', begun) == [(2, 1, False)]


def test_an_empty_slot_is_whole_where_the_answer_leaves_it_empty():
    empty = draft(b'"a": ""}', (Span("/a", String("/a"), 6, 6),))
    assert numbers(b'"a": ""}', empty) == [(0, 0, True)]
    assert numbers(b'"a": "x"}', empty) == [(0, 0, False)]


def test_what_does_not_fit_into_a_pass_is_not_verified():
    text = b'"' + b"x" * 70 + b'"'
    long = draft(text, (Span("/a", String("/a"), 1, 71),))
    assert numbers(text, long) == [(70, None, None)]


def test_slots_behind_the_end_of_a_shortened_draft_are_not_verified():
    assert numbers(TEXT, cut_draft(draft(), 20)) == [(4, 4, True), (1, None, None)]
    text = b'"a": "x", "b": ""}'
    spans = (Span("/a", String("/a"), 6, 7), Span("/b", String("/b"), 16, 16))
    assert numbers(text, cut_draft(draft(text, spans), 16))[1] == (0, None, None)


def test_numbers_are_of_verified_slots_and_kinds_go_by_size():
    slots = [
        DraftedSlot("string", 4, 1, False),
        DraftedSlot("string", 2, 2, True),
        DraftedSlot("string", 9, None, None),
        DraftedSlot("date", 3, None, None),
    ]
    found = by_kind(slots)
    assert list(found) == ["all", "string", "date"]
    string = {"num_drafted": 3, "num_verified": 2, "tokens": 3, "right_tokens": 1.5}
    assert found["string"] == {**string, "whole_pct": 50}
    assert found["date"]["right_tokens"] is None
    assert found["all"]["num_drafted"] == 4


def test_watching_a_drafter_changes_no_answer(rows):
    model = smoldiff.load(device="cpu", head="none")
    example = read_example(rows[1])
    options = {"mode": "verified", "drafter": "copy", "max_tokens": 64}
    answer, proposals = watch(model, example, options)
    plain = smoldiff.generate_call(model, list(example.tools), list(example.messages), **options)
    assert tuple(answer.ids) == plain.token_ids
    assert len(proposals) == plain.stats.base_passes + 1
    kinds = {slot.kind for slot in first_draft_slots(model, example, options)}
    assert kinds <= {"enum", "boolean"}


def test_rows_name_drafter_and_kind(data, head_folder, tmp_path, capsys):
    out = tmp_path / "drafts.jsonl"
    bench_drafts.main(
        f"--data {data} --head {head_folder} --max-tokens 64 --width 120 --out {out}".split()
    )
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert {row["drafter"] for row in found} >= {"diffusion+copy"}
    assert {row["kind"] for row in found} <= {"all", "enum", "boolean"}
    assert all(row["benchmark"] == "drafts" and row["data"] == "two.jsonl" for row in found)
    assert str(tmp_path) not in out.read_text()
    assert "first drafts" in capsys.readouterr().err
