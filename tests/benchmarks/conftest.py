"""Benchmarks are scripts, never installed: their folder is put on the path as running one of them does."""

import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
