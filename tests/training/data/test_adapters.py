"""Each published format becomes rows; what is malformed says so and nothing else."""

import copy
import json
from pathlib import Path

import pytest

from smoldiff_training.data.adapters import READERS
from smoldiff_training.data.adapters.raw import UnusableRow
from smoldiff_training.data.adapters.tools import tool_of
from smoldiff_training.data.adapters.typewords import schema_of_words
from smoldiff_training.data.identity import answer_key
from smoldiff_training.data.render import calls_text, prompt_text
from smoldiff_training.data.sources import read_raw
from smoldiff_training.data.validity import call_fault, calls_fault

SAMPLES = Path(__file__).parent / "samples"
JUNK = (None, 3, True, "x", "", "[1]", '{"a": 1}', [], {}, [3], {"name": 3}, float("nan"))


def samples(name: str) -> list:
    lines = (SAMPLES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line != '{"id": "e", "tools": [']


def rows(name: str, i: int) -> list:
    return READERS[name](samples(name)[i])


def roles(row) -> list[str]:
    return [m["role"] for m in row.messages]


def test_hermes_turn_with_two_calls_is_one_row_with_its_history():
    first, second = rows("hermes", 0)
    assert [t["name"] for t in first.tools] == ["get_forecast", "book_ferry"]
    assert roles(first) == ["user"]
    assert first.calls == [
        {"name": "get_forecast", "arguments": {"town": "Mallaig", "days": 2}},
        {"name": "book_ferry", "arguments": {"route": "Mallaig-Armadale", "passengers": 1, "vehicle": "bike"}},
    ]  # fmt: skip
    assert list(first.calls[1]["arguments"]) == ["route", "passengers", "vehicle"]
    assert roles(second) == ["user", "assistant", "tool", "assistant", "user"]
    assert second.messages[1]["content"] == "I'll look at the weather first."
    assert second.messages[1]["tool_calls"] == first.calls
    assert second.messages[2]["content"] == '{"name": "get_forecast", "content": "dry"}'
    assert second.calls == [{"name": "get_forecast", "arguments": {"town": "Armadale"}}]


def test_hermes_tools_are_read_from_the_system_turn_where_no_column_has_them():
    (row,) = rows("hermes", 1)
    assert row.tools == [
        {
            "name": "count_sheep",
            "parameters": {
                "type": "object",
                "properties": {"awake": {"type": "boolean"}},
                "required": [],
            },
        }
    ]
    assert row.calls[0]["arguments"] == {"awake": True}


def test_hermes_row_without_tools_gives_nothing():
    assert rows("hermes", 2) == []


def test_xlam_flat_parameters_become_a_closed_schema_in_order():
    (row,) = rows("xlam", 0)
    assert row.tools[0]["parameters"] == {
        "type": "object",
        "properties": {
            "celsius": {"type": "number", "description": "Temperature"},
            "humidity": {"type": "integer", "description": "Share of water", "default": 50},
            "stations": {
                "type": "array",
                "items": {"type": "string"},
                "description": "Nearby stations",
            },
        },
        "required": ["celsius"],
        "additionalProperties": False,
    }
    assert row.messages == [{"role": "user", "content": samples("xlam")[0]["query"]}]
    assert list(row.calls[0]["arguments"]) == ["celsius", "humidity"]
    assert calls_fault(row) == ""


def test_xlam_parameter_named_type_is_a_parameter():
    (row,) = rows("xlam", 1)
    assert list(row.tools[0]["parameters"]["properties"]) == ["faces", "type"]
    assert row.calls[0]["arguments"] == {"faces": [8, 8], "type": "max"}


def test_xlam_call_of_the_wrong_type_is_found_by_its_schema():
    (row,) = rows("xlam", 2)
    assert calls_fault(row) == "roll: arguments/faces: 'two' is not of type 'array'"


def test_glaive_arguments_in_single_quotes_keep_their_apostrophe():
    first, second = rows("glaive", 0)
    assert first.calls[0]["arguments"] == {"text": "Ann's train is late", "tags": ["train"]}
    assert roles(second) == ["user", "assistant", "tool", "assistant", "user"]
    assert second.messages[1]["content"] == "Sure."
    assert second.messages[2]["content"] == '{"saved": true}'
    assert second.messages[3]["content"] == "I have noted it."
    assert second.calls == [{"name": "get_time", "arguments": {}}]
    assert [t["name"] for t in first.tools] == ["save_note", "get_time"]


def test_glaive_conversation_without_functions_gives_nothing():
    assert rows("glaive", 1) == []


