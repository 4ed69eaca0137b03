"""The command line as a person types it."""

import io
import json
import subprocess
import sys
import time

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

import smoldiff.cli
from smoldiff.cli import app
from smoldiff.decode.model import load
from smoldiff.decode.result import CallResult, Stats, ToolCall
from smoldiff.doctor.machine import Trial
from smoldiff.errors import SmoldiffError
from smoldiff.head.model import DiffusionHead
from smoldiff.show import print_result, statistics

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


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    folder = tmp_path_factory.mktemp("head")
    torch.manual_seed(0)
    DiffusionHead.for_base(load(head="none"), num_layers=1).save_pretrained(folder)
    return str(folder)


def test_a_head_fills_the_call_in_mode_diffusion(tools, head):
    options = [
        "--mode",
        "diffusion",
        "--steps",
        "1",
        "--denoise-steps",
        "2",
        "--head",
        head,
        "--json",
    ]
    result = run("call", "--tools", tools, *options, "What is the weather in Paris?")
    assert result.exit_code == 0
    line = json.loads(result.stdout)
    assert set(line["calls"][0]["confidence"]) >= {"/city"}
    assert line["stats"]["base_passes"] == 0
    assert line["stats"]["head_passes"] >= 2


def test_a_call_is_watched_without_a_terminal(tools, head):
    result = run("call", "--tools", tools, "--head", head, "--watch", "The weather in Paris?")
    lines = result.stdout.splitlines()
    assert lines[0] == "sketch"
    assert "step 1" in lines
    assert any(line.startswith("verified") for line in lines)
    assert any(line.split()[:1] == ["/city"] and "%" in line for line in lines)


def test_a_call_without_a_head_is_watched_too(tools):
    result = run("call", "--tools", tools, "--head", "none", "--watch", "The weather in Paris?")
    assert result.stdout.startswith("verified")
    assert "get_weather" in result.stdout


def test_watching_and_one_line_for_machines_do_not_go_together(tools):
    result = run("call", "--tools", tools, "--watch", "--json", "hi")
    assert result.exit_code == 2
    assert "--watch is for people" in result.stderr


def test_explain_shows_slots_and_decisions(tools):
    result = run("explain", tools)
    assert "string" in result.stdout
    assert '? "unit"' in result.stdout
    assert "tokens certain" in " ".join(result.stdout.split())


@pytest.mark.parametrize("name", ["tools.json", "a[/b].json", "a:on:[bold].json"])
@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "No such file"), (b"{", "not JSON"), (b'"caf\xe9"', "not UTF-8 at byte 4")],
    ids=["missing", "not JSON", "not UTF-8"],
)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path, name, content, problem):
    path = tmp_path / name
    if content is not None:
        path.parent.mkdir(exist_ok=True)  # "a[/b].json" is in a folder
        path.write_bytes(content)
    result = run("explain", str(path))
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"smoldiff: {path}: ")
    assert problem in line


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_schema_is_unicode_whatever_the_locale(tmp_path, encoding):
    path = tmp_path / "schema.json"
    path.write_text(json.dumps({"const": "Zürich"}, ensure_ascii=False), encoding=encoding)
    assert "Zürich" in run("explain", str(path)).stdout


def test_a_schema_can_come_from_standard_input():
    result = CliRunner().invoke(app, ["explain", "-"], input=json.dumps({"const": "Zürich"}))
    assert "Zürich" in result.stdout


def test_our_errors_reach_main(tools):
    result = run("call", "--tools", tools, "--mode", "fast", "hi")
    assert isinstance(result.exception, SmoldiffError)


def test_main_ends_with_status_2_and_one_line_for_our_errors(tools, monkeypatch, capsys):
    arguments = ["smoldiff", "call", "--tools", tools, "--tool-choice", "a[/b]:on:", "hi"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as caught:
        smoldiff.cli.main()
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("smoldiff: UnknownTool: ")
    assert "'a[/b]:on:'" in line


def test_the_program_ends_with_status_2_and_one_line(tmp_path):
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object", "minProperties": -1}')
    done = subprocess.run(
        [sys.executable, "-m", "smoldiff", "explain", str(schema)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("smoldiff: InvalidSchema: schema at ")


def printed(result):
    console = Console(file=io.StringIO(), width=80)
    print_result(console, result)
    return console.file.getvalue()


def test_what_the_model_wrote_is_printed_as_it_is():
    text = json.dumps({"state": ":on: [bold]x[/bold] [/] ", "note": "word " * 40})
    calls = (ToolCall("a:on:[b]", json.loads(text), text), ToolCall(None, json.loads(text), text))
    result = CallResult(calls, ":on: [/b] " + "so " * 40 + ".", "", (), "tool_calls", Stats())
    lines = printed(result).splitlines()
    assert lines[:3] == [result.content, f"a:on:[b] {text}", text]


def test_decode_ms_is_the_passes_and_what_they_need():
    stats = Stats()
    stats.ms.update(compile=1000.0, prefill=200.0, base=30.0, draft=4.0, verify=5.0)
    columns = statistics([("", CallResult((), "", "", (), "stop", stats))]).columns
    cells = {str(column.header): list(column.cells) for column in columns}
    assert cells["prefill ms"] == ["200"]
    assert cells["decode ms"] == ["39"]


def test_the_demo_shows_template_call_and_cost():
    start = time.perf_counter()
    result = run("demo")
    assert time.perf_counter() - start < 20
    assert result.exit_code == 0
    assert "reserve_restaurant" in result.stdout
    assert "token for token the same: yes" in result.stdout


def test_explain_for_a_model_that_is_not_there_is_our_error(tools, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # or it retries for long
    result = run("explain", tools, "--model", "no/such-model-anywhere")
    assert isinstance(result.exception, SmoldiffError)


def test_training_without_its_extra_names_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr("smoldiff.doctor.packages.missing_for", lambda extra: ["pyyaml"])
    result = run("train", str(tmp_path / "config.yaml"))
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line == "smoldiff: training needs pyyaml; pip install 'smoldiff[train]'"


def test_a_wrong_training_configuration_is_one_line_and_status_2(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("kind: bass\n")
    result = run("train", str(config))
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"{config}: kind: 'bass' is not known; did you mean 'base'?")


@pytest.mark.parametrize("status", [0, 3])
def test_training_ends_with_the_status_of_the_trainer(monkeypatch, status):
    arguments = []

    def main(given):
        arguments.extend(given)
        return status

    monkeypatch.setattr("smoldiff_training.__main__.main", main)
    assert run("train", "config.yaml").exit_code == status
    assert arguments == ["config.yaml"]


def test_the_doctor_ends_with_status_0_where_a_machine_can_serve():
    result = run("doctor", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["can_serve"]


def test_the_doctor_ends_with_status_1_where_a_machine_cannot_serve(monkeypatch):
    monkeypatch.setattr("smoldiff.doctor.probe.try_bundled_model", lambda: Trial("no memory"))
    result = run("doctor")
    assert result.exit_code == 1
    assert "can serve: no, because of bundled model" in result.stdout
