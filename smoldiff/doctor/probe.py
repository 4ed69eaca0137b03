"""Looks at this machine. A part that cannot be looked at says so in its `problem`."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import time
from pathlib import Path

from smoldiff.doctor.machine import Folder, Gpu, Machine, Torch, Trial
from smoldiff.doctor.packages import installed, own_needs, own_python_versions

OPTIONAL = ("triton", "flash-attn", "vllm")
"""Packages that nothing here asks for, and that a GPU is used with."""
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
MEMORY_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""Where Linux says how much memory a container may use, in its newer and its older way."""

TOOL = {
    "name": "get_weather",
    "description": "Weather of a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius", "fahrenheit"]}},
        "required": ["city"],
    },
}
MESSAGE = "What is the weather in Paris?"


def probe() -> Machine:
    """This machine as it is. Loads the bundled model and makes a call, which takes some seconds."""
    needs = own_needs()
    return Machine(
        python=platform.python_version(),
        python_versions=own_python_versions(),
        needs=needs,
        packages=installed([*(need.name for need in needs), *OPTIONAL]),
        num_cores=num_cores(),
        ram_bytes=ram_bytes(),
        has_nvidia_driver=NVIDIA_DRIVER.exists() or shutil.which("nvidia-smi") is not None,
        torch=probe_torch(),
        cache=probe_cache(),
        models=probe_models(),
        here=probe_folder(Path.cwd()),
        trial=try_bundled_model(),
    )


def num_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def ram_bytes() -> int:
    """The memory that this process may use; 0 where the system does not say."""
    known = [int(text) for path in MEMORY_LIMITS if (text := _text(path)).isdigit()]
    try:
        known.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError):  # Windows has no sysconf, other systems not these names
        return min(known, default=0)
    return min(known)


def _text(path: Path) -> str:
    return path.read_text().strip() if path.is_file() else ""


def probe_torch() -> Torch:
    try:
        import torch

        gpus = tuple(probe_gpu(idx) for idx in range(torch.cuda.device_count()))
    except (ImportError, OSError, RuntimeError) as problem:  # also of the libraries below it
        return Torch(problem=one_line(problem))
    return Torch(
        cuda=torch.version.cuda or torch.version.hip or "",
        has_nccl=torch.distributed.is_available() and torch.distributed.is_nccl_available(),
        has_mps=torch.backends.mps.is_available(),
        gpus=gpus,
    )


def probe_gpu(idx: int) -> Gpu:
    import torch

    facts = torch.cuda.get_device_properties(idx)
    free_bytes, total_bytes = torch.cuda.mem_get_info(idx)
    is_nvidia = torch.version.hip is None
    return Gpu(
        name=facts.name,
        total_bytes=total_bytes,
        free_bytes=free_bytes,
        compute_capability=f"{facts.major}.{facts.minor}" if is_nvidia else "",
        has_bf16=facts.major >= 8 or not is_nvidia,
    )


def probe_cache() -> Folder | None:
    try:
        from smoldiff.template.cache import cache_folder
    except ImportError as problem:  # it needs numpy
        return Folder("", 0, one_line(problem))
    path = cache_folder()
    return None if path is None else probe_folder(path)


def probe_models() -> Folder:
    try:
        from huggingface_hub.constants import HF_HUB_CACHE
    except ImportError as problem:
        return Folder("", 0, one_line(problem))
    return probe_folder(Path(HF_HUB_CACHE))


def probe_folder(path: Path) -> Folder:
    """A folder's free space and whether a file can be written there. Leaves nothing behind."""
    there = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    free_bytes = shutil.disk_usage(there).free
    try:
        with tempfile.TemporaryFile(dir=there):
            return Folder(str(path), free_bytes)
    except OSError as problem:
        return Folder(str(path), free_bytes, problem.strerror or one_line(problem))


def try_bundled_model() -> Trial:
    """Times one call, after another that pays for what later ones do not."""
    start_s = time.perf_counter()
    try:
        from smoldiff.api import generate_call
        from smoldiff.decode.model import load

        model = load()
        load_ms = _since_ms(start_s)
        generate_call(model, TOOL, MESSAGE)
        start_s = time.perf_counter()
        generate_call(model, TOOL, MESSAGE)
    except Exception as problem:  # whatever it is, saying it is what the trial is for
        return Trial(problem=f"{type(problem).__name__}: {one_line(problem)}")
    return Trial(load_ms=load_ms, call_ms=_since_ms(start_s))


def one_line(problem: BaseException) -> str:
    return next(iter(str(problem).splitlines()), type(problem).__name__)


def _since_ms(start_s: float) -> float:
    return (time.perf_counter() - start_s) * 1000
