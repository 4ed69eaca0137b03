"""The head that is bundled with smoldiff-nano."""

from pathlib import Path

import pytest

import smoldiff

MAX_BYTES = 6 * 2**20
TOOLS = [
    {
        "name": "find_flights",
        "description": "Find flights between two cities",
        "parameters": {
            "type": "object",
            "properties": {
                "origin": {"type": "string"},
                "destination": {"type": "string"},
                "date": {"type": "string", "format": "date"},
                "passengers": {"type": "integer"},
            },
            "required": ["origin", "destination", "date"],
        },
    },
    {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
]
QUESTIONS = [
    "Find flights from Paris to New York for two on 2026-06-01",
    "What is the weather in Lisbon?",
    "I need a flight from Denver to Boston on 2026-07-12, please",
    "Is it raining in San Francisco right now?",
]


@pytest.fixture(scope="module")
def model():
    return smoldiff.load("smoldiff-nano")


def test_it_is_small():
    folder = Path(smoldiff.__file__).parent / "nano" / "head"
    assert sum(path.stat().st_size for path in folder.glob("*.safetensors")) <= MAX_BYTES


def test_it_comes_with_its_base_and_drafts_the_bases_own_calls_in_fewer_passes(model):
    one_by_one = smoldiff.generate_calls(model, TOOLS, QUESTIONS, mode="ar")
    without = smoldiff.generate_calls(model, TOOLS, QUESTIONS, drafter="parallel+copy")
    found = smoldiff.generate_calls(model, TOOLS, QUESTIONS)
    assert [one.token_ids for one in found] == [one.token_ids for one in one_by_one]
    assert all(one.stats.head_passes for one in found)
    assert sum(one.stats.base_passes for one in found) < sum(
        one.stats.base_passes for one in without
    )
