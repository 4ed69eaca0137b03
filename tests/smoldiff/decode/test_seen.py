"""Where the head starts: at the last token that the base has seen in front of a slot, a key or an end."""

import pytest
from fakes import byte_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from smoldiff.decode.draft import EMPTY, make_draft, write_draft
from smoldiff.decode.seen import Anchor, Seen
from smoldiff.decode.sketch import sketch, sketch_draft
from smoldiff.scaffold.compile import compile_schema
from smoldiff.scaffold.cursor import Choices
from smoldiff.template.vocabulary import Vocabulary

SPACE = "\N{LATIN CAPITAL LETTER G WITH DOT ABOVE}"  # as byte-level tokenizers write it
MERGES = [("a", "b"), (":", SPACE), (":" + SPACE, '"'), ('"', ","), ("b", '"'), ("ab", "c")]
VOCABULARY = Vocabulary.of(byte_tokenizer(MERGES))
TRIP = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "to": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
    "required": ["city", "days", "to"],
    "additionalProperties": False,
}
SCAFFOLD = compile_schema(TRIP)
NUM_PROMPT = 10


def seen_of(written, values, num_right=None):
    """After a pass over `written` and a draft with these values behind it."""
    ids = VOCABULARY.encode(written) if written else []
    parts, spans = write_draft(
        SCAFFOLD.resume(written), lambda gap: values.get(gap.pointer, gap.written)
    )
    draft = make_draft(VOCABULARY, ids, parts, spans)
    return Seen.of(VOCABULARY, NUM_PROMPT, ids, draft, len(ids) if num_right is None else num_right)


def end_of(seen, anchor):
    """The byte of the answer at which the anchor's token ends."""
    idx = anchor.index - NUM_PROMPT
    return seen.ends[idx] if idx >= 0 else 0


VALUES = {"/city": "abc", "/days": "12", "/to/city": "Rome"}


def test_the_text_is_what_was_fed():
    seen = seen_of('{"city": "ab', VALUES)
    assert seen.text == b'{"city": "abc", "days": 12, "to": {"city": "Rome"}}'
    assert seen.ends[-1] == len(seen.text)
    assert seen.num_tokens == NUM_PROMPT + len(seen.fed_ids)
    spans = {pointer: seen.text[a:b] for pointer, (a, b) in seen.spans.items()}
    assert spans == {"/city": b"abc", "/days": b"12", "/to/city": b"Rome"}


def test_a_slot_starts_behind_the_token_in_front_of_it():
    seen = seen_of("", VALUES)
    anchor = seen.slot("/days", b"", None, NUM_PROMPT)
    assert seen.text[: end_of(seen, anchor)] == b'{"city": "abc", "days": '
    assert (anchor.num_bytes, anchor.is_fed) == (0, True)


def test_a_slot_goes_on_behind_what_is_known_and_was_fed():
    seen = seen_of("", VALUES)
    anchor = seen.slot("/to/city", b"Ro", None, NUM_PROMPT)
    assert seen.text[: end_of(seen, anchor)].endswith(b'{"city": "Ro')
    assert anchor.num_bytes == 2


def test_a_token_that_goes_on_otherwise_is_not_started_from():
    """`abc` is one token: with `ab` known and `x` behind it, its state knows of the c."""
    seen = seen_of("", VALUES)
    anchor = seen.slot("/city", b"abx", None, NUM_PROMPT)
    assert seen.text[: end_of(seen, anchor)] == b'{"city": "'
    assert anchor.num_bytes == 0


def test_what_was_not_seen_starts_where_it_is_told():
    seen = seen_of("", VALUES)
    assert seen.slot("/other", b"a", None, 17) == Anchor(17, 0, is_fed=False)
    assert seen.before("/other", 17) == Anchor(17, 0, is_fed=False)
    assert seen.key(b'"other"', ["/other"], 17) == Anchor(17, 0, is_fed=False)
    assert seen.end_of("/other") is None


