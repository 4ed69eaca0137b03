"""`smoldiff serve` is vLLM's server with our flags, unless the caller sets them."""

import json

import pytest
from typer.testing import CliRunner

from smoldiff import cli
from smoldiff.decode.model import NANO_HEAD, NANO_PATH
from smoldiff.errors import RequestError
from smoldiff_integrations.vllm import serve
from smoldiff_integrations.vllm.head import head_folder
from smoldiff_integrations.vllm.options import read_options


def test_our_flags_are_filled_in():
    found = serve.server_arguments("some/model", None, ["--port", "8001"])
    config = json.loads(found[found.index("--speculative-config") + 1])
    assert config == serve.speculative_config()
    assert found[:2] == ["--model", "some/model"]
    assert found[-2:] == ["--port", "8001"]
    assert found[found.index("--tool-call-parser") + 1] == "smoldiff"
    assert "--additional-config" not in found


@pytest.mark.parametrize("given", [["--tool-call-parser", "hermes"], ["--tool-call-parser=hermes"]])
def test_flags_of_the_caller_stay_as_they_are(given):
    more = ["--speculative-config={}", "--structured-outputs-config.backend=guidance"]
    found = serve.server_arguments("m", None, [*given, *more])
    assert found == ["--model", "m", *given, *more]


def test_the_bundled_model_is_served_by_its_name():
    found = serve.server_arguments("smoldiff-nano", None, [])
    assert found[1] == str(NANO_PATH)
    assert found[found.index("--served-model-name") + 1] == "smoldiff-nano"


def test_a_head_is_handed_on():
    found = serve.server_arguments("m", "my/head", [])
    options = read_options(json.loads(found[found.index("--additional-config") + 1]))
    assert options.head == "my/head"
    with pytest.raises(RequestError, match="--head and --additional-config"):
        serve.server_arguments("m", "my/head", ["--additional-config", "{}"])


def test_a_model_has_the_head_in_its_folder_unless_told_otherwise(tmp_path):
    assert head_folder(str(NANO_PATH), None) == str(NANO_HEAD)
    assert head_folder(str(NANO_PATH), "none") is None
    assert head_folder(str(tmp_path), None) is None
    assert head_folder(str(tmp_path), "other") == "other"


def test_options_are_checked_by_name_and_value():
    assert read_options({"smoldiff": {"drafter": "scaffold+copy"}}).drafter == {"scaffold", "copy"}
    assert read_options({}).drafter is None
    assert read_options({"smoldiff": {"throughput_first": True}}).throughput_first
    wrongs = (
        {"draftr": "copy"},
        {"drafter": "cop"},
        3,
        {"throughput_first": "yes"},
        {"log_requests": 1},
    )
    for wrong in wrongs:
        with pytest.raises(RequestError):
            read_options({"smoldiff": wrong})


def test_the_command_hands_every_flag_on(monkeypatch):
    seen = []
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(serve, "serve", lambda *given: seen.append(given))
    arguments = ["serve", "m", "--port", "8001", "--head", "h", "--enforce-eager"]
    assert CliRunner().invoke(cli.app, arguments).exit_code == 0
    assert seen == [("m", "h", ["--port", "8001", "--enforce-eager"])]


def test_without_vllm_the_command_says_what_to_install(monkeypatch):
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: None)
    result = CliRunner().invoke(cli.app, ["serve", "m"])
    assert result.exit_code == 2
    assert "smoldiff[vllm]" in result.stderr
