import json
import subprocess
import sys

import bench_kernels
import pytest
import torch
from kernel_timing.case import OURS, Case, Target, is_met, measure, rows, value
from kernel_timing.clock import Ceilings, Time

CPU = ["--device", "cpu"]


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
    by_name = {row["impl"]: row for row in rows(found, Ceilings(1e12, 1e12))}
    assert by_name["broken"]["problem"].startswith("IndexError")
    assert by_name[OURS]["floor_us"] == 1000.0
