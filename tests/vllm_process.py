"""Scripts of tests that run a vLLM engine, each in a process of its own: vLLM changes modules of the process it runs in."""

import os
import subprocess
import sys
from pathlib import Path

ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_HOST_IP": "127.0.0.1",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def run(script, *arguments):
    """Run a script that lies beside the server's tests; an error where it fails."""
    path = Path(__file__).parent / "integrations" / "vllm" / script
    command = [sys.executable, str(path), *map(str, arguments)]
    subprocess.run(command, check=True, env={**os.environ, **ENVIRONMENT})
