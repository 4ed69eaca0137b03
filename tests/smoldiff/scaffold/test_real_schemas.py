"""Real schemas and tools compile, or fail with a SchemaError; the cursor follows the grammar engine through them."""

import gzip
import json
import random
import time
from pathlib import Path

import pytest

from smoldiff.errors import SchemaError
from smoldiff.scaffold.compile import compile_schema
from smoldiff.scaffold.explain import explain

DATA = Path(__file__).parents[4] / "shared" / "data"
MAX_COMPILE_S = (
    2  # generous: machines are shared, and the first metaschema check imports jsonschema
)


def rows(name, every):
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not here: real schemas were not tried")
    with gzip.open(path, "rt") as lines:
        return [json.loads(line) for idx, line in enumerate(lines) if idx % every == 0]


def schemas():
    found = [row["schema"] for row in rows("jsonschemabench.jsonl.gz", 40)]
    return found + [
        {"name": row["name"], "parameters": row["parameters"]}
        for row in rows("mcp_tools.jsonl.gz", 40)
    ]


def test_real_schemas_compile_quickly_or_say_why_not():
    num_errors = 0
    for schema in schemas():
        started = time.perf_counter()
        try:
            scaffold = compile_schema(schema)
        except SchemaError:
            num_errors += 1
            continue
        assert time.perf_counter() - started < MAX_COMPILE_S
        scaffold.resume()
        explain(scaffold)
    assert num_errors <= 2


def test_calls_of_the_training_data_are_texts_of_their_tools():
    for row in rows("train.jsonl.gz", 500):
        scaffold = compile_schema(row["tools"], max_calls=8)
        for call in row["calls"]:
            tool = next(tool for tool in row["tools"] if tool["name"] == call["name"])
            names = [name for name in tool["parameters"]["properties"] if name in call["arguments"]]
            call = {
                "name": call["name"],
                "arguments": {name: call["arguments"][name] for name in names},
            }
            text = f"<tool_call>\n{json.dumps(call, ensure_ascii=False)}\n</tool_call>"
            assert scaffold.resume(text).is_complete


def test_whatever_the_grammar_engine_allows_is_a_prefix():
    llguidance = pytest.importorskip("llguidance")
    engine = llguidance.JsonCompiler(separators=(", ", ": "), whitespace_flexible=False)
    tokenizer, rng = llguidance.LLTokenizer("byte"), random.Random(0)
    for schema in [
        row["schema"] for row in rows("jsonschemabench.jsonl.gz", 60) if len(str(row)) < 20_000
    ]:
        try:
            scaffold, grammar = compile_schema(schema), engine.compile(json.dumps(schema))
        except (SchemaError, ValueError):
            continue
        matcher = llguidance.LLMatcher(tokenizer, grammar, log_level=0)
        text = random_text(matcher, rng)
        for cut in range(0, len(text), 3):
            scaffold.resume(text[:cut])
        scaffold.resume(text)


def random_text(matcher, rng):
    text = ""
    while len(text) < 150 and not matcher.get_error() and not matcher.is_stopped():
        mask = matcher.compute_logit_bias()
        allowed = [char for char in range(128) if mask[char]]
        # Quotes and separators, or half of all texts would end inside one long string.
        likely = [char for char in allowed if chr(char) in '"}],: '] if rng.random() < 0.5 else []
        if not allowed:
            break
        char = rng.choice(likely or allowed)
        if not matcher.consume_token(char):
            break
        text += chr(char)
    return text
