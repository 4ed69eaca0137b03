"""Which tool a conversation is about, guessed from its words: the first draft has to name one before the base has spoken.

A wrong guess costs nothing but the draft. On 1,447 dev examples with several tools the guess is right for 69%, the first
tool in the list for 27% (tests/smoldiff/decode/test_ranking.py prints both).
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from smoldiff.schema.source import Tool

TAIL_CHARS = 300
"""How much of the prompt's end counts: about the last two turns."""
_WORD = re.compile(r"[^\W\d_]{3,}")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def likely_tool(tools: Sequence[Tool], prompt_text: str) -> int:
    """Index of the tool that shares most words with the prompt's end; a word counts less the more tools have it."""
    if len(tools) < 2:
        return 0
    said = set(_words(prompt_text[-TAIL_CHARS:]))
    all_words = [set(_words(" ".join(_texts(tool)))) for tool in tools]
    num_tools = Counter(word for words in all_words for word in words)

    def score(i: int) -> float:
        title = set(_words(f"{tools[i].name} {tools[i].description}"))
        shared = all_words[i] & said
        weight = sum((2 if word in title else 1) / num_tools[word] for word in shared)
        return float(
            weight / (len(all_words[i]) + 8) ** 0.5
        )  # 8 keeps a tool of few words from winning by one

    return max(range(len(tools)), key=score)


def _texts(tool: Tool) -> Iterable[str]:
    yield f"{tool.name} {tool.description}"
    properties = tool.parameters.get("properties")
    for key, value in properties.items() if isinstance(properties, dict) else ():
        yield key
        if isinstance(value, dict):
            yield str(value.get("description", ""))


def _words(text: str) -> list[str]:
    """Lower-case words, cut to five letters as a rough stem."""
    return [word.lower()[:5] for word in _WORD.findall(_CAMEL.sub(" ", text))]
