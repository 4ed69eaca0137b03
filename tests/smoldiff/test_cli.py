"""The command line as a person types it."""

import json

import pytest
from typer.testing import CliRunner

from smoldiff.cli import app
from smoldiff.errors import SmoldiffError

TOOLS = [
    {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 20},
                "unit": {"enum": ["celsius", "fahrenheit"]},
            },
            "required": ["city"],
        },
    }
]


@pytest.fixture
def tools(tmp_path):
    path = tmp_path / "tools.json"
    path.write_text(json.dumps(TOOLS))
    return str(path)


def run(*arguments):
    return CliRunner().invoke(app, list(arguments))


def test_call_prints_a_valid_call_for_machines(tools):
    result = run("call", "--tools", tools, "--json", "What is the weather in Paris?")
    assert result.exit_code == 0
    (call,) = json.loads(result.stdout)["calls"]
    assert call["name"] == "get_weather"
    assert isinstance(call["arguments"]["city"], str)


def test_call_prints_a_call_and_its_cost_for_people(tools):
    result = run("call", "--tools", tools, "What is the weather in Paris?")
    assert "get_weather" in result.stdout
    assert "base passes" in result.stdout


def test_explain_shows_slots_and_decisions(tools):
    result = run("explain", tools)
    assert "string" in result.stdout
    assert '? "unit"' in result.stdout
    assert "tokens certain" in " ".join(result.stdout.split())


@pytest.mark.parametrize(("content", "problem"), [(None, "No such file"), ("{", "not JSON")])
def test_a_file_that_cannot_be_read_is_one_line(tmp_path, content, problem):
    path = tmp_path / "tools.json"
    if content is not None:
        path.write_text(content)
    result = run("explain", str(path))
    assert result.exit_code == 2
    assert problem in " ".join(result.stderr.split())


def test_our_errors_reach_main(tools):
    result = run("call", "--tools", tools, "--mode", "fast", "hi")
    assert isinstance(result.exception, SmoldiffError)


def test_the_demo_shows_template_call_and_cost():
    result = run("demo")
    assert result.exit_code == 0
    assert "reserve_restaurant" in result.stdout
    assert "token for token the same: yes" in result.stdout


def test_explain_for_a_model_that_is_not_there_is_our_error(tools):
    result = run("explain", tools, "--model", "no/such-model-anywhere")
    assert isinstance(result.exception, SmoldiffError)
