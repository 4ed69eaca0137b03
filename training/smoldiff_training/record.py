"""What a run writes beside its checkpoint: its conditions and its log; and the clock that it goes by."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

CONDITIONS = "run.json"
PACKAGES = ("torch", "transformers", "tokenizers", "accelerate", "safetensors")


class Log:
    """JSON lines in a file, and the same on the screen. Silent in all processes but the first."""

    def __init__(self, path: Path, is_on: bool, show: Callable[[str], None] = print) -> None:
        self.path, self.is_on, self.show = path, is_on, show

    def __call__(self, **row: Any) -> None:
        if self.is_on:
            line = json.dumps(row)
            self.show(line)
            with self.path.open("a", encoding="utf-8") as out:
                out.write(line + "\n")

    def rewind(self, step: int) -> None:
        """Drop the rows after `step`, which a resumed run writes again, and a last line cut off."""
        if not (self.is_on and self.path.is_file()):
            return
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [li for li in lines if li.endswith("\n") and json.loads(li)["step"] <= step]
        replace_text(self.path, "".join(kept))


class Clock:
    """Seconds trained, those before a restart included, as the first process counts them."""

    def __init__(self, accelerator: Any, before_s: float) -> None:
        self.accelerator, self.start = accelerator, time.monotonic() - before_s

    def agreed_s(self) -> float:
        import torch
        from accelerate.utils import broadcast

        here = torch.tensor(time.monotonic() - self.start, device=self.accelerator.device)
        return float(broadcast(here, from_process=0))


def write_conditions(out: Path, cfg: Any, packages: Iterable[str] = PACKAGES) -> None:
    """The configuration, command, commit, seed and versions of a run, as `run.json`."""
    import torch

    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else platform.machine()
    conditions = {
        "config": asdict(cfg),
        "command": " ".join(sys.argv[1:]),
        "commit": commit(),
        "seed": cfg.seed,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
        "devices": f"{max(torch.cuda.device_count(), 1)} x {device}",
    }
    replace_text(out / CONDITIONS, json.dumps(conditions, indent=2) + "\n")


def commit() -> str | None:
    """The commit of this package's checkout, `-dirty` where it was changed; None where it is not in one."""

    def git(*arguments: str) -> str:
        at = Path(__file__).parent
        done = subprocess.run(
            ["git", *arguments], cwd=at, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)  # not another project's checkout
        return git("describe", "--always", "--abbrev=40", "--exclude=*", "--dirty")
    except (OSError, subprocess.CalledProcessError):
        return None


def replace_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
