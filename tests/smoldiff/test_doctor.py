"""What a machine can do, judged on machines that are made up, and what is seen of this one."""

import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from smoldiff.doctor import packages, probe
from smoldiff.doctor.machine import Folder, Gpu, Machine, Need, Torch, Trial
from smoldiff.doctor.memory import GIB, SMOLLM3, serve_bytes, train_bytes, weight_bytes
from smoldiff.doctor.report import examine, print_report

H100 = Gpu("NVIDIA H100", 80 * GIB, 79 * GIB, "9.0", True)
T4 = Gpu("Tesla T4", 15 * GIB, 14 * GIB, "7.5", False)
NEEDS = (
    Need("torch", ">=2.11,<2.14"),
    Need("transformers", ">=5.10,<6"),
    Need("regex", ">=2025.7"),
    Need("accelerate", ">=1.12", "train"),
    Need("bitsandbytes", ">=0.48", "quantized"),
)
PACKAGES = {
    "torch": "2.13.0+cu130",
    "transformers": "5.10.1",
    "regex": "2025.7.34",
    "accelerate": "1.12.0",
    "bitsandbytes": "0.48.1",
    "triton": "3.7.0",
}
HEALTHY = Machine(
    python="3.12.1",
    python_versions=">=3.11",
    needs=NEEDS,
    packages=PACKAGES,
    num_cores=16,
    ram_bytes=128 * GIB,
    has_nvidia_driver=True,
    torch=Torch(cuda="13.0", has_nccl=True, gpus=(H100, H100)),
    cache=Folder("cache", 60 * GIB),
    models=Folder("models", 60 * GIB),
    here=Folder("here", 60 * GIB),
    trial=Trial(load_ms=900.0, call_ms=40.0),
)
NO_GPU = Torch(cuda="")
BOTH = {"serve", "train"}


def without(name):
    return {key: value for key, value in PACKAGES.items() if key != name}


FAULTS = {
    "old Python": ({"python": "3.10.2"}, "Python", "warn", ">=3.11", BOTH),
    "old torch": (
        {"packages": PACKAGES | {"torch": "2.9.0"}},
        "torch",
        "warn",
        "pip install 'torch>=2.11,<2.14'",
        BOTH,
    ),
    "torch too new": ({"packages": PACKAGES | {"torch": "2.14.0"}}, "torch", "warn", "pip", BOTH),
    "no regex": ({"packages": without("regex")}, "regex", "missing", "pip install 'regex", set()),
    "no accelerate": (
        {"packages": without("accelerate")},
        "accelerate [train]",
        "missing",
        "for training: pip install 'smoldiff[train]'",
        {"serve"},
    ),
    "no bitsandbytes": (
        {"packages": without("bitsandbytes")},
        "bitsandbytes [quantized]",
        "missing",
        "for 4-bit models: pip install 'smoldiff[quantized]'",
        BOTH,
    ),
    "no triton": ({"packages": without("triton")}, "triton", "warn", "torch build", BOTH),
    "never installed": ({"needs": ()}, "smoldiff", "warn", "pip install -e .", BOTH),
    "torch does not load": (
        {"torch": Torch("libcudart.so: cannot open")},
        "torch starts",
        "missing",
        "pytorch.org",
        set(),
    ),
    "no call": ({"trial": Trial("ModelError: x")}, "bundled model", "missing", "anew", set()),
    "no GPU": ({"torch": NO_GPU, "has_nvidia_driver": False}, "GPU", "warn", "take a", BOTH),
    "torch for CPUs": ({"torch": NO_GPU}, "GPU", "warn", "CUDA build of torch", BOTH),
    "hidden GPU": ({"torch": Torch(cuda="13.0")}, "GPU", "warn", "NVIDIA driver", BOTH),
    "no bf16": ({"torch": Torch(gpus=(T4,))}, "GPU 0", "warn", "dtype='float16'", BOTH),
    "no NCCL": ({"torch": Torch(gpus=(H100, H100))}, "NCCL", "missing", "on one GPU", BOTH),
    "one core": ({"num_cores": 1}, "CPU cores", "warn", "2 or more", BOTH),
    "little RAM": ({"ram_bytes": 4 * GIB}, "RAM", "warn", "SmolLM3-3B needs 5.7 GiB", BOTH),
    "read-only cache": (
        {"cache": Folder("/c", 60 * GIB, "Read-only file system")},
        "cache",
        "warn",
        "SMOLDIFF_CACHE",
        BOTH,
    ),
    "full cache": ({"cache": Folder("/c", 1000)}, "cache", "warn", "1.0 GiB free", BOTH),
    "no space for models": ({"models": Folder("/m", GIB)}, "models", "warn", "HF_HOME", BOTH),
    "no space here": ({"here": Folder("/h", GIB)}, "this folder", "warn", "8.0 GiB", BOTH),
    "GPU too small to train": (
        {"torch": Torch(gpus=(T4,))},
        "train SmolLM3-3B, 4-bit",
        "warn",
        "take a GPU with",
        BOTH,
    ),
    "GPU too small to serve": (
        {"torch": Torch(gpus=(replace(H100, free_bytes=4 * GIB),))},
        "serve SmolLM3-3B, bf16",
        "warn",
        "load_in_4bit=True needs 3.5 GiB",
        BOTH,
    ),
}


