"""Augmented and synthetic rows stay right: calls validate, values stay copied, seeds repeat."""

from random import Random

import jsonschema
import pytest

from smoldiff_training.base.config import DataConfig
from smoldiff_training.data.augment import Corpus, augment
from smoldiff_training.data.entities import Pool, replace_entities, replace_numbers
from smoldiff_training.data.naming import join_words, words_of
from smoldiff_training.data.rows import Row, in_schema_order
from smoldiff_training.data.stream import load_sources
from smoldiff_training.data.synthesize import synthesize, without_call

POOL = Pool({}, ["Lake Ola", "Nadia"])


@pytest.fixture(scope="module")
def sources(data):
    names = {"train": "train", "dev": "dev", "mcp_tools": "mcp_tools"}
    paths = {k: str(data / f"{v}.jsonl.gz") for k, v in names.items()}
    return load_sources(DataConfig(**paths, tokenizer="unused", num_rows=6000))


def assert_valid(row: Row) -> None:
    for call in row.calls:
        (tool,) = [t for t in row.tools if t["name"] == call["name"]]
        jsonschema.validate(call["arguments"], tool["parameters"])
        order = [k for k in tool["parameters"]["properties"] if k in call["arguments"]]
        assert list(call["arguments"]) == order


def test_calls_of_augmented_rows_validate_in_schema_order(sources):
    rows, corpus, _ = sources
    rng = Random(1)
    for row in rng.sample(rows, 300):
        new = augment(row, corpus, rng)
        assert len(new.calls) == len(row.calls)
        assert 1 <= len(new.tools) <= max(8, len(row.tools))
        assert_valid(new)


def test_synthetic_calls_validate(sources):
    _, _, seeds = sources
    rng = Random(2)
    rows = [synthesize(seeds, rng) for _ in range(300)]
    for row in rows:
        for call in row.calls:
            (tool,) = [t for t in row.tools if t["name"] == call["name"]]
            jsonschema.validate(call["arguments"], tool["parameters"])
    assert any(len(r.calls) > 1 for r in rows)
    assert any(not c["arguments"] for r in rows for c in r.calls)
    quiet = without_call(seeds, rng)
    assert quiet.answer
    assert not quiet.calls


def test_same_seed_gives_the_same_row(sources):
    rows, corpus, _ = sources
    assert augment(rows[7], corpus, Random(3)) == augment(rows[7], corpus, Random(3))


def test_entity_is_replaced_everywhere_in_the_case_of_the_text(weather):
    said = "weather in oslo city. You said Oslo?"
    row = Row("x", [weather], [{"role": "user", "content": said}], [{"name": "get_weather", "arguments": {"city": "Oslo", "unit": "C"}}])  # fmt: skip
    new = replace_entities(row, POOL, Random(0), share=1.0)
    city = new.calls[0]["arguments"]["city"]
    assert city != "Oslo"
    assert new.calls[0]["arguments"]["unit"] == "C"
    assert new.messages[0]["content"] == f"weather in {city.lower()} city. You said {city}?"


def test_number_is_replaced_with_and_without_commas():
    tool = {
        "name": "pay",
        "parameters": {"type": "object", "properties": {"sum": {"type": "integer"}}},
    }
    said = "pay 1,420 dollars, that is 1420"
    row = Row("x", [tool], [{"role": "user", "content": said}], [{"name": "pay", "arguments": {"sum": 1420}}])  # fmt: skip
    new = replace_numbers(row, Random(0))
    n = new.calls[0]["arguments"]["sum"]
    assert n != 1420
    assert new.messages[0]["content"] == f"pay {n:,} dollars, that is {n}"


def test_names_split_and_join():
    assert words_of("buses_14.findBusHTTP") == ["buses", "14", "find", "Bus", "HTTP"]
    assert join_words(["find", "Bus"], "pascal") == "FindBus"
    assert join_words(["find", "Bus"], "camel") == "findBus"
    assert join_words(["find", "Bus"], "kebab") == "find-bus"


def test_nested_arguments_follow_the_schema():
    schema = {"properties": {"b": {"items": {"properties": {"y": {}, "x": {}}}}, "a": {}}}
    ordered = in_schema_order({"a": 1, "z": 2, "b": [{"x": 1, "y": 2}]}, schema)
    assert list(ordered) == ["b", "a", "z"]
    assert list(ordered["b"][0]) == ["y", "x"]


def test_row_without_anything_to_draw_from_survives(weather):
    row = Row("x", [weather], [{"role": "user", "content": "hi"}], [{"name": "get_weather", "arguments": {"city": "Oslo"}}])  # fmt: skip
    for seed in range(40):
        assert_valid(augment(row, Corpus({}, POOL, ()), Random(seed)))
