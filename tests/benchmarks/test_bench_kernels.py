import json
import pickle
import subprocess
import sys
from functools import partial
from pathlib import Path

import bench_kernels
import kernel_checks  # noqa: F401 - it chooses Triton's interpreter where there is no GPU
import pytest
import torch
from kernel_timing import clock, report
from kernel_timing.case import OURS, Case, Target, is_met, measure, rows, value
from kernel_timing.clock import CACHE_BYTES, MAX_INPUTS, Ceilings, Time, inputs_beyond_cache
from kernel_timing.sweep import Asked, Sweep, around, best, times
from kernel_timing.warm import fill_caches, run_once

CPU = ["--device", "cpu"]
RESULTS = Path(bench_kernels.__file__).parent / "results"


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    out = tmp_path_factory.mktemp("kernels") / "kernels.jsonl"
    assert bench_kernels.main([*CPU, "--small", "--out", str(out)]) == 0
    return out


def test_every_op_has_rows_under_its_conditions(lines):
    found = [json.loads(line) for line in lines.read_text().splitlines()]
    assert {row["op"] for row in found} == set(bench_kernels.OPS)
    for row in found:
        assert row["commit"]
        assert (row["us"] is None) == ("problem" in row)
        if row["impl"] == OURS:
            assert row["us"] > 0
            assert row["over_floor"] > 0


def test_the_roofline_is_drawn_from_the_lines(lines, tmp_path):
    figure = tmp_path / "roofline.svg"
    bench_kernels.main([*CPU, "--draw", str(lines), "--roofline", str(figure)])
    drawn = figure.read_text()
    for text in ("TFLOP/s reached", "measured ceilings", "head_attention"):
        assert text in drawn


def test_an_op_whose_tests_are_red_is_not_timed(tmp_path, monkeypatch):
    def tests(op):
        command = [sys.executable, "-c", f"raise SystemExit({op == 'class_scores'})"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    small = {op: make(True) for op, make in bench_kernels.OPS.items()}
    monkeypatch.setattr(bench_kernels, "_tests", tests)
    monkeypatch.setattr(
        bench_kernels,
        "OPS",
        {op: lambda _, op=op: small[op] for op in ("class_scores", "slot_decoding")},
    )
    monkeypatch.setattr(bench_kernels, "parse", _not_small(bench_kernels.parse))
    out = tmp_path / "kernels.jsonl"
    ops = "class_scores,slot_decoding"
    assert bench_kernels.main([*CPU, "--small", "--ops", ops, "--out", str(out)]) == 1
    assert {json.loads(line)["op"] for line in out.read_text().splitlines()} == {"slot_decoding"}


def _not_small(parse):
    """On a CPU the command insists on small shapes, which skip the tests."""

    def parsed(arguments):
        args = parse(arguments)
        args.small = False
        return args

    return parsed


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "times on a CPU say nothing"),
        (["--small", "--ops", "softmax"], "'softmax' is not one of class_scores"),
        (["--small", "--draw", "x.jsonl"], "--draw and --roofline belong together"),
        (["--small", "--sweep", "masked_loss"], "'masked_loss' is not one of class_scores"),
    ],
)
def test_bad_arguments_say_what_to_change(arguments, says, capsys):
    with pytest.raises(SystemExit):
        bench_kernels.parse([*CPU, *arguments])
    assert says in capsys.readouterr().err


def case(*targets: Target) -> Case:
    work = {OURS: lambda _: None, "missing": None, "broken": lambda _: [][0]}
    return Case("op", "shape", 1e9, 1e6, lambda _: work, targets)


def test_targets_are_held_against_peers_floor_and_bounds():

    found = measure(case(), torch.device("cpu"))
    assert found.missing == {
        "missing": "not installed",
        "broken": "IndexError: list index out of range",
    }
    found.times = {OURS: Time(20.0, 1.0, 8.0), "peer": Time(30.0, 1.0, 9.0)}
    expected = {
        Target("peer", 1.5, is_speed=True): (1.5, True),
        Target("peer", 0.5): (0.667, False),
        Target("floor", 2.0): (2.0, True),
        Target("us", 19): (20.0, False),
        Target("MiB", 8): (8.0, True),
        Target("missing", 1.0): (None, None),
    }
    for target, result in expected.items():
        assert (value(target, found, 10.0), is_met(target, found, 10.0)) == result


def test_a_peer_that_fails_has_a_row_with_its_problem():

    found = measure(case(), torch.device("cpu"))
    by_name = {row["impl"]: row for row in rows(found, Ceilings(1e12, 1e12, 1e12))}
    assert by_name["broken"]["problem"].startswith("IndexError")
    assert by_name[OURS]["floor_us"] == 1000.0


def test_an_op_that_fails_has_a_row_too_and_the_command_says_so(tmp_path, monkeypatch):
    broken = Case("op", "shape", 1e9, 1e6, lambda _: {OURS: lambda _: [][0], "peer": lambda _: 0})
    monkeypatch.setattr(bench_kernels, "OPS", {"class_scores": lambda _: [broken]})
    out = tmp_path / "kernels.jsonl"
    arguments = [*CPU, "--small", "--ops", "class_scores", "--out", str(out)]
    assert bench_kernels.main(arguments) == 1
    found = {row["impl"]: row for row in map(json.loads, out.read_text().splitlines())}
    assert found[OURS]["problem"].startswith("IndexError")
    assert found["peer"]["us"] > 0