def test_where_all_is_well_there_is_nothing_to_do():
    report = examine(HEALTHY)
    assert {(check.status, check.todo) for check in report.checks} == {("ok", "")}
    assert report.can("serve")
    assert report.can("train")


@pytest.mark.parametrize(
    ("change", "name", "status", "todo", "abilities"), FAULTS.values(), ids=FAULTS
)
def test_a_fault_is_named_with_what_to_do_about_it(change, name, status, todo, abilities):
    report = examine(replace(HEALTHY, **change))
    (check,) = (one for one in report.checks if one.name == name)
    assert check.status == status
    assert todo in check.todo
    assert {ability for ability in BOTH if report.can(ability)} == abilities


@pytest.mark.parametrize("change", [fault[0] for fault in FAULTS.values()], ids=FAULTS)
def test_each_row_that_is_not_ok_has_its_line_of_what_to_do(change):
    for check in examine(replace(HEALTHY, **change)).checks:
        assert bool(check.todo) == (check.status != "ok")
        assert check.status == "missing" or not check.blocks


def test_what_is_not_needed_is_not_asked_for():
    change = {"cache": None, "ram_bytes": 0, "torch": Torch(gpus=(H100,)), "python_versions": ""}
    report = examine(replace(HEALTHY, **change))
    assert {check.status for check in report.checks} == {"ok"}
    assert "NCCL" not in {check.name for check in report.checks}


def test_without_a_gpu_a_model_is_served_from_ram_and_trained_on_no_memory():
    cpu = {"torch": NO_GPU, "has_nvidia_driver": False}
    status = {c.name: c.status for c in examine(replace(HEALTHY, **cpu)).checks}
    assert status["serve SmolLM3-3B, bf16"] == "ok"
    assert status["train SmolLM3-3B, bf16"] == "warn"
    apple = replace(HEALTHY, torch=Torch(has_mps=True), has_nvidia_driver=False)
    apple_status = {c.name: c.status for c in examine(apple).checks}
    assert apple_status["GPU"] == apple_status["train SmolLM3-3B, bf16"] == "ok"


def test_the_estimates_follow_the_shape_of_the_base():
    assert SMOLLM3.num_parameters == 3_075_098_624  # as its card and its checkpoint have it
    weights = SMOLLM3.num_parameters - SMOLLM3.hidden_size  # less the last norm
    assert weight_bytes(SMOLLM3, 16) == 2 * weights
    assert weight_bytes(SMOLLM3, 4) < 0.4 * weight_bytes(SMOLLM3, 16)
    for bits in (16, 4):
        assert weight_bytes(SMOLLM3, bits) < serve_bytes(SMOLLM3, bits) < train_bytes(SMOLLM3, bits)


def printed(machine):
    console = Console(file=io.StringIO(), width=200)
    print_report(console, examine(machine))
    return console.file.getvalue()


