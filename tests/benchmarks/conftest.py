"""Benchmarks are scripts, never installed: their folder is put on the path as running one of them does."""

import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))


@pytest.fixture(autouse=True)
def _one_thread():
    """Small matrices on shared cores: threads that wait for each other take ten times as long."""
    known = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(known)
