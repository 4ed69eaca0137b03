"""Python, the packages, and whether the bundled model runs on them."""

from __future__ import annotations

from collections.abc import Iterator

from smoldiff.doctor.check import Ability, Check
from smoldiff.doctor.machine import Machine, Need
from smoldiff.doctor.packages import EXTRAS, is_within

ALWAYS_SHOWN = ("torch", "transformers", "llguidance")
"""Of the packages that all of smoldiff needs; the others are shown where something is wrong with them."""
OPTIONAL = {
    "flash-attn": "not installed; no model needs it",
    "vllm": "not installed; only serving through vLLM needs it",
}


def check_software(machine: Machine) -> Iterator[Check]:
    yield check_python(machine)
    yield from check_needs(machine)
    yield check_triton(machine)
    for name, absence in OPTIONAL.items():
        yield Check(name, "ok", machine.packages.get(name, absence))
    if machine.torch.problem:
        yield Check(
            "torch starts",
            "missing",
            machine.torch.problem,
            "install torch anew: https://pytorch.org/get-started/locally",
            blocks=("serve", "train"),
        )
    yield check_trial(machine)


def check_python(machine: Machine) -> Check:
    if is_within(machine.python, machine.python_versions):
        return Check("Python", "ok", _with_range(machine.python, machine.python_versions))
    todo = f"use a Python {machine.python_versions}"
    return Check("Python", "warn", machine.python, todo)


def check_needs(machine: Machine) -> Iterator[Check]:
    if not machine.needs:
        yield Check(
            "smoldiff",
            "warn",
            "not installed, so the versions that it needs are not known",
            "pip install -e . in its folder",
        )
    for need in machine.needs:
        check = check_need(need, machine.packages.get(need.name))
        if need.extra or need.name in ALWAYS_SHOWN or check.status != "ok":
            yield check


def check_need(need: Need, version: str | None) -> Check:
    name = f"{need.name} [{need.extra}]" if need.extra else need.name
    if version is None:
        return _absent(need, name)
    if not is_within(version, need.versions):
        todo = f"pip install '{need.name}{need.versions}'"
        return Check(name, "warn", f"{version}, tested with {need.versions}", todo)
    return Check(name, "ok", _with_range(version, need.versions))


def _absent(need: Need, name: str) -> Check:
    if not need.extra:
        todo = f"pip install '{need.name}{need.versions}'"
        return Check(name, "missing", "not installed", todo, ("serve", "train"))
    todo = f"for {EXTRAS[need.extra]}: pip install 'smoldiff[{need.extra}]'"
    blocks: tuple[Ability, ...] = ("train",) if need.extra == "train" else ()
    return Check(name, "missing", "not installed", todo, blocks)


def check_triton(machine: Machine) -> Check:
    version = machine.packages.get("triton")
    if version is None and machine.torch.gpus:
        todo = "install a torch build for this GPU, which brings it: https://pytorch.org/get-started/locally"
        return Check("triton", "warn", "not installed, so nothing can be compiled", todo)
    return Check("triton", "ok", version or "not installed; only a GPU uses it")


def check_trial(machine: Machine) -> Check:
    """The proof of all the rest."""
    trial = machine.trial
    if trial.problem:
        todo = "mend what is not ok here; if all is, install smoldiff anew"
        return Check("bundled model", "missing", trial.problem, todo, ("serve", "train"))
    times = f"loads in {trial.load_ms / 1000:.1f} s, makes a call in {trial.call_ms:.0f} ms"
    return Check("bundled model", "ok", times)


def _with_range(version: str, versions: str) -> str:
    return f"{version} ({versions})" if versions else version