def test_people_get_a_table_then_what_to_do_then_the_verdict():
    odd = Folder("/a[/b]:on:", 60 * GIB, "Read-only file system")
    lines = printed(replace(HEALTHY, cache=odd, packages=without("accelerate"))).splitlines()
    rows = [line.split()[0] for line in lines[: lines.index("")]]
    assert set(rows) == {"ok", "warn", "missing"}
    assert any("/a[/b]:on:" in line for line in lines)
    todo = lines[lines.index("what to do") + 1 :]
    assert [line.partition(": ")[0] for line in todo[:2]] == ["accelerate [train]", "cache"]
    assert lines[-2:] == ["can serve: yes", "can train: no, because of accelerate [train]"]


def test_nothing_is_said_of_what_to_do_where_there_is_nothing():
    assert "what to do" not in printed(HEALTHY)


def test_machines_get_one_line_of_json():
    report = examine(replace(HEALTHY, trial=Trial("ModelError: x")))
    (line,) = report.to_json().splitlines()
    found = json.loads(line)
    assert found["can_serve"] is found["can_train"] is False
    assert found["machine"]["torch"]["gpus"][0]["name"] == "NVIDIA H100"
    assert {"bundled model"} == {c["name"] for c in found["checks"] if c["status"] != "ok"}


def test_needs_are_read_from_the_metadata_of_the_installed_package(monkeypatch):
    lines = [
        "torch<2.14,>=2.11",
        "Jinja2; python_version >= '3'",
        "pywin32; platform_system == 'Nowhere'",
        "PyYAML>=6; extra == 'train'",
        "xgrammar; extra == 'peers'",
    ]
    monkeypatch.setattr("importlib.metadata.requires", lambda name: lines)
    assert packages.own_needs() == (
        Need("torch", "<2.14,>=2.11"),
        Need("jinja2", ""),
        Need("pyyaml", ">=6", "train"),
    )


def test_a_package_that_is_not_there_is_missing_for_its_extra(monkeypatch):
    lines = ["torch", "no-such-package>=1; extra == 'train'", "regex; extra == 'train'"]
    monkeypatch.setattr("importlib.metadata.requires", lambda name: lines)
    assert packages.missing_for("train") == ["no-such-package"]


def test_a_folder_that_is_not_there_is_judged_by_its_parent_and_not_made(tmp_path):
    found = probe.probe_folder(tmp_path / "a" / "b")
    assert found.problem == ""
    assert found.free_bytes > 0
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_says_why(tmp_path):
    (tmp_path / "file").write_text("")
    assert probe.probe_folder(tmp_path / "file" / "b").problem == "Not a directory"


def test_a_cache_that_is_switched_off_is_no_folder(monkeypatch):
    monkeypatch.setenv("SMOLDIFF_CACHE", "")
    assert probe.probe_cache() is None


@pytest.mark.parametrize(("limit", "is_lower"), [("1000\n", True), ("max\n", False)])
def test_a_container_has_no_more_memory_than_it_may_use(tmp_path, monkeypatch, limit, is_lower):
    path = tmp_path / "memory.max"
    path.write_text(limit)
    monkeypatch.setattr(probe, "MEMORY_LIMITS", (path, Path("/no/such/file")))
    assert (probe.ram_bytes() == 1000) == is_lower


def test_gpus_are_described_as_torch_sees_them(monkeypatch):
    facts = SimpleNamespace(name="Tesla T4", major=7, minor=5)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda idx: facts)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda idx: (14 * GIB, 15 * GIB))
    monkeypatch.setattr("torch.version.hip", None)
    assert probe.probe_torch().gpus == (T4,)


def test_a_gpu_that_does_not_answer_is_a_problem_of_torch(monkeypatch):
    def broken():
        raise RuntimeError("CUDA error: device is lost\nmore")

    monkeypatch.setattr("torch.cuda.device_count", broken)
    assert probe.probe_torch() == Torch("CUDA error: device is lost")


def test_a_missing_torch_is_a_problem_and_no_crash(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "torch" in probe.probe_torch().problem


def test_a_trial_that_fails_says_why(monkeypatch):
    def load():
        raise MemoryError

    monkeypatch.setattr("smoldiff.decode.model.load", load)
    assert probe.try_bundled_model() == Trial("MemoryError: MemoryError")


def test_this_machine_makes_a_call_with_the_bundled_model():
    machine = probe.probe()
    assert machine.trial.problem == ""
    assert machine.trial.call_ms > 0
    assert machine.packages["torch"] == torch.__version__
    assert examine(machine).can("serve")
