"""What `benchmarks/bench_vllm.py` prints of what it measured."""

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

pytest.importorskip("openai", reason="`make test-vllm` has the client")

sys.path.append(str(Path(__file__).parents[3] / "benchmarks"))

import bench_vllm
from serving.asking import Answer


def measured(ms, num_tokens, text="one"):
    one = bench_vllm.Measured(
        times_ms=[ms] * 4,
        token_ms=[ms / num_tokens] * 4,
        seconds=4e-3 * ms,
        steps=8.0,
        drafts=3.0,
        drafted=20.0,
        accepted=15.0,
        drafting_us=8000.0,
        num_tokens=4 * num_tokens,
    )
    one.answers = {"a": Answer(text, (), num_tokens, "stop"), "b": Answer("b", (), 1, "stop")}
    one.free = {"a"}
    return one


@pytest.fixture
def found():
    plain, drafts = bench_vllm.WITHOUT_DRAFTS, "drafts: default"
    return {
        (plain, "calls", 1): measured(100.0, 40),
        (plain, "calls", 16): measured(400.0, 40, "batched"),
        (drafts, "calls", 1): measured(25.0, 40),
        (drafts, "calls", 16): measured(200.0, 40, "another"),
    }


@pytest.fixture
def rows(found):
    args = bench_vllm.parsed(["--ask", "calls", "--rounds", "1"])
    return bench_vllm.rows(found, args)


def test_a_row_says_what_an_answer_took(rows):
    one = {key: rows[2][key] for key in ("p50_ms", "calls_per_s", "steps_per_call", "accepted_pct")}
    assert one == {"p50_ms": 25.0, "calls_per_s": 40.0, "steps_per_call": 2.0, "accepted_pct": 75.0}
    assert rows[2]["drafting_ms_per_call"] == 2.0
    assert rows[2]["right_per_draft"] == 5.0
    assert [row["same_answers_pct"] for row in rows] == [100, 100, 100, 50]
    assert [row["same_text_pct"] for row in rows] == [100, 100, 100, 0]
    assert [row["as_first_pct"] for row in rows] == [100, 50, 100, 50]


def test_its_table_is_read_in_a_narrow_terminal(rows):
    out = io.StringIO()
    Console(file=out, width=80).print(bench_vllm.table(rows))
    lines = out.getvalue().splitlines()
    assert "without drafts / drafts: default" in lines[0]
    shown = {
        cells[0].strip(): [cell.strip() for cell in cells[1:]]
        for cells in (line.strip("│┃").split("│") for line in lines)
        if len(cells) == 3
    }
    assert shown["ms an answer, p50"] == ["100 / 25", "400 / 200"]
    assert shown["the same answers, %"] == ["100 / 100", "100 / 50"]
    assert shown["as without drafts at 1, %"] == ["100 / 100", "50 / 50"]
    assert shown["ms a token of text"] == ["- / -", "- / -"]
    assert len(shown) == len(bench_vllm.SHOWN)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--ask", "songs"], "take some of calls, text, both"),
        (["--shape", "smollm3-3b"], "need the answers: --recorded FILE"),
        (["--drafters", "oracle"], "need the answers: --recorded FILE"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(arguments, says, capsys):
    with pytest.raises(SystemExit, match="2"):
        bench_vllm.parsed(arguments)
    assert says in capsys.readouterr().err


def test_half_of_both_are_asked_without_tools():
    requests = [
        {"name": str(i), "messages": [], "tools": [{}], "tool_choice": "required"} for i in range(4)
    ]
    asked = bench_vllm.requests_for("both", requests)
    assert ["tools" in one for one in asked] == [True, False, True, False]


@pytest.mark.parametrize("libraries", ["/lib/a.so.4 /lib/b.so", "/lib/a.so.4:/lib/b.so:"])
def test_a_row_names_what_was_preloaded(libraries):
    assert bench_vllm.preloaded(libraries) == ["a.so.4", "b.so"]
    assert bench_vllm.preloaded("") == []