def test_glaive_arguments_may_be_plain_json():
    assert rows("glaive", 2)[0].calls == [{"name": "save_note", "arguments": {"text": "milk"}}]


def test_apigen_mt_has_a_row_for_each_call_of_a_dialogue():
    first, second = rows("apigen_mt", 0)
    assert roles(first) == ["system", "user"]
    assert roles(second) == ["system", "user", "assistant", "tool", "assistant", "user"]
    assert second.calls == [
        {"name": "return_items", "arguments": {"order_id": "#W17", "item_ids": ["i4"]}}
    ]
    assert roles(rows("apigen_mt", 1)[0]) == ["user"]


def test_when2call_question_becomes_a_call_or_the_right_kind_of_answer():
    (call,), (ask,), (refuse,) = (rows("when2call", i) for i in range(3))
    assert call.calls == [{"name": "find_service", "arguments": {"service_id": 2}}]
    assert call.tools[0]["parameters"]["properties"]["service_id"]["enum"] == [1, 2]
    assert call.tools[1]["parameters"]["properties"]["station"]["type"] == "string"
    assert calls_fault(call) == ""
    assert (ask.calls, ask.answer) == ([], "Which one do you need?")
    assert (refuse.tools, refuse.answer) == ([], "I cannot look that up.")


def test_when2call_training_rows_end_in_the_right_response():
    (sft,), (preferred,) = rows("when2call", 3), rows("when2call", 4)
    assert sft.calls == [{"name": "list_pets", "arguments": {"kind": "cat"}}]
    assert sft.tools[0]["parameters"]["required"] == ["kind"]
    assert roles(sft) == ["user"]
    assert (preferred.calls, preferred.answer) == ([], "Cats or dogs?")


def test_nestful_parameters_take_a_reference_to_an_earlier_result():
    (row,) = rows("nestful", 0)
    assert row.calls[1]["arguments"] == {"arg_0": "$var_1.result$", "arg_1": 60}
    number, reference = row.tools[0]["parameters"]["properties"]["arg_0"]["anyOf"]
    assert (number, reference["type"]) == ({"type": "number"}, "string")
    assert roles(row) == ["system", "user"]
    assert calls_fault(row) == ""
    wrong = {"name": "divide", "arguments": {"arg_0": "the area", "arg_1": 60}}
    assert "arguments/arg_0" in call_fault(wrong, row.tools)


def test_nestful_reference_may_stand_in_a_list_and_in_free_text():
    (row,) = rows("nestful", 1)
    assert row.tools[1]["parameters"]["properties"]["label"] == {"type": "string"}
    assert calls_fault(row) == ""


def test_nestful_row_without_references_keeps_its_tools():
    (row,) = rows("nestful", 2)
    assert row.tools[0]["parameters"]["properties"]["arg_0"]["type"] == "number"
    assert roles(row) == ["user"]


def test_argilla_prose_is_an_answer_and_one_tool_is_a_list_of_one():
    (call,), (prose,) = rows("argilla_apigen", 0), rows("argilla_apigen", 1)
    assert call.source == "argilla_apigen"
    assert call.calls == [{"name": "roll", "arguments": {"faces": [6]}}]
    assert prose.calls == []
    assert prose.answer == "None of the tools can order a pizza."
    assert [t["name"] for t in prose.tools] == ["roll"]


def test_project_rows_keep_their_source_services_and_history():
    (first,), (second,), (third,) = (rows("smoldiff", i) for i in range(3))
    assert (first.source, first.services, first.variant) == ("SGD", ("Weather_1",), 2)
    assert list(first.calls[0]["arguments"]) == ["town", "days"]
    assert second.messages[1]["tool_calls"][0]["name"] == "book_ferry"
    assert third.answer == "Good morning!"


@pytest.mark.parametrize(
    ("name", "i", "message"),
    [
        ("hermes", 3, "<tool_call>: neither JSON nor a Python literal: \"{'arguments': {'town': 'Ob\""),
        ("xlam", 3, "answers: neither JSON nor a Python literal: '[{\"name\": \"roll\", \"arguments\": {\"faces'"),
        ("glaive", 3, "<functioncall>: neither JSON nor a Python literal:"),
        ("apigen_mt", 2, "conversations[1].from: unknown speaker 'robot'"),
        ("when2call", 5, "correct_answer: 'maybe' is not one of direct, tool_call, request_for_info, cannot_answer"),
        ("when2call", 6, "messages: no response of the assistant at the end"),
        ("nestful", 3, "output: no call in it"),
        ("argilla_apigen", 2, "tools: neither JSON nor a Python literal: ''"),
        ("smoldiff", 3, "calls: empty, and there is no `answer` instead"),
    ],
)  # fmt: skip
def test_malformed_row_says_where_and_why(name, i, message):
    with pytest.raises(UnusableRow) as caught:
        rows(name, i)
    assert str(caught.value).startswith(message)


