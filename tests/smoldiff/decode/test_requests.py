"""What a caller may ask, and what bad input says."""

import json

import pytest
from fakes import byte_tokenizer, hash_model
from jsonschema import Draft202012Validator

import smoldiff
from smoldiff.decode.draft import MAX_DRAFT_TOKENS
from smoldiff.errors import (
    IncompleteCall,
    InvalidGiven,
    InvalidSchema,
    ModelNotFound,
    PromptTooLong,
    RequestError,
    UnknownTool,
    UnsatisfiableSchema,
)

WEATHER = {
    "name": "get_weather",
    "description": "Weather of a city",
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 5},
            "unit": {"enum": ["celsius", "fahrenheit"]},
            "place": {"$ref": "#/$defs/place"},
        },
        "required": ["city"],
        "$defs": {
            "place": {"type": "object", "properties": {"lat": {"type": "integer", "maximum": 90}}}
        },
    },
}
PING = {
    "name": "ping",
    "description": "Nothing",
    "parameters": {"type": "object", "properties": {}},
}
MODEL = hash_model(byte_tokenizer(), seed=1)


def call(schema=(WEATHER, PING), messages="in Paris", **options):
    return smoldiff.generate_call(
        MODEL, list(schema) if isinstance(schema, tuple) else schema, messages, **options
    )


def test_a_named_tool_is_called_once_and_is_the_one():
    for choice in ("ping", {"type": "function", "function": {"name": "ping"}}):
        result = call(tool_choice=choice)
        assert [(c.name, c.arguments) for c in result.calls] == [("ping", {})]


def test_given_arguments_are_kept_wherever_they_stand():
    given = {"/unit": "fahrenheit", "/place/lat": 12}
    result = call(given=given, parallel_tool_calls=False)
    assert result.name == "get_weather"
    assert result.arguments["unit"] == "fahrenheit"
    assert result.arguments["place"]["lat"] == 12
    assert call(given=given, mode="ar", parallel_tool_calls=False).token_ids == result.token_ids


def test_given_does_not_change_the_callers_schema():
    before = json.dumps(WEATHER)
    call(given={"/place/lat": 3})
    assert json.dumps(WEATHER) == before


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"city": "x"}, "expected a JSON pointer"),
        ({"/town": "x"}, "there is no argument 'town'"),
        ({"/unit": "kelvin"}, "'kelvin' is not one of"),
        ({"/place/lat": 91}, "91 is greater than the maximum of 90"),
    ],
)
def test_given_that_no_tool_can_take_is_a_clear_error(given, problem):
    with pytest.raises(InvalidGiven, match=problem):
        call(given=given)


def test_several_calls_in_one_answer_are_all_returned():
    seeds = (
        smoldiff.generate_call(hash_model(byte_tokenizer(), s), [PING], "hi") for s in range(40)
    )
    counts = {len(result.calls) for result in seeds}
    assert max(counts) > 1
    assert all(len(call((PING,), parallel_tool_calls=False).calls) == 1 for _ in range(3))


def test_auto_may_answer_in_text_and_says_so():
    results = [
        smoldiff.generate_call(
            hash_model(byte_tokenizer(), s), [PING], "hi", tool_choice="auto", max_tokens=60
        )
        for s in range(12)
    ]
    texts = [r for r in results if not r.calls]
    assert texts
    for result in texts:
        assert result.name is None
        assert result.finish_reason in ("stop", "length")
        assert "<tool_call>" not in result.text


def test_fields_come_as_they_become_final_and_the_result_last():
    *fields, result = smoldiff.stream_call(MODEL, [WEATHER], "in Paris", parallel_tool_calls=False)
    assert isinstance(result, smoldiff.CallResult)
    assert fields
    for field in fields:
        value = result.arguments
        for key in field.pointer.split("/")[1:]:
            value = value[int(key)] if isinstance(value, list) else value[key]
        assert value == field.value


def test_a_draft_is_never_longer_than_a_pass_pays_for():
    schema = {"type": "object", "properties": {"k": {"const": "x" * 500}}, "required": ["k"]}
    result = smoldiff.generate_call(MODEL, schema, "hi")
    assert result.arguments == {"k": "x" * 500}
    assert result.stats.drafted <= MAX_DRAFT_TOKENS * result.stats.drafts
    assert result.stats.base_passes <= 500 // MAX_DRAFT_TOKENS + 1


def test_a_pydantic_class_is_a_schema():
    pydantic = pytest.importorskip("pydantic")

    class Trip(pydantic.BaseModel):
        days: int
        is_return: bool

    result = smoldiff.generate_call(MODEL, Trip, "three days")
    Trip.model_validate(result.arguments)


def test_an_answer_can_be_passed_on_in_openais_form():
    message = call(tool_choice="ping").to_openai()
    assert message["tool_calls"][0]["function"] == {"name": "ping", "arguments": "{}"}
    line = json.loads(call(tool_choice="ping").to_json())
    assert line["calls"] == [{"name": "ping", "arguments": {}, "confidence": {"": 1}}]
    assert line["stats"]["answer_tokens"] > 0


def test_what_the_engine_cannot_express_is_decoded_under_a_superset_and_judged_at_the_gate():
    schema = {
        "type": "object",
        "properties": {"a": {"type": "integer", "not": {"const": 5}}},
        "required": ["a"],
    }
    result = smoldiff.generate_call(MODEL, schema, "5")
    Draft202012Validator(schema).validate(result.arguments)


