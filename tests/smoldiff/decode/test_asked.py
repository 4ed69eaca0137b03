"""Slots and questions become queries: what they are about, what is known of them, and where they start."""

import pytest
from fakes import byte_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from smoldiff.decode.asked import (
    KIND_IDS,
    MAX_NAME_CHARS,
    Asker,
    OpenSlot,
    index_of,
    key_of,
    kind_of,
    name_ids,
)
from smoldiff.decode.decisions import Decisions
from smoldiff.decode.draft import EMPTY
from smoldiff.decode.opening import FIRST_POSITIONS, first_positions, open_slots
from smoldiff.decode.scores import Ask
from smoldiff.decode.seen import Seen
from smoldiff.decode.sketch import sketch, sketch_draft
from smoldiff.head.inputs import DECISIONS, KINDS, MAX_NAME_TOKENS, SLOTS
from smoldiff.scaffold.compile import compile_schema
from smoldiff.scaffold.cost import Costs
from smoldiff.scaffold.cursor import NO_CHOICES, Choices, Gap
from smoldiff.scaffold.pieces import Slot
from smoldiff.schema.nodes import Boolean, Enum, Integer, Number, Opaque, String
from smoldiff.template.template import MASK
from smoldiff.template.vocabulary import Vocabulary

VOCABULARY = Vocabulary.of(byte_tokenizer([("a", "b"), ("ab", "c"), ('"', ",")]))
ASKER = Asker(VOCABULARY)
NUM_PROMPT = 10
TRIP = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "date": {"type": "string", "format": "date"},
        "tags": {"type": "array", "items": {"type": "integer"}, "maxItems": 3},
        "kind": {
            "anyOf": [
                {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
                {"type": "object", "properties": {"b": {"type": "string"}}, "required": ["b"]},
            ]
        },
    },
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS = [
    {"name": "trip", "parameters": TRIP},
    {"name": "ping", "parameters": {"properties": {"host": {"type": "string"}}}},
]


def sketched(schema, max_calls=1):
    """What was seen after the first pass, and the remainder that was shown."""
    remainder = sketch(compile_schema(schema, max_calls=max_calls), "", NO_CHOICES)
    draft = sketch_draft(remainder, VOCABULARY)
    return Seen.of(VOCABULARY, NUM_PROMPT, [], draft, 0), remainder


def fed_text(seen, query):
    """The answer's text up to the token that a query starts from."""
    idx = query.anchor - NUM_PROMPT
    return seen.text[: seen.ends[idx]].decode() if idx >= 0 else ""


def asked_slots(seen, remainder, known=None, positions=4):
    gaps = [piece for piece in remainder.pieces if isinstance(piece, Gap)]
    known = {gap.pointer: "" for gap in gaps} | (known or {})
    slots = open_slots(remainder, "", known, {gap.pointer: positions for gap in gaps})
    return {one.open_slot.pointer: one for one in ASKER.slots(seen, slots)}


def questions(seen, schema, max_calls=1, prefix="", choices=NO_CHOICES):
    remainder = compile_schema(schema, max_calls=max_calls).resume(prefix, choices)
    decisions = Decisions(None, Costs())
    found = [one for decision in remainder.decisions for one in decisions.questions(decision)]
    return {(one.pointer, one.ask, one.name): (one, ASKER.question(seen, one)) for one in found}


def test_every_kind_has_a_number():
    assert len(set(KINDS)) == len(KINDS)
    assert {f"ask-{ask.value}" for ask in Ask} <= KIND_IDS.keys()


@pytest.mark.parametrize(
    ("language", "pointer", "kind"),
    [
        (String(""), "/a", "string"),
        (String("", formats=("date",)), "/a", "date"),
        (String("", formats=("date-time",)), "/a", "date-time"),
        (String("", formats=("email",)), "/a", "format"),
        (String("", patterns=("^a",)), "/a", "pattern"),
        (String(""), "/a/~k0", "member-key"),
        (Integer(""), "/a", "integer"),
        (Number(""), "/a", "number"),
        (Boolean(""), "/a", "boolean"),
        (Enum("", ('"a"', '"b"')), "/a", "enum"),
        (Enum("", ('"a"', "1")), "/a", "json-enum"),
        (Opaque(""), "/a", "any"),
    ],
)
def test_a_slot_is_of_the_kind_of_its_language(language, pointer, kind):
    assert kind_of(language, pointer) == kind
    assert kind in KIND_IDS


