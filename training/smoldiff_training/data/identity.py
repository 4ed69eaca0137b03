"""When two rows are one: what deduplication and the guard against evaluation rows compare."""

from __future__ import annotations

import json
import re
import unicodedata

from smoldiff_training.data.rows import Json, Row

WORD = re.compile(r"\w+")
Key = tuple[str, ...]


def question_key(row: Row) -> Key:
    """The user's last words, without case, accents of form and punctuation, and the names of the tools in any order.

    Evaluation rows are kept out by this key, whatever was answered and said before: a row that asks the same of the same
    tools may give the answer away. Tool names belong to it, for "yes, please" alone is in every data set.
    """
    last = next((m.get("content") for m in reversed(row.messages) if m["role"] == "user"), "")
    return plain_words(last or ""), *sorted({name.casefold() for name in tool_names(row.tools)})


def answer_key(row: Row) -> Key:
    """The question's key and the calls or words that answer it: rows equal in these teach the same once more.

    The answer belongs to it, because one question often needs several turns of calls, each a row of its own.
    """
    calls = json.dumps([[c["name"], c["arguments"]] for c in row.calls], sort_keys=True)
    return *question_key(row), calls, plain_words(row.answer)


def plain_words(text: str) -> str:
    return " ".join(WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def tool_names(tools: list[Json]) -> list[str]:
    return [tool["name"] for tool in tools]