def test_a_slot_that_the_answer_has_begun_starts_behind_what_was_right():
    written = '{"city": "ab'
    ids = VOCABULARY.encode(written)
    seen = seen_of(written, VALUES)
    anchor = seen.slot("/city", b"ab", len('{"city": "'), NUM_PROMPT)
    assert anchor == Anchor(NUM_PROMPT + len(ids) - 1, 2, is_fed=True)
    assert seen.last_right == anchor.index


def test_a_begun_slot_never_starts_from_a_token_that_was_wrong():
    """The draft said `"x`; the base said `: "` and then a first letter in one token, so the slot begins behind what was
    right, where the draft's wrong tokens stand."""
    seen = seen_of("", {"/city": "xyz"}, num_right=len(VOCABULARY.encode('{"city')))
    num_written = len('{"city": "')
    anchor = seen.slot("/city", b"ab", num_written, NUM_PROMPT)
    assert anchor.index == seen.last_right


@pytest.mark.parametrize("pointer", VALUES)
def test_before_a_slot_is_in_front_of_whatever_stands_there(pointer):
    seen = seen_of("", VALUES)
    anchor = seen.before(pointer, 99)
    assert anchor == seen.slot(pointer, b"", None, 99)


def test_the_end_of_a_slot_is_its_last_whole_token():
    seen = seen_of("", VALUES)
    end = Anchor(seen.end_of("/to/city"), 0, is_fed=True)
    assert seen.text[: end_of(seen, end)].endswith(b"Rome")


def test_a_key_starts_in_front_of_its_own_text():
    seen = seen_of("", {**VALUES, "/city": '\\"city\\"'})
    inner = seen.key(b'"city"', ["/to/city"], 99)
    outer = seen.key(b'"city"', ["/city"], 99)
    assert seen.text[: end_of(seen, inner)].endswith(b'"to": {')
    assert seen.text[: end_of(seen, outer)] == b"{"
    assert inner.is_fed


def test_a_key_that_was_not_written_so_is_not_found():
    seen = seen_of("", VALUES)
    assert seen.key(b'"town"', ["/city"], 99) == Anchor(99, 0, is_fed=False)


def test_before_the_first_token_stands_the_prompt():
    empty = Seen.of(VOCABULARY, NUM_PROMPT, [], EMPTY, 0)
    assert empty.last_right == NUM_PROMPT - 1
    assert empty.slot("/city", b"", None, empty.last_right).index == NUM_PROMPT - 1
    assert empty.slot("/city", b"", 0, empty.last_right).index == NUM_PROMPT - 1
    seen = seen_of("", VALUES)
    assert seen.key(b"{", ["/city"], 99).index == NUM_PROMPT - 1


def test_slots_behind_a_draft_that_was_cut_were_not_seen():
    draft = sketch_draft(sketch(SCAFFOLD, "", Choices()), VOCABULARY)
    num = draft.first_token_behind(draft.text.index(b'"to"'))
    cut = type(draft)(draft.ids[:num], draft.ends[:num], draft.text, draft.spans)
    seen = Seen.of(VOCABULARY, NUM_PROMPT, [], cut, 0)
    assert set(seen.spans) == {"/city", "/days"}


LETTERS = st.text("abcé", max_size=6)


@settings(max_examples=150, deadline=None)
@given(LETTERS, LETTERS, LETTERS, st.integers(0, 6))
def test_an_anchor_ends_inside_the_known_text_or_in_front_of_it(before, fed, known, num_written):
    written = '{"city": "' + before[:num_written]
    seen = seen_of(written, {"/city": before, "/to/city": fed})
    data = known.encode()
    anchor = seen.slot("/to/city", data, None, 99)
    start, stop = seen.spans["/to/city"]
    end = end_of(seen, anchor)
    assert anchor.num_bytes == max(0, end - start)
    assert seen.text[start:end] == data[: anchor.num_bytes]
    # The next token would pass what is known, or what was fed at the slot's place.
    following = seen.ends[anchor.index - NUM_PROMPT + 1]
    agreed = 0
    while agreed < min(stop - start, len(data)) and seen.text[start + agreed] == data[agreed]:
        agreed += 1
    assert end <= start + agreed < following