@pytest.mark.parametrize(
    ("pointer", "key", "index"),
    [
        ("/0/arguments/city", "city", 0),
        ("/2/arguments/city", "city", 2),
        ("/0/arguments/tags/3", "tags", 3),
        ("/0/arguments/stops/1/at", "at", 1),
        ("/0/arguments/a~1b", "a/b", 0),
        ("/map/~k1", "map", 0),
        ("/map/~v1/x", "x", 0),
        ("/map/~v1", "map", 0),
        ("", "", 0),
    ],
)
def test_a_slot_has_the_name_of_its_key_and_the_number_of_its_item(pointer, key, index):
    assert (key_of(pointer), index_of(pointer)) == (key, index)


def test_a_name_is_its_first_tokens():
    assert VOCABULARY.bytes_of(name_ids(VOCABULARY, "abc")) == b"abc"
    assert len(name_ids(VOCABULARY, "xyz" * 100)) == MAX_NAME_TOKENS
    assert name_ids(VOCABULARY, "") == ()
    assert len(name_ids(VOCABULARY, "\N{GRINNING FACE}" * MAX_NAME_CHARS)) == MAX_NAME_TOKENS


def test_a_masked_slot_has_a_query_for_each_position():
    seen, remainder = sketched(TRIP)
    one = asked_slots(seen, remainder)["/date"]
    assert [query.token_id for query in one.queries] == [MASK] * 4
    assert [query.place for query in one.queries] == [0, 1, 2, 3]
    assert [query.offset for query in one.queries] == [0, 1, 2, 3]
    assert {query.block for query in one.queries} == {SLOTS}
    assert {KINDS[query.kind] for query in one.queries} == {"date"}
    assert {query.names for query in one.queries} == {name_ids(VOCABULARY, "date")}
    assert fed_text(seen, one.queries[0]).endswith('"date": "')
    assert one.queries[0].is_fed


def test_slots_start_behind_their_own_keys():
    seen, remainder = sketched(TRIP)
    fed = {p: fed_text(seen, one.queries[0]) for p, one in asked_slots(seen, remainder).items()}
    assert fed["/city"].endswith('{"city": "')
    assert fed["/tags/0"].endswith('"tags": [')
    assert fed["/kind/a"].endswith('"kind": {"a": "')


def test_a_known_beginning_stands_in_the_queries_and_one_position_more_is_open():
    seen, remainder = sketched(TRIP)
    one = asked_slots(seen, remainder, {"/city": "abcxyz"}, positions=3)["/city"]
    assert VOCABULARY.bytes_of(one.known_ids) == b"abcxyz"
    assert [query.token_id for query in one.queries] == [*one.known_ids, MASK]
    assert one.first_place == 0  # the sketch shows an empty slot


def test_what_is_known_and_was_fed_needs_no_query():
    text = '{"city": "abcx'
    ids = VOCABULARY.encode(text)
    seen = Seen.of(VOCABULARY, NUM_PROMPT, ids, EMPTY, len(ids))
    remainder = compile_schema(TRIP).resume(text)
    (slot,) = open_slots(remainder, text, {"/city": "abcxy"}, {"/city": 5})
    assert slot.num_written == len('{"city": "')
    (one,) = ASKER.slots(seen, [slot])
    assert one.first_place == 2  # abc, x
    assert [query.place for query in one.queries] == [2, 3, 4]
    assert [query.offset for query in one.queries] == [0, 1, 2]
    assert [query.token_id for query in one.queries] == [one.known_ids[2], MASK, MASK]
    assert one.queries[0].anchor == seen.last_right


def test_a_slot_that_was_not_seen_starts_behind_the_slot_before_it():
    seen, _ = sketched(TRIP)
    remainder = compile_schema(TRIP).resume("", Choices(lengths={"/tags": 2}, keys={"": {"tags"}}))
    found = asked_slots(seen, remainder)
    second = found["/tags/1"].queries[0]
    assert not second.is_fed
    assert second.anchor == seen.end_of("/tags/0")
    assert (second.index, found["/tags/0"].queries[0].index) == (1, 0)


def test_a_slot_behind_nothing_seen_starts_at_the_last_right_token():
    seen = Seen.of(VOCABULARY, NUM_PROMPT, [], EMPTY, 0)
    found = asked_slots(seen, compile_schema(TRIP).resume("{"))
    query = found["/city"].queries[0]
    assert (query.anchor, query.is_fed) == (NUM_PROMPT - 1, False)


