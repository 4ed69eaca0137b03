"""Scripts of tests that run a vLLM engine, each in a process of its own: vLLM changes modules of the process it runs in."""

import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from serving.server import ENVIRONMENT

IN_PROCESS = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}


def run(script, *arguments):
    """Run a script that lies beside the server's tests; an error where it fails."""
    path = Path(__file__).parent / "integrations" / "vllm" / script
    command = [sys.executable, str(path), *map(str, arguments)]
    subprocess.run(command, check=True, env={**os.environ, **ENVIRONMENT, **IN_PROCESS})