def test_what_is_printed_of_all_ops_fits_a_terminal():
    known = (RESULTS / "kernels.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in known]
    printed = [
        text
        for op in bench_kernels.OPS
        for text in report.lines(op, [row for row in found if row["op"] == op], width=100)
    ]
    assert max(map(len, printed)) <= 100
    assert sum(map(len, printed)) < 11_000
    assert any(text.startswith("    target <= 50 us: ") for text in printed)


def test_inputs_take_turns_until_none_is_in_the_cache():
    assert inputs_beyond_cache(CACHE_BYTES) == 3
    assert inputs_beyond_cache(100 * CACHE_BYTES) == 1
    assert inputs_beyond_cache(1.0) == MAX_INPUTS


def test_candidates_begin_with_the_tables_own_and_go_away_from_it():
    found = around({"a": 2, "b": 4}, {"a": (1, 2), "b": (4, 8)}, lambda k: k != {"a": 1, "b": 4}, 9)
    assert found == [{"a": 2, "b": 4}, {"a": 2, "b": 8}, {"a": 1, "b": 8}]
    assert len(around({"a": 2}, {"a": (1, 2, 3)}, lambda _: True, 2)) == 2


def test_candidates_that_fail_or_are_wrong_have_a_row_with_the_reason():
    def make(num, device):
        results = {"right": torch.ones(3), "near": torch.full((3,), 1.01), "wrong": torch.zeros(3)}
        return lambda knobs: lambda _: results[knobs["kind"]]

    knobs = [{"kind": kind} for kind in ("right", "near", "wrong", "missing")]
    sweep = Sweep("op", "shape", knobs, make)
    asked = Asked("sha", True, torch.device("cpu"), 9)
    found = list(times(lambda *_: [sweep, Sweep("op", "other", knobs, make)], asked, 0))
    assert [row["us"] is not None for row in found] == [True, True, False, False]
    assert [row["is_own"] for row in found] == [True, False, False, False]
    assert "results differ" in found[2]["problem"]
    assert found[3]["problem"].startswith("KeyError")
    first, *lines = best(found)
    assert first == "op, shape: 2 of 4 ran"
    assert sum("own" in line for line in lines) == 1


def test_only_the_shapes_that_are_named_are_timed(tmp_path):
    out = tmp_path / "kernels.jsonl"
    options = ["--small", "--ops", "head_attention", "--shapes", "backward", "--out", str(out)]
    assert bench_kernels.main([*CPU, *options]) == 0
    shapes = {json.loads(line)["shape"] for line in out.read_text().splitlines()}
    assert shapes == {
        f"B {b}, T {t}, C {c}, forward + backward" for b, t, c in ((1, 3, 5), (2, 4, 6))
    }


@pytest.mark.slow
def test_what_will_be_timed_runs_once_in_other_processes(tmp_path):
    make = partial(_marking, tmp_path / "ran")
    fill_caches([Case("op", "shape", 1.0, 1.0, make)], 1, torch.device("cpu"))
    assert (tmp_path / "ran").read_text() == "once"


def _marking(path, device):
    return {"ours": lambda _: path.write_text("once"), "missing": None, "broken": lambda _: 1 / 0}


@pytest.mark.parametrize("op", bench_kernels.OPS)
@pytest.mark.parametrize("is_small", [True, False])
def test_every_case_can_be_sent_to_another_process(op, is_small):
    for case in bench_kernels.OPS[op](is_small):
        assert pickle.loads(pickle.dumps(case)).shape == case.shape


def test_what_goes_wrong_before_the_clock_is_left_to_it(tmp_path):
    case = Case("op", "shape", 1.0, 1.0, partial(_marking, tmp_path / "ran"))
    assert run_once(case, torch.device("cpu")) == ["broken: ZeroDivisionError: division by zero"]


@pytest.mark.parametrize("op", bench_kernels.SWEPT)
def test_every_sweep_runs(op, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    out = tmp_path / "sweep.jsonl"
    arguments = [*CPU, "--small", "--sweep", op, "--candidates", "2", "--out", str(out)]
    assert bench_kernels.main(arguments) == 0
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert found
    for row in found:
        assert row["op"] == op
        assert row["us"] > 0, row


@pytest.mark.slow
def test_candidates_are_compiled_by_other_processes_first(monkeypatch):
    from kernel_timing.candidates import SWEEPS

    monkeypatch.setenv("TRITON_INTERPRET", "1")
    found = list(times(SWEEPS["class_scores"], Asked("", True, torch.device("cpu"), 2), 1))
    assert all(row["us"] > 0 for row in found)


@pytest.mark.parametrize(
    ("stream_us", "host_us", "waits", "how"),
    [
        (100.0, 10.0, False, "graph"),  # short
        (700.0, 650.0, False, "graph"),  # as long as its launches: they are what was timed
        (800.0, 530.0, False, "graph"),  # launches that vary took part of it
        (2700.0, 1200.0, False, "stream"),  # the host is ahead
        (100.0, 100.0, True, "stream"),  # no graph holds it
    ],
)
def test_launches_are_not_timed_as_work_of_the_device(stream_us, host_us, waits, how, monkeypatch):
    monkeypatch.setattr(clock, "_extra_mib", lambda _: 1.0)
    monkeypatch.setattr(clock, "_host_us", lambda *_: host_us)
    monkeypatch.setattr(clock, "_stream_us", lambda _, repeats: [stream_us] * repeats)
    monkeypatch.setattr(clock, "_graph_us", lambda *_: [3.0, 5.0, 4.0])
    monkeypatch.setattr(clock, "_waits_for_device", lambda _: waits)
    found = clock.time_work(lambda _: None, torch.device("cuda"), 1)
    assert (found.how, found.us) == (how, 4.0 if how == "graph" else stream_us)
    assert found.p10_us <= found.us <= found.p90_us