def test_only_slots_with_something_known_are_opened():
    remainder = compile_schema(TRIP).resume("", Choices(keys={"": {"date"}}))
    (one,) = open_slots(remainder, "", {"/date": "20"}, {"/date": 4})
    assert (one.pointer, one.known, one.num_written) == ("/date", "20", None)


def test_a_written_text_is_measured_in_bytes():
    text = '{"city": "éé'
    (one,) = open_slots(compile_schema(TRIP).resume(text), text, {"/city": "éé"}, {"/city": 4})
    assert one.num_written == len(b'{"city": "')


def test_a_slot_gets_the_positions_of_its_values_but_not_many_at_first():
    def positions(schema, most=32):
        (gap,) = [p for p in compile_schema(schema).resume().pieces if isinstance(p, Gap)]
        return first_positions(gap.slot.language, VOCABULARY, most)

    assert positions({"enum": ["xy", "xyz"]}) == 3
    assert positions({"type": "string", "maxLength": 5}) == 5
    assert positions({"type": "string"}) == FIRST_POSITIONS
    assert positions({"type": "string"}, most=4) == 4


def test_a_key_is_one_option_beside_its_absence():
    seen, _ = sketched(TRIP)
    _, (query,) = questions(seen, TRIP)["", Ask.KEY, "tags"]
    assert (query.block, KINDS[query.kind], query.index) == (DECISIONS, "ask-key", 1)
    assert query.names == name_ids(VOCABULARY, "tags")
    assert fed_text(seen, query).endswith('"date": "", ')  # the token before the key, as it was fed
    assert query.is_fed


def test_a_length_has_an_option_for_each_number_and_starts_before_the_first_item():
    seen, _ = sketched(TRIP)
    chosen = Choices(keys={"": frozenset({"tags"})})
    question, queries = questions(seen, TRIP, choices=chosen)["/tags", Ask.LENGTH, ""]
    assert [query.index for query in queries] == list(range(question.num_options)) == [0, 1, 2, 3]
    assert fed_text(seen, queries[0]).endswith('"tags": [')


def test_a_union_and_the_tools_are_asked_for_by_their_labels():
    seen, _ = sketched(TOOLS)
    question, queries = questions(seen, TOOLS)["/0", Ask.BRANCH, ""]
    assert [query.names for query in queries] == [
        name_ids(VOCABULARY, label) for label in question.decision.piece.labels
    ]
    assert question.decision.piece.labels == ("trip", "ping")
    assert {query.anchor for query in queries} == {NUM_PROMPT - 1}


def test_more_calls_are_asked_for_at_the_end_of_what_was_seen():
    seen, _ = sketched(TOOLS, max_calls=3)
    _, queries = questions(seen, TOOLS, max_calls=3)["", Ask.LENGTH, ""]
    assert {query.anchor for query in queries} == {seen.num_tokens - 1}
    assert fed_text(seen, queries[0]).endswith("</tool_call>")


def test_a_question_about_what_was_not_seen_starts_at_the_last_right_token():
    seen = Seen.of(VOCABULARY, NUM_PROMPT, [], EMPTY, 0)
    for _, queries in questions(seen, TRIP).values():
        assert {(query.anchor, query.is_fed) for query in queries} == {(NUM_PROMPT - 1, False)}


TEXTS = st.text('ab"c,é', max_size=8)


@settings(max_examples=100, deadline=None)
@given(TEXTS, st.integers(0, 8), st.integers(1, 6))
def test_known_tokens_and_queries_make_up_the_slot(known, num_fed, num_positions):
    known = known.replace('"', '\\"')
    text = '{"city": "' + known[:num_fed].rstrip("\\")
    ids = VOCABULARY.encode(text)
    seen = Seen.of(VOCABULARY, NUM_PROMPT, ids, EMPTY, len(ids))
    slot = OpenSlot("/city", Slot("", String("")), known, num_positions, len('{"city": "'))
    (one,) = ASKER.slots(seen, [slot])
    assert VOCABULARY.bytes_of(one.known_ids).decode() == known
    num = max(num_positions, len(one.known_ids) + 1)
    assert one.first_place + len(one.queries) == num
    assert [query.place for query in one.queries] == list(range(one.first_place, num))
    shown = [query.token_id for query in one.queries if query.token_id != MASK]
    assert (*one.known_ids[: one.first_place], *shown) == one.known_ids
    assert one.queries[-1].token_id == MASK
    assert one.queries[0].anchor <= seen.last_right
