import json

import bench_confidence
import pytest
from calls.confident import MISSING, judged_values, value_at

import smoldiff
from smoldiff.decode.result import ToolCall
from smoldiff.head.calibration import NEUTRAL, Calibration
from smoldiff.head.model import DiffusionHead

WANTED = {"name": "book", "arguments": {"city": "Oslo", "who": {"n": 2}, "days": ["mon", True]}}


def judge(*calls, wanted=(WANTED,)):
    return [(v.judged.is_right, v.is_tool_right) for v in judged_values(calls, wanted)]


def call(arguments, confidence, name="book"):
    return ToolCall(name, arguments, json.dumps(arguments), confidence)


@pytest.mark.parametrize(
    ("pointer", "expected"),
    [
        ("/city", "Oslo"),
        ("/who/n", 2),
        ("/days/1", True),
        ("/days/2", MISSING),
        ("/days/x", MISSING),
        ("/city/0", MISSING),
        ("/a~1b", 5),
        ("", {**WANTED["arguments"], "a/b": 5}),
    ],
)
def test_values_are_found_by_pointer(pointer, expected):
    assert value_at({**WANTED["arguments"], "a/b": 5}, pointer) == expected


def test_a_value_is_right_where_the_wanted_call_has_it_in_the_same_place():
    arguments = {"city": "Bern", "who": {"n": 2.0}, "days": ["mon", 1], "more": 1}
    pointers = ["/city", "/who/n", "/days/0", "/days/1", "/more"]
    found = judge(call(arguments, dict.fromkeys(pointers, 0.5)))
    assert [is_right for is_right, _ in found] == [False, True, True, False, False]
    assert all(is_tool_right for _, is_tool_right in found)


def test_values_of_a_wrong_tool_and_of_a_call_too_many_are_wrong():
    right = call({"city": "Oslo"}, {"/city": 0.9})
    other = call({"city": "Oslo"}, {"/city": 0.9}, name="cancel")
    assert judge(right, right) == [(True, True), (False, False)]
    assert judge(other) == [(False, False)]


def test_a_call_of_a_bare_schema_has_no_name_and_its_root_is_a_value():
    assert judge(call(4, {"": 0.5}, name=None), wanted=[{"name": None, "arguments": 4}]) == [
        (True, True)
    ]


def run(options):
    bench_confidence.main([*options.split(), "--max-tokens", "64", "--width", "120"])


def test_a_fit_is_reported_beside_the_raw_chances_and_stored(data, head_folder, tmp_path, capsys):
    folder, out = tmp_path / "head", tmp_path / "rows.jsonl"
    DiffusionHead.from_pretrained(str(head_folder)).save_pretrained(folder)
    weights = (folder / "head.safetensors").read_bytes()
    run(f"--data {data} --fit {data} --head {folder} --steps 1 --store {folder} --out {out}")
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["mode"], row["scope"], row["state"]) for row in rows] == [
        (mode, scope, state)
        for mode in ("verified", "diffusion")
        for state in ("raw", "stored", "fitted")
        for scope in ("all calls", "right tool")
    ]
    assert all(0 <= row["ece_equal_mass"] <= 1 for row in rows if row["n"])
    assert all(sum(b["n"] for b in row["bins_equal_mass"]) == row["n"] for row in rows)
    config = smoldiff.load(device="cpu", head=str(folder)).head.config
    fitted = {r["mode"]: (r["scale"], r["offset"]) for r in rows if r["state"] == "fitted"}
    for mode, stored in (
        ("verified", config.verified_calibration),
        ("diffusion", config.diffusion_calibration),
    ):
        assert (stored.scale, stored.offset) == pytest.approx(fitted[mode], abs=1e-4)
    assert (folder / "head.safetensors").read_bytes() == weights
    assert str(tmp_path) not in out.read_text()
    assert "calibration" in capsys.readouterr().err


def test_raw_chances_do_not_depend_on_the_calibration_that_is_stored(data, head_folder, tmp_path):
    rows = []
    for number, calibration in enumerate((NEUTRAL, Calibration(0.5, -1.0))):
        folder, out = tmp_path / f"head-{number}", tmp_path / f"rows-{number}.jsonl"
        DiffusionHead.from_pretrained(str(head_folder)).save_pretrained(folder)
        bench_confidence.store({"verified": calibration}, folder)
        run(f"--data {data} --modes verified --head {folder} --out {out}")
        rows.append([json.loads(line) for line in out.read_text().splitlines()])
    plain, shifted = rows
    assert plain[0]["mean_confidence"] == shifted[0]["mean_confidence"]
    assert shifted[2]["state"] == "stored"
    assert shifted[2]["mean_confidence"] < shifted[0]["mean_confidence"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--modes ar", "'ar' is not one of verified, diffusion"),
        ("--store somewhere", "--store needs --fit"),
    ],
)
def test_options_that_make_no_sense_are_refused(data, options, said, capsys):
    with pytest.raises(SystemExit):
        bench_confidence.parse(["--data", str(data), *options.split()])
    assert said in capsys.readouterr().err
