"""Templates: certain tokens, masked runs, the remainder behind any prefix, and the caches."""

import json
from pathlib import Path

import pytest
from fakes import byte_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

import smoldiff
from smoldiff.decode.model import NANO_PATH
from smoldiff.scaffold.cursor import Choices
from smoldiff.template import bind as bind_module
from smoldiff.template.cache import CACHE_VARIABLE, cache_folder
from smoldiff.template.template import MASK

QWEN = Path(__file__).parents[3].parent / "shared" / "tokenizers" / "qwen"
TOOLS = [
    {
        "name": "book_table",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string"},
                "size": {"type": "integer", "minimum": 1, "maximum": 12},
                "area": {"enum": ["inside", "outside"]},
                "dishes": {"type": "array", "items": {"type": "string"}},
            },
            "required": ["place", "size"],
        },
    },
    {"name": "ping", "parameters": {"type": "object", "properties": {}}},
]
VALUES = {
    "/0/arguments/place": "Café Nopa",
    "/0/arguments/size": "4",
    "/0/arguments/area": "inside",
}
TEXT = '<tool_call>\n{"name": "book_table", "arguments": {"place": "Café Nopa", "size": 4, "area": "inside"}}\n</tool_call>'


@pytest.fixture(scope="module", params=["nano", "qwen", "bytes"])
def tokenizer(request):
    if request.param == "bytes":
        return byte_tokenizer()
    if request.param == "qwen" and not QWEN.exists():
        pytest.skip("../shared/tokenizers/qwen is absent")
    return AutoTokenizer.from_pretrained(NANO_PATH if request.param == "nano" else QWEN)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    bind_module._MEMORY.clear()
    return tmp_path / "templates"


def test_literals_are_tokens_and_slots_are_masked_runs(tokenizer):
    template = smoldiff.compile_schema(TOOLS).bind(tokenizer)
    assert [run.pointer for run in template.runs] == ["/0/arguments/place", "/0/arguments/size"]
    for i, token_id in enumerate(template.ids):
        assert (token_id == MASK) == any(run.start <= i < run.stop for run in template.runs)
    assert template.num_certain + template.num_masked == len(template.ids)
    kept = template.vocabulary.bytes_of([i for i in template.ids if i != MASK]).decode()
    assert (
        kept
        == '<tool_call>\n{"name": "book_table", "arguments": {"place": "", "size": }}\n</tool_call>'
    )


def test_filling_writes_the_tokens_of_the_whole_text(tokenizer):
    choices = Choices(keys={"/0/arguments": frozenset({"area"})})
    template = smoldiff.compile_schema(TOOLS).bind(tokenizer).resume("", choices)
    assert template.text(VALUES) == TEXT
    assert list(template.fill(VALUES)) == tokenizer.encode(TEXT, add_special_tokens=False)


@settings(max_examples=30, deadline=None)
@given(cut=st.integers(0, len(TEXT)))
def test_a_template_resumes_behind_any_prefix(tokenizer, cut):
    choices = Choices(keys={"/0/arguments": frozenset({"area"})})
    template = smoldiff.compile_schema(TOOLS).bind(tokenizer).resume(TEXT[:cut], choices)
    assert TEXT[:cut] + template.text(VALUES) == TEXT


def test_another_tool_gives_another_template(tokenizer):
    template = smoldiff.compile_schema(TOOLS).bind(tokenizer).resume('<tool_call>\n{"name": "p')
    assert template.text({}) == 'ing", "arguments": {}}\n</tool_call>'


def test_templates_are_kept_in_memory_and_on_disk(tokenizer, own_cache):
    scaffold = smoldiff.compile_schema(TOOLS)
    first = scaffold.bind(tokenizer)
    assert scaffold.bind(tokenizer) is first
    (file,) = own_cache.glob("*.json")
    bind_module._MEMORY.clear()
    again = scaffold.bind(tokenizer)
    assert again is not first
    assert (again.ids, again.runs) == (first.ids, first.runs)
    assert json.loads(file.read_text())["ids"] == list(first.ids)


def test_a_damaged_cache_file_is_made_anew(tokenizer, own_cache):
    scaffold = smoldiff.compile_schema(TOOLS)
    first = scaffold.bind(tokenizer)
    (file,) = own_cache.glob("*.json")
    for damage in ("", '{"ids": [1]}', '{"ids": [1], "runs": [["/0/arguments/city", 0, 1]]}'):
        file.write_text(damage)
        bind_module._MEMORY.clear()
        assert scaffold.bind(tokenizer).ids == first.ids


def test_the_disk_can_be_switched_off(tokenizer, own_cache, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, "")
    smoldiff.compile_schema(TOOLS).bind(tokenizer)
    assert cache_folder() is None
    assert not own_cache.exists()


def test_a_folder_that_cannot_be_written_is_no_error(tokenizer, tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv(CACHE_VARIABLE, str(blocked))
    assert smoldiff.compile_schema(TOOLS).bind(tokenizer).ids
