"""Shared pieces: the bundled tokenizer, and the project's data where it lies beside the checkout."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
NANO = ROOT / "smoldiff" / "nano"


@pytest.fixture(scope="session")
def data() -> Path:
    if not (DATA / "dev.jsonl.gz").is_file():
        pytest.skip(f"no data at {DATA}")
    return DATA


@pytest.fixture(scope="session")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(NANO)


@pytest.fixture(scope="session")
def weather() -> dict:
    return {
        "name": "get_weather",
        "description": "Weather at a place",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Name of the city"},
                "day": {"type": "string", "format": "date"},
                "unit": {"type": "string", "enum": ["C", "F"]},
            },
            "required": ["city"],
        },
    }
