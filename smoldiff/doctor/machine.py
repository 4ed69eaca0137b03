"""What is known of a machine: its hardware, its packages, its folders, and how the bundled model did on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Need:
    """A package that smoldiff asks for: the versions it runs with, and the extra that asks; "" for all of smoldiff."""

    name: str
    versions: str
    extra: str = ""


@dataclass(frozen=True, slots=True)
class Gpu:
    name: str
    total_bytes: int
    free_bytes: int
    compute_capability: str
    """As in "9.0"; "" where the maker has no such number."""
    has_bf16: bool


@dataclass(frozen=True, slots=True)
class Torch:
    """What torch says of itself; nothing but `problem` where it cannot be imported."""

    problem: str = ""
    cuda: str = ""
    """The version of CUDA or ROCm that it was built for; "" for a build without."""
    has_nccl: bool = False
    has_mps: bool = False
    gpus: tuple[Gpu, ...] = ()


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that is written to. `path` may be missing as yet; `problem` says why nothing can be written."""

    path: str
    free_bytes: int
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Trial:
    """One call by the bundled model, or what went wrong."""

    problem: str = ""
    load_ms: float = 0.0
    call_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Machine:
    python: str
    python_versions: str
    """The range that smoldiff asks for."""
    needs: tuple[Need, ...]
    packages: Mapping[str, str]
    """Version by name of the packages that are installed, among those that matter."""
    num_cores: int
    ram_bytes: int
    has_nvidia_driver: bool
    torch: Torch
    cache: Folder | None
    """Where templates and automata are kept; None if the user switched that off."""
    models: Folder
    """Where downloaded models are kept."""
    here: Folder
    trial: Trial
