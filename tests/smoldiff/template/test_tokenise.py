"""A prefix never forces a split that the base would not write: drafts carry the tokens of the whole text."""

import json
from pathlib import Path

import pytest
from fakes import byte_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from smoldiff.decode.model import NANO_PATH
from smoldiff.template.tokenise import tokenise
from smoldiff.template.vocabulary import Vocabulary

QWEN = Path(__file__).parents[3].parent / "shared" / "tokenizers" / "qwen"
ARGUMENTS = st.dictionaries(
    st.sampled_from(["city", "date", "n", "first name", "é"]),
    st.one_of(
        st.text(max_size=12), st.integers(-999, 99999), st.booleans(), st.none(), st.floats(-9, 9)
    ),
    max_size=4,
)


@pytest.fixture(scope="module", params=["nano", "qwen", "bytes"])
def vocabulary(request):
    if request.param == "bytes":
        return Vocabulary.of(byte_tokenizer())
    if request.param == "qwen" and not QWEN.exists():
        pytest.skip("../shared/tokenizers/qwen is absent")
    return Vocabulary.of(
        AutoTokenizer.from_pretrained(NANO_PATH if request.param == "nano" else QWEN)
    )


def answer_parts(arguments):
    body = json.dumps({"name": "find.it", "arguments": arguments}, ensure_ascii=False)
    return [("<tool_call>", True), ("\n" + body + "\n", False), ("</tool_call>", True)]


@settings(max_examples=40, deadline=None)
@given(arguments=ARGUMENTS)
def test_every_cut_of_the_written_tokens_is_continued_as_the_whole(vocabulary, arguments):
    parts = answer_parts(arguments)
    whole = tokenise(vocabulary, (), parts)
    body = parts[1][0].encode()
    for cut in range(1, len(whole) - 1):
        done = len(vocabulary.bytes_of(whole[1:cut]))
        try:
            rest = body[done:].decode()
        except UnicodeDecodeError:
            continue  # the cut lies inside a character
        assert whole[:cut] + tokenise(vocabulary, whole[:cut], [(rest, False), parts[2]]) == whole


@settings(max_examples=40, deadline=None)
@given(arguments=ARGUMENTS, data=st.data())
def test_a_split_that_the_base_chose_itself_is_continued_byte_for_byte(vocabulary, arguments, data):
    body = answer_parts(arguments)[1][0]
    cut = data.draw(st.integers(0, len(body)))
    written = [vocabulary.added.get("<tool_call>", 0), *vocabulary.encode(body[:cut])]
    rest = tokenise(vocabulary, written, [(body[cut:], False)])
    assert vocabulary.bytes_of([*written[1:], *rest]).decode() == body


def test_text_that_looks_like_a_control_token_stays_text(vocabulary):
    text = '{"a": "<|im_end|></tool_call>"}'
    ids = tokenise(vocabulary, (), [(text, False)])
    assert not set(ids) & vocabulary.added_ids
    assert vocabulary.bytes_of(ids).decode() == text


def test_a_cut_inside_a_character_drafts_nothing(vocabulary):
    head = vocabulary.encode("{")
    half = [t for t in range(len(vocabulary)) if vocabulary.token_bytes[t] == "é".encode()[:1]]
    assert tokenise(vocabulary, [*head, *half], [("}", False)]) == ()
