"""What workers count in their files is what the server's process shows, and nothing is left behind."""

import os
import subprocess
import sys

import pytest

from smoldiff_integrations.vllm import counters
from smoldiff_integrations.vllm.counters import NAMES, Counters

WORKER = """
from smoldiff_integrations.vllm.counters import Counters
one = Counters()
one.add("drafts", 3)
one.add("accepted_tokens", 5, drafter="copy", slot="string")
"""


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(counters.tempfile, "tempdir", None)
    monkeypatch.delenv(counters.RUN, raising=False)
    yield
    monkeypatch.setattr(counters.tempfile, "tempdir", None)


def shown():
    values = counters.read_run()
    return {name: value for name, value in zip(NAMES, values.tolist(), strict=True) if value}


def test_the_numbers_of_all_workers_are_summed(run):
    assert counters.start_run()
    for _ in range(2):
        subprocess.run([sys.executable, "-c", WORKER], check=True, env=os.environ)
    labels = (("drafter", "copy"), ("slot", "string"))
    assert shown() == {("drafts", ()): 6, ("accepted_tokens", labels): 10}
    folder = counters.run_folder()
    counters.end_run()
    assert not folder.exists()


def test_a_run_is_named_once_and_nothing_is_written_until_somebody_counts(run):
    assert counters.start_run()
    assert not counters.start_run()
    assert counters.read_run() is None
    assert not counters.run_folder().exists()


def test_without_a_server_numbers_stay_in_the_process(run):
    one = Counters()
    one.add("fallbacks", reason="schema")
    assert one.read("fallbacks", reason="schema") == 1
    assert counters.read_run() is None


def test_a_label_that_is_not_foreseen_is_an_error(run):
    with pytest.raises(KeyError):
        Counters().add("fallbacks", reason="weather")