@pytest.mark.parametrize(
    ("error", "options", "problem"),
    [
        (
            UnknownTool,
            {"tool_choice": "wether"},
            "no tool is called 'wether'; given: get_weather, ping",
        ),
        (RequestError, {"tool_choice": "none"}, "asks for no call"),
        (RequestError, {"tool_choice": {"type": "function"}}, "expected"),
        (RequestError, {"tool_choice": "auto", "schema": {"type": "integer"}}, "needs tools"),
        (RequestError, {"mode": "fast"}, "mode='fast': expected one of verified, diffusion, ar"),
        (RequestError, {"drafter": 5}, "drafter=5: expected names"),
        (RequestError, {"temperature": -1.0}, "temperature=-1.0: expected a number >= 0"),
        (RequestError, {"temperature": float("nan")}, "temperature=nan"),
        (RequestError, {"temperature": "hot"}, "temperature='hot'"),
        (RequestError, {"top_p": 0.0}, r"top_p=0.0: expected a number in \(0, 1\]"),
        (RequestError, {"top_k": 1.5}, "top_k=1.5"),
        (RequestError, {"seed": 1 << 70}, "seed="),
        (RequestError, {"max_tokens": "5"}, "max_tokens='5'"),
        (RequestError, {"given": ["/city"]}, "given="),
        (RequestError, {"template_options": [1]}, "template_options="),
        (RequestError, {"messages": 5}, "messages=5: expected a list"),
        (RequestError, {"drafter": "magic"}, "drafter='magic': known are"),
        (RequestError, {"max_tokens": 0}, "max_tokens=0"),
        (RequestError, {"skip_forced": True}, "belongs to mode='ar'"),
        (RequestError, {"steps": 2}, "steps belongs to mode='diffusion'"),
        (RequestError, {"denoise_steps": 0}, "denoise_steps=0: expected a whole number >= 1"),
        (RequestError, {"temprature": 1}, "unknown option 'temprature'"),
        (RequestError, {"messages": []}, "messages is empty"),
        (InvalidSchema, {"schema": "{}"}, "json.loads"),
        (InvalidSchema, {"schema": []}, "schema at"),
        (InvalidSchema, {"schema": {"type": "strin"}}, "/type"),
        (IncompleteCall, {"max_tokens": 5}, "max_tokens=5 was reached inside a call"),
    ],
)
def test_bad_input_is_one_clear_error(error, options, problem):
    with pytest.raises(error, match=problem):
        call(**options)


def test_an_incomplete_answer_keeps_what_was_written():
    with pytest.raises(IncompleteCall) as caught:
        call(max_tokens=5)
    assert caught.value.text.startswith("<tool_call>")


def test_a_schema_without_a_value_names_the_tool():
    never = {"allOf": [{"type": "string", "format": "date"}, {"maxLength": 9}]}
    bad = {
        "name": "bad",
        "parameters": {"type": "object", "properties": {"a": never}, "required": ["a"]},
    }
    with pytest.raises(UnsatisfiableSchema, match="tool 'bad': required property 'a'"):
        call((PING, bad))


def test_a_prompt_that_fills_the_context_is_a_clear_error(monkeypatch):
    monkeypatch.setattr(type(MODEL.base), "max_context", 10)
    with pytest.raises(PromptTooLong, match="the model's context 10"):
        call()


def test_a_model_name_that_leads_nowhere_is_a_clear_error(tmp_path):
    with pytest.raises(ModelNotFound, match="could not load"):
        smoldiff.load(str(tmp_path / "nothing"))


def test_a_name_instead_of_a_model_says_what_to_do():
    with pytest.raises(RequestError, match=r"smoldiff\.load\('smoldiff-nano'\)"):
        smoldiff.generate_call("smoldiff-nano", [PING], "hi")


def test_a_transformers_model_needs_its_tokenizer():
    with pytest.raises(RequestError, match="tokenizer="):
        smoldiff.generate_call(object(), [PING], "hi")


def test_options_that_are_none_are_not_given():
    assert call(mode=None, top_k=None, given=None, max_tokens=None).token_ids == call().token_ids


def test_one_string_is_not_a_list_of_conversations():
    with pytest.raises(RequestError, match="give a list"):
        smoldiff.generate_calls(MODEL, [PING], "abc")


def test_a_field_is_streamed_once_though_a_pass_may_end_inside_a_character():
    schema = {
        "type": "object",
        "properties": {
            "a": {"type": "integer", "maximum": 9},
            "b": {"const": "éü"},
            "c": {"enum": ["é", "ü"]},
        },
        "required": ["a", "b", "c"],
        "additionalProperties": False,
    }
    *fields, _ = smoldiff.stream_call(MODEL, schema, "hi", mode="ar")
    assert [field.pointer for field in fields] == ["/a", "/c"]


def test_messages_left_out_are_a_clear_error():
    with pytest.raises(RequestError, match="messages is empty; give at least one"):
        smoldiff.generate_call(MODEL, [PING])


def test_an_answer_that_fills_the_context_says_so(monkeypatch):
    num_prompt_tokens = call().stats.prompt_tokens
    monkeypatch.setattr(type(MODEL.base), "max_context", num_prompt_tokens + 9)
    with pytest.raises(IncompleteCall, match="the model's context ended inside a call"):
        call()


def test_one_failed_answer_of_a_batch_loses_no_other():
    questions = ["why" * (i + 1) for i in range(6)]
    lengths = [len(call((WEATHER,), q).token_ids) for q in questions]
    with pytest.raises(IncompleteCall) as caught:
        smoldiff.generate_calls(MODEL, [WEATHER], questions, max_tokens=max(lengths) - 1)
    is_result = [isinstance(r, smoldiff.CallResult) for r in caught.value.results]
    assert is_result == [n < max(lengths) for n in lengths]
    assert any(is_result)
