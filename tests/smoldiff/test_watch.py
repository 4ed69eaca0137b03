"""What `smoldiff call --watch` draws: slots from grey to coloured, then the base's verdict."""

import io
import json

import pytest
import torch
from fakes import byte_tokenizer, hash_model
from rich.console import Console

import smoldiff
from smoldiff import watch
from smoldiff.decode.asked import OpenSlot, SlotQueries
from smoldiff.decode.denoise import SlotFill
from smoldiff.decode.observer import Verdict
from smoldiff.errors import RequestError
from smoldiff.head.model import DiffusionHead
from smoldiff.scaffold.cursor import NO_CHOICES
from smoldiff.watch import ACCEPTED, CORRECTED, EMPTY, OPEN, OWN, REFUSED, Watch, shade, watching

MODEL = hash_model(byte_tokenizer())
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 6}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
REST = smoldiff.compile_schema(SCHEMA).resume("", NO_CHOICES)


class Kept:
    """Frames as they are handed over."""

    def __init__(self):
        self.frames = []

    def frame(self, name, body):
        self.frames.append((name, body))


def styles(body):
    """The text of a frame in pieces of one style."""
    plain = body.plain
    return [(plain[s.start : s.end], s.style) for s in body.spans]


def fill(pointer, text, chances, written=""):
    asked = SlotQueries(OpenSlot(pointer, None, written, 8, None), (), 0, ())
    return SlotFill(asked, MODEL.vocabulary.encode_bytes(text.encode()), chances, True)


@pytest.fixture
def kept():
    return Kept()


@pytest.fixture
def observer(kept):
    return Watch(MODEL.vocabulary, kept)


def test_an_open_slot_is_grey(observer, kept):
    observer.opened("", REST)
    ((name, body),) = kept.frames
    assert name == "sketch"
    assert body.plain == f'{{"city": "{EMPTY}", "days": {EMPTY}}}'
    assert styles(body) == [(EMPTY, OPEN), (EMPTY, OPEN)]


def test_a_filled_slot_has_the_colours_of_its_tokens(observer, kept):
    observer.opened("", REST)
    observer.filled(1, [fill("/city", "Ab", [0.97, 0.1]), fill("/days", "", [])])
    name, body = kept.frames[-1]
    assert name == "step 2"
    assert body.plain == f'{{"city": "Ab", "days": {EMPTY}}}'
    assert styles(body) == [("A", "green"), ("b", "red"), (EMPTY, OPEN)]


def test_what_is_written_of_a_slot_is_not_drawn_twice(observer, kept):
    text = '{"city": "Os'
    observer.opened(text, smoldiff.compile_schema(SCHEMA).resume(text, NO_CHOICES))
    observer.filled(0, [fill("/city", "Oslo", [1.0, 1.0, 0.6, 0.9], "Os")])
    body = kept.frames[-1][1]
    assert body.plain == f'{{"city": "Oslo", "days": {EMPTY}}}'
    assert styles(body)[-3:] == [("l", "dark_orange"), ("o", "yellow"), (EMPTY, OPEN)]


def test_a_character_of_several_tokens_is_drawn_whole(observer, kept):
    observer.opened("", REST)
    observer.filled(0, [fill("/city", "ø!", [0.1, 0.99, 0.6])])
    assert styles(kept.frames[-1][1])[:2] == [("ø", "green"), ("!", "dark_orange")]


@pytest.mark.parametrize(
    ("chance", "colour"),
    [(1.0, "green"), (0.95, "green"), (0.9, "yellow"), (0.5, "dark_orange"), (0.0, "red")],
)
def test_the_colour_says_how_sure(chance, colour):
    assert shade(chance) == colour


def test_a_verdict_tells_right_from_refused(observer, kept):
    observer.verified(Verdict("ab", "cd", "X", "ef"))
    name, body = kept.frames[0]
    assert name == "verified, but here the base writes 'X'"
    assert body.plain == "abcdXef"
    assert styles(body) == [("cd", ACCEPTED), ("X", CORRECTED), ("ef", REFUSED)]


