"""Real schemas with something changed in them: a word taken out, put in, doubled, negated, or given another value."""

import copy
import gzip
import json
import random
from functools import lru_cache
from pathlib import Path
from typing import Any

from strategies import FORMATS, NAMES, NUMBERS, PATTERNS, STEPS, TYPES

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "jsonschemabench.jsonl.gz"
MAX_CHARACTERS = 6_000
MAX_CHANGES = 3

_COUNTS = (0, 1, 2, 3, 50)
WORDS: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(
        ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"),
        _COUNTS,
    ),
    **dict.fromkeys(("minContains", "maxContains"), _COUNTS),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), NUMBERS),
    **dict.fromkeys(
        ("additionalProperties", "unevaluatedProperties", "unevaluatedItems", "items"),
        (True, False),
    ),
    **dict.fromkeys(("uniqueItems", "nullable"), (True, False)),
    "multipleOf": STEPS,
    "pattern": PATTERNS,
    "format": FORMATS,
    "type": (*TYPES, ["string", "null"], ["object", "array"]),
    "const": (None, 1, "a", [], {}),
    "enum": ([], [1, "a"], ["a", "b", None], [{}]),
    "required": ([], ["a"], list(NAMES)),
}
WRAPS = (
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "contains",
    "propertyNames",
    "items",
)


@lru_cache(maxsize=1)
def real_schemas() -> tuple[Any, ...]:
    """Public schemas of moderate size; none where the file is absent."""
    if not DATA.exists():
        return ()
    with gzip.open(DATA, "rt", encoding="utf-8") as lines:
        return tuple(json.loads(line)["schema"] for line in lines if len(line) < MAX_CHARACTERS)


def mutated(rng: random.Random) -> Any:
    """A real schema with a few changes."""
    schema = copy.deepcopy(rng.choice(real_schemas()))
    for _ in range(rng.randint(0, MAX_CHANGES)):
        _change(rng, rng.choice(_objects(schema)))
    return schema


def _objects(schema: Any) -> list[dict[str, Any]]:
    places = [schema]
    for place in places:
        parts = place.values() if isinstance(place, dict) else place
        places += [part for part in parts if isinstance(part, dict | list)]
    return [place for place in places if isinstance(place, dict)] or [{}]


def _change(rng: random.Random, place: dict[str, Any]) -> None:
    match rng.randrange(5):
        case 0 if place:
            del place[rng.choice(list(place))]
        case 1:
            word = rng.choice(WRAPS)
            part = copy.deepcopy(rng.choice(_objects(rng.choice(real_schemas()))))
            place[word] = [part, {}] if word.endswith("Of") else part
        case 2:
            inside = copy.deepcopy(place)
            place.clear()
            place[rng.choice(("allOf", "anyOf", "oneOf"))] = [inside, {"type": rng.choice(TYPES)}]
        case 3 if len(place) > 1:
            one, other = rng.sample(list(place), 2)
            place[one], place[other] = place[other], place[one]
        case _:
            word = rng.choice(list(WORDS))
            place[word] = rng.choice(WORDS[word])