def broken(raw):
    """Copies of a raw row with one part, also one inside a text of JSON, replaced by junk or a text cut short."""
    for path in list(paths(raw)):
        for junk in JUNK:
            yield changed(copy.deepcopy(raw), path, junk)
    for key in (k for k, v in raw.items() if isinstance(v, str)):
        for end in range(0, len(raw[key]), 9):
            yield raw | {key: raw[key][:end]}


def paths(value, at=()):
    if isinstance(value, str) and value[:1] in ("[", "{"):
        inner = json.loads(value) if '"' in value else None
        if inner is not None:
            yield from (("json", at, below) for below in paths(inner))
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield (*at, key)
            yield from paths(value[key], (*at, key))


def changed(raw, path, junk):
    if path and path[0] == "json":
        _, at, below = path
        inner = json.loads(part(raw, at))
        return changed(raw, at, json.dumps(changed(inner, below, junk))) if below else raw
    part(raw, path[:-1])[path[-1]] = junk
    return raw


def part(value, path):
    for key in path:
        value = value[key]
    return value


@pytest.mark.parametrize("name", sorted(READERS))
def test_row_with_junk_anywhere_is_read_or_refused_and_never_raises(name):
    num_read = num_refused = 0
    for raw in samples(name)[:2]:
        for bad in broken(raw):
            try:
                found = read_raw(name, bad)
            except UnusableRow:
                num_refused += 1
                continue
            num_read += 1
            for row in found:
                assert answer_key(row)
                if not calls_fault(row):
                    assert prompt_text(row.messages, row.tools) + calls_text(row.calls)
    assert num_read > 20
    assert num_refused > 20


@pytest.mark.parametrize(
    ("words", "schema", "is_optional"),
    [
        ("str", {"type": "string"}, False),
        ("str, optional", {"type": "string"}, True),
        ("List[int]", {"type": "array", "items": {"type": "integer"}}, False),
        ("List[List[float]], optional", {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}, True),
        ("typing.List[str]", {"type": "array", "items": {"type": "string"}}, False),
        ("list", {"type": "array"}, False),
        ("string[]", {"type": "array", "items": {"type": "string"}}, False),
        ("Dict[str, int]", {"type": "object", "additionalProperties": {"type": "integer"}}, False),
        ("Dict[str, Any]", {"type": "object"}, False),
        ("Tuple[float, float]", {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}, False),
        ("Tuple[int, ...]", {"type": "array", "items": {"type": "integer"}}, False),
        ("Union[int, float]", {"type": "number"}, False),
        ("int or float", {"type": "number"}, False),
        ("Union[str, List[str]]", {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}, False),
        ("int | None", {"type": ["integer", "null"]}, False),
        ("Optional[str]", {"type": ["string", "null"]}, True),
        ("Literal['a', 'b']", {"enum": ["a", "b"]}, False),
        ("Callable[[float], float]", {}, False),
        ("list of int (optional)", {"type": "array"}, True),
        ("np.ndarray", {"type": "array"}, False),
        ("Any", {}, False),
        ("x" * 300, {}, False),
    ],
)  # fmt: skip
def test_python_type_words_become_json_schema(words, schema, is_optional):
    assert schema_of_words(words) == (schema, is_optional)


def test_schema_in_python_words_is_translated_at_every_depth():
    tool = {
        "name": "f",
        "parameters": {
            "type": "dict",
            "properties": {
                "p": {"type": "dict", "properties": {"x": {"type": "float", "required": True}, "y": None}},
                "q": {"type": "list", "items": {"type": "str"}, "default": None, "enum": None},
                "r": {"type": "any"},
            },
        },
        "required": ["q", "unknown"],
    }  # fmt: skip
    assert tool_of(tool, "tools[0]")["parameters"] == {
        "type": "object",
        "properties": {
            "p": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]},
            "q": {"type": "array", "items": {"type": "string"}},
            "r": {},
        },
        "required": ["q"],
    }


def test_call_is_checked_as_the_library_closes_its_schema(weather):
    assert call_fault({"name": "get_weather", "arguments": {"city": "Oslo"}}, [weather]) == ""
    unknown = {"name": "get_weather", "arguments": {"city": "Oslo", "country": "Norway"}}
    assert "'country' was unexpected" in call_fault(unknown, [weather])
    assert call_fault({"name": "f", "arguments": {}}, [weather]) == "calls 'f', which is none of its tools"  # fmt: skip