def test_a_verdict_on_a_right_draft_corrects_nothing(observer, kept):
    observer.verified(Verdict("ab", "cd", "e", ""))
    name, body = kept.frames[0]
    assert name == "verified"
    assert styles(body)[:2] == [("cd", ACCEPTED), ("e", OWN)]


@pytest.mark.parametrize("mode", ["verified", "ar"])
def test_the_verdicts_of_an_answer_follow_one_another(mode):
    class Seen:
        def __init__(self):
            self.verdicts = []

        def opened(self, written, rest):
            raise AssertionError("there is no head")

        filled = opened

        def verified(self, verdict):
            self.verdicts.append(verdict)

    seen = Seen()
    call = smoldiff.generate_call(MODEL, SCHEMA, "hi", mode=mode, observer=seen)
    written = ""
    for verdict in seen.verdicts:
        assert verdict.written == written
        written += verdict.accepted + verdict.own
    assert written == call.text
    assert any(v.refused for v in seen.verdicts) == (mode == "verified")
    assert len(seen.verdicts) == call.stats.base_passes + 1


def test_an_object_that_cannot_observe_is_refused():
    with pytest.raises(RequestError, match="opened, filled, verified"):
        smoldiff.generate_call(MODEL, SCHEMA, "hi", observer=print)


@pytest.fixture(scope="module")
def with_head():
    model = smoldiff.load(head="none")
    torch.manual_seed(0)
    return model.with_head(DiffusionHead.for_base(model, num_layers=1))


@pytest.mark.parametrize("mode", ["verified", "diffusion"])
def test_a_head_is_watched_step_by_step(with_head, kept, mode):
    observer = Watch(with_head.vocabulary, kept)
    options = {"mode": mode, "denoise_steps": 2, "observer": observer}
    if mode == "diffusion":
        options["steps"] = 1
    call = smoldiff.generate_call(with_head, SCHEMA, "Oslo for 3 days", **options)
    names = [name.split(",")[0] for name, _ in kept.frames]
    assert names[:5] == ["sketch", "verified", "draft 1", "step 1", "step 2"]
    assert ("verified" in names[5:]) == (mode == "verified")
    if mode == "diffusion":
        assert json.loads(kept.frames[-1][1].plain) == call.arguments


@pytest.mark.parametrize("mode", ["verified", "diffusion"])
def test_watching_changes_nothing(with_head, kept, mode):
    observer = Watch(with_head.vocabulary, kept)
    plain = smoldiff.generate_call(with_head, SCHEMA, "Oslo for 3 days", mode=mode)
    watched = smoldiff.generate_call(
        with_head, SCHEMA, "Oslo for 3 days", mode=mode, observer=observer
    )
    assert watched.token_ids == plain.token_ids
    assert watched.stats.head_passes == plain.stats.head_passes


def drawn(is_terminal, monkeypatch):
    pauses = []
    monkeypatch.setattr(watch.time, "sleep", pauses.append)
    console = Console(file=io.StringIO(), force_terminal=is_terminal, width=120)
    with watching(console, MODEL.vocabulary) as observer:
        observer.opened("", REST)
        observer.filled(0, [fill("/city", ":on: [b]", [0.9] * 8)])
    return console.file.getvalue(), pauses


def test_without_a_terminal_the_frames_follow_one_another(monkeypatch):
    text, pauses = drawn(False, monkeypatch)
    assert text.splitlines() == [
        "sketch",
        f'{{"city": "{EMPTY}", "days": {EMPTY}}}',
        "step 1",
        f'{{"city": ":on: [b]", "days": {EMPTY}}}',
    ]
    assert not pauses


def test_in_a_terminal_the_frames_take_each_others_place(monkeypatch):
    text, pauses = drawn(True, monkeypatch)
    assert "\x1b[1A" in text  # one line up, over what was drawn before
    assert len(pauses) == 2
