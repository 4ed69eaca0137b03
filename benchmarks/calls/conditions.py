"""The conditions a number was measured under. No paths: a row may be published."""

import hashlib
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from smoldiff.decode.model import Model

HERE = Path(__file__).parent


def conditions(model: Model, peers: Iterable[str] = ()) -> dict[str, Any]:
    """Weights, versions, device, dtype and commit."""
    packages = ["smoldiff", "torch", "transformers", "llguidance", *peers]
    base = model.base.model
    return {
        "model": Path(model.name).name,
        "weights": fingerprint(base),
        "head": fingerprint(model.head) if model.head is not None else None,
        "device": device_name(base.device),
        "num_threads": torch.get_num_threads() if base.device.type == "cpu" else None,
        "dtype": str(base.dtype).removeprefix("torch."),
        **{f"{name}_version": installed(name) for name in dict.fromkeys(packages)},
        "commit": commit(),
    }


def fingerprint(network: torch.nn.Module) -> str:
    """Tells two trainings of one network apart, from the first values of every tensor."""
    seen = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        seen.update(f"{name} {tuple(tensor.shape)}".encode())
        seen.update(tensor.flatten()[:1024].double().cpu().numpy().tobytes())
    return seen.hexdigest()[:12]


def device_name(device: torch.device) -> str:
    """The GPU's name, or the CPU's."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return cpu_name() if device.type == "cpu" else device.type


def cpu_name() -> str:
    """The processor's name as the system gives it, else its architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def commit() -> str | None:
    """The commit of this checkout, "+" behind it where tracked files differ from it; None outside a checkout."""
    try:
        head, changes = _git("rev-parse", "--short", "HEAD"), _git("status", "-s", "-uno")
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+" if changes else "")


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(HERE), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
