"""The guess of a tool from the words of a conversation."""

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
