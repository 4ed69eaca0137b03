import json
import re

import plot_calls
import pytest
from figures.by_kind import kinds_shown
from figures.by_mode import colour, label, passes_text, time_text
from figures.style import foot

UNDER = {
    "model": "smoldiff-nano",
    "device": "some CPU",
    "num_threads": 2,
    "dtype": "float32",
    "commit": "abc1234",
}


def calls(system, data="dev.jsonl.gz", **numbers):
    known = {"base_passes": 4.0, "head_passes": None, "total_mean_ms": 120.0, "speed_vs_ar": 2.5}
    row = {"benchmark": "calls", "system": system, "source": "all", "data": data, "n": 300}
    return {**row, "exact_pct": 50.0, **known, **numbers, **UNDER}


def drafts(drafter, kind, num_verified=40, right_tokens=2.0, whole_pct=60.0):
    row = {"benchmark": "drafts", "drafter": drafter, "kind": kind, "data": "dev.jsonl.gz"}
    numbers = {"num_verified": num_verified, "right_tokens": right_tokens, "whole_pct": whole_pct}
    return {**row, **numbers, **UNDER}


def confidence(mode, state, scope="all calls", num_values=10):
    bins = [
        {"n": num_values // 2, "mean_confidence": 0.2, "right_share": 0.3},
        {"n": num_values // 2, "mean_confidence": 0.9, "right_share": 0.8},
    ]
    row = {"benchmark": "confidence", "mode": mode, "scope": scope, "state": state}
    errors = {"ece_equal_mass": 0.1, "ece_equal_width": 0.12, "bins_equal_mass": bins}
    return {**row, "data": "test_unseen.jsonl.gz", "n": num_values, **errors, **UNDER}


ROWS = [
    *(calls(name) for name in ("ar", "verified:parallel+copy", "verified:diffusion+copy")),
    calls("diffusion:1", base_passes=0.0, head_passes=2.0, exact_pct=40.0),
    calls("diffusion:4", base_passes=0.0, head_passes=5.0, exact_pct=45.0),
    calls("ar", data="bfcl.jsonl.gz"),
    calls("verified:parallel+copy", data="bfcl.jsonl.gz"),
    *(drafts(d, kind) for d in ("parallel+copy", "diffusion+copy") for kind in ("all", "string")),
    *(confidence(mode, state) for mode in ("verified", "diffusion") for state in ("raw", "fitted")),
]


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def plotted(folder, rows):
    folder.mkdir()
    plot_calls.main([str(write_rows(folder / "rows.jsonl", rows))])
    return {path.name: path.read_text() for path in folder.glob("*.svg")}


def words(svg):
    return re.findall(r"<text[^>]*>([^<]+)</text>", svg)


def test_each_benchmark_has_its_figures_with_axes_that_name_their_units(tmp_path):
    figures = {name: words(svg) for name, svg in plotted(tmp_path / "a", ROWS).items()}
    assert set(figures) == set(plot_calls.FIGURES)
    assert "milliseconds a call, prefill included (mean)" in figures["by_mode.svg"]
    assert "dev, 300 examples" in figures["by_mode.svg"]
    assert "verified, diffusion+copy" in figures["by_mode.svg"]
    assert (
        "steps: passes of the base, the prompt's among them (log scale)" in figures["by_steps.svg"]
    )
    assert "dev, plain AR" in figures["by_steps.svg"]
    assert "right tokens of a verified slot (mean)" in figures["by_kind.svg"]
    assert "fitted: ECE 0.100 (equal width 0.120)" in figures["reliable.svg"]
    conditions = "smoldiff-nano, some CPU, 2 threads, float32, commit abc1234"
    assert all(conditions in text for text in figures.values())


def test_the_same_rows_give_the_same_bytes_without_a_date(tmp_path):
    figures = plotted(tmp_path / "a", ROWS)
    assert figures == plotted(tmp_path / "b", ROWS)
    assert not any("dc:date" in svg or str(tmp_path) in svg for svg in figures.values())


def test_only_figures_with_rows_are_drawn(tmp_path):
    assert set(plotted(tmp_path / "a", [calls("ar")])) == {"by_mode.svg"}
    unjudged, rare = confidence("verified", "raw", num_values=0), drafts("copy", "all", 1)
    assert set(plotted(tmp_path / "b", [unjudged, rare, calls("ar")])) == {"by_mode.svg"}


def test_rows_of_one_source_are_left_to_the_tables(tmp_path):
    of_a_source = {**calls("ar"), "source": "SGD", "n": 7}
    (svg,) = plotted(tmp_path / "a", [calls("ar"), of_a_source]).values()
    assert "dev, 7 examples" not in words(svg)


def test_a_system_that_always_failed_has_no_bar(tmp_path):
    failed = calls("verified:copy", base_passes=None, total_mean_ms=None)
    (svg,) = plotted(tmp_path / "a", [calls("ar"), failed]).values()
    assert "verified, copy" not in words(svg)
    (svg,) = plotted(tmp_path / "b", [failed]).values()
    assert "dev, 300 examples" in words(svg)


def test_files_without_known_rows_are_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        plot_calls.main([str(write_rows(tmp_path / "rows.jsonl", [{"benchmark": "compile"}]))])
    assert "no row of the benchmarks calls, confidence, drafts" in capsys.readouterr().err


def test_kinds_with_few_slots_are_not_shown():
    rows = [drafts("a", "all"), drafts("a", "date", 4), drafts("b", "date", 3)]
    assert list(kinds_shown(rows)) == ["all"]
    assert list(kinds_shown([*rows, drafts("c", "date", 5)])) == ["all", "date"]


@pytest.mark.parametrize(
    ("system", "words_for_it"),
    [
        ("ar", "plain AR"),
        ("ar+skip_forced", "AR, forced tokens skipped"),
        ("verified:parallel+copy", "verified, parallel+copy"),
        ("diffusion:1", "diffusion, 1 step"),
        ("diffusion:4", "diffusion, 4 steps"),
        ("hf+llguidance", "hf+llguidance"),
    ],
)
def test_systems_have_names_for_readers(system, words_for_it):
    assert label(system) == words_for_it


def test_a_colour_tells_what_writes():
    systems = ["ar", "verified:parallel+copy", "verified:diffusion+copy", "diffusion:1"]
    assert len({colour(system) for system in systems}) == 4
    assert colour("hf+xgrammar") == colour("ar+skip_forced") == colour("ar")
    assert colour("verified:scaffold") == colour("verified:copy")


def test_numbers_behind_bars_say_the_heads_passes_and_the_speed():
    assert passes_text(calls("x", base_passes=2.04, head_passes=3.5)) == "2.0 + 3.5 of the head"
    assert passes_text(calls("x")) == "4.0"
    assert time_text(calls("x")) == "120 (2.5x)"
    assert time_text(calls("ar")) == time_text(calls("x", speed_vs_ar=None)) == "120"


def test_the_conditions_leave_out_threads_on_a_gpu():
    assert foot([{**calls("ar"), "num_threads": None}]) == (
        "smoldiff-nano, some CPU, float32, commit abc1234"
    )
