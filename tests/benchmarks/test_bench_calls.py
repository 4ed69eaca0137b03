"""The scripts, end to end on two examples with the bundled model."""

import json

import bench_calls
import peers
import plot_calls
import pytest


def bench(data, options):
    bench_calls.main(["--data", str(data), *options.split()])


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_two_examples_from_file_to_figure(tmp_path, data, capsys):
    rows_path, answers_path = tmp_path / "rows.jsonl", tmp_path / "answers.jsonl"
    bench(
        data,
        "--limit 2 --head none --drafters scaffold,parallel+copy --skip-forced --by-source --max-tokens 64 --rounding "
        f"--warm-up 1 --width 120 --out {rows_path} --answers {answers_path}",
    )
    rows = read_lines(rows_path)
    systems = ["ar", "ar+skip_forced", "verified:scaffold", "verified:parallel+copy"]
    assert [(r["source"], r["system"]) for r in rows] == [
        (source, system) for source in ("all", "S0", "S1") for system in systems
    ]
    assert all(row["n"] == (2 if row["source"] == "all" else 1) for row in rows)
    assert all(row["data"] == "two.jsonl" and row["seed"] == 0 for row in rows)
    assert all(0 <= (row["largest_gap_shift"] or 0) < 1e-2 for row in rows)
    assert str(tmp_path) not in rows_path.read_text()
    assert len(read_lines(answers_path)) == 2 * len(systems)
    shown = capsys.readouterr()
    assert "base passes after prefill" in shown.err
    assert shown.out == ""

    plot_calls.main([str(rows_path)])
    assert "verified, parallel+copy" in (tmp_path / "by_mode.svg").read_text()


def test_a_head_adds_a_drafter_and_a_mode_measured_against_what_needs_no_head(
    tmp_path, data, head_folder, capsys
):
    out = tmp_path / "rows.jsonl"
    bench(
        data,
        f"--limit 1 --head {head_folder} --steps 1,2 --max-tokens 64 --warm-up 0 --width 150 --out {out}",
    )
    rows = {row["system"]: row for row in read_lines(out)}
    drafted = "verified:diffusion+copy"
    assert list(rows) == ["ar", "verified:parallel+copy", drafted, "diffusion:1", "diffusion:2"]
    assert rows["ar"]["fewer_passes_vs_untrained"] < 1
    assert rows[drafted]["identical_pct"] == 100
    assert rows["ar"]["head_passes"] is None
    assert rows["diffusion:1"]["head_passes"] <= rows["diffusion:2"]["head_passes"]
    assert len({row["head"] for row in rows.values()}) == 1
    assert "calls slower than ar" in capsys.readouterr().err


def test_a_mode_that_needs_a_head_is_refused_without_one(data):
    with pytest.raises(SystemExit, match=r"diffusion:1 needs a head.*pass --head"):
        bench(data, "--modes diffusion --head none")


@pytest.mark.parametrize("steps", ["0", "x", ""])
def test_steps_are_whole_numbers_from_1_on(data, steps, capsys):
    with pytest.raises(SystemExit):
        bench_calls.parse(["--data", str(data), "--steps", steps])
    assert "--steps: invalid counts value" in capsys.readouterr().err


def test_a_peer_that_is_not_installed_is_said_and_the_rest_goes_on(data, capsys, monkeypatch):
    monkeypatch.setitem(peers.HOMES, "absent_peer", ("absent_peer", "Peer"))
    bench(data, "--limit 1 --modes ar --peers absent_peer --warm-up 0 --max-tokens 4")
    shown = capsys.readouterr()
    assert "not installed, so not measured: absent_peer" in " ".join(shown.err.split())
    (row,) = map(json.loads, shown.out.splitlines())
    assert (row["system"], row["errors"]) == ("ar", {"IncompleteCall": 1})


def test_llguidance_peer_writes_a_valid_call(data, capsys):
    bench(data, "--limit 1 --modes ar --peers llguidance --warm-up 0 --max-tokens 64")
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["system"] for row in rows] == ["ar", "hf+llguidance"]
    assert rows[1]["valid_pct"] + 100 * sum(rows[1]["errors"].values()) == 100


def test_an_unknown_peer_is_refused(data, capsys):
    with pytest.raises(SystemExit):
        bench_calls.parse(["--data", str(data), "--peers", "nobody"])
    assert "'nobody' is not one of xgrammar, llguidance" in capsys.readouterr().err
