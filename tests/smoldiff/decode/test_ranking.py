"""The guess of a tool from the words of a conversation."""

import gzip
import json
import random
from pathlib import Path

import pytest

from smoldiff.decode.ranking import likely_tool
from smoldiff.schema.source import read_source

TOOLS = read_source(
    [
        {
            "name": "FindRestaurants",
            "description": "Find a place to eat",
            "parameters": {"type": "object", "properties": {"cuisine": {"type": "string"}}},
        },
        {
            "name": "bookFlight",
            "description": "Book a flight",
            "parameters": {
                "type": "object",
                "properties": {"airport": {"type": "string", "description": "where to leave from"}},
            },
        },
        {
            "name": "get_weather",
            "description": "",
            "parameters": {"type": "object", "properties": {}},
        },
    ]
).tools


def test_the_tool_that_shares_words_is_guessed():
    assert likely_tool(TOOLS, "which cuisine do the restaurants have?") == 0
    assert likely_tool(TOOLS, "two flights please, leaving from the airport") == 1
    assert likely_tool(TOOLS, "how is the weather?") == 2


def test_what_was_said_long_ago_does_not_count():
    assert likely_tool(TOOLS, "flight airport book" + " " * 400 + "weather") == 2


def test_nothing_in_common_gives_the_first():
    assert likely_tool(TOOLS, "???") == 0
    assert likely_tool(TOOLS[:1], "weather") == 0
    assert likely_tool((), "weather") == 0


def test_on_dialogues_the_guess_is_right_far_more_often_than_the_first_tool():
    """The figures in the module's docstring; 1,500 dev examples drawn by seed 0."""
    path = Path(__file__).parents[3].parent / "shared" / "data" / "dev.jsonl.gz"
    if not path.exists():
        pytest.skip("../shared/data is absent")
    with gzip.open(path, "rt") as lines:
        rows = [json.loads(line) for line in lines]
    rows = [r for r in random.Random(0).sample(rows, 1500) if len(r["tools"]) > 1]
    num_guessed = num_first = 0
    for row in rows:
        turns = (
            f"<|im_start|>{m['role']}\n{m.get('content') or ''}<|im_end|>\n"
            for m in row["messages"]
        )
        guess = likely_tool(read_source(row["tools"]).tools, "".join(turns))
        num_guessed += row["tools"][guess]["name"] == row["calls"][0]["name"]
        num_first += row["tools"][0]["name"] == row["calls"][0]["name"]
    print(
        f"{len(rows)} examples: guessed {num_guessed / len(rows):.1%}, first {num_first / len(rows):.1%}"
    )
    assert num_guessed > 0.65 * len(rows)
    assert num_guessed > 2 * num_first
