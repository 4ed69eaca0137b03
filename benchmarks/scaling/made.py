"""A random base with a real head, and random batches of the real form."""

from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from scaling.shapes import Shape
from torch import Tensor
from transformers import AutoModelForCausalLM, SmolLM3Config

from smoldiff.head.inputs import DECISIONS, KINDS, MAX_NAME_TOKENS, NO_TOKEN, SLOTS, Query
from smoldiff.head.model import DiffusionHead
from smoldiff.head.readings import MAX_MATCH
from smoldiff.head.tool_guess import NUM_QUERY_TOKENS, NUM_TOOL_TOKENS
from smoldiff.scaffold.answer import CallStyle
from smoldiff.template.template import MASK
from smoldiff_training.data.targets import Target
from smoldiff_training.head.collate import collate
from smoldiff_training.head.examples import NULL, Example, Guess, Labelled

SPREAD = 0.05
"""By which prompts of one batch differ in length: batches hold similar ones."""
TOP_K = 8
NAME_TOKENS = 3
NUM_TOOLS = 4
SLOT_KIND, KEY_KIND, BRANCH_KIND = (
    KINDS.index(name) for name in ("string", "ask-key", "ask-branch")
)


def random_base(shape: Shape, device: torch.device) -> Any:
    """A frozen base that was never trained, made where it is used; the same in every process."""
    torch.manual_seed(0)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    with device:
        network = AutoModelForCausalLM.from_config(SmolLM3Config(**shape.base), dtype=dtype)
    return network.eval().requires_grad_(False)


def new_head(shape: Shape, network: Any, sizes: dict[str, int]) -> DiffusionHead:
    """A new head for it, in float32. `sizes` go before those of the shape."""
    torch.manual_seed(0)
    base = SimpleNamespace(
        base=SimpleNamespace(model=network),
        name="random",
        vocabulary=SimpleNamespace(content_hash="none"),
        call_style=CallStyle(),
    )
    return DiffusionHead.for_base(base, **{**shape.head, **sizes}).float()


def batch(shape: Shape, num_examples: int, rng: Random) -> dict[str, Tensor]:
    """Random examples, as training collates them."""
    made = [example(shape, rng) for _ in range(num_examples)]
    return collate([one for one, _ in made], [target for _, target in made])


def example(shape: Shape, rng: Random) -> tuple[Example, Target]:
    vocab_size = shape.base["vocab_size"]
    num_prompt = round(shape.prompt_tokens * rng.uniform(1 - SPREAD, 1 + SPREAD))
    ids = tuple(rng.randrange(vocab_size) for _ in range(num_prompt + shape.fed_tokens))
    keys, branches = shape.num_keys, shape.num_branches
    made = Example(
        ids=ids,
        num_prompt=num_prompt,
        labelled=[*slots(shape, num_prompt, rng), *questions(shape, num_prompt, rng)],
        implicit=[bool(i % 2) for i in range(keys)] + [False] * branches,
        has_implicit=[True] * keys + [False] * branches,
        guess=Guess(
            random_ids(vocab_size, (NUM_QUERY_TOKENS,), rng),
            random_ids(vocab_size, (NUM_TOOLS, NUM_TOOL_TOKENS), rng),
            rng.randrange(NUM_TOOLS),
        ),
    )
    return made, target(ids[:num_prompt], ids[num_prompt:], vocab_size, rng)


def slots(shape: Shape, num_prompt: int, rng: Random) -> list[Labelled]:
    """Masked positions, about half of them behind the end of the slot's text."""
    vocab_size, found = shape.base["vocab_size"], []
    for slot in range(shape.num_slots):
        at = slot * shape.fed_tokens // shape.num_slots
        query = random_query(SLOTS, SLOT_KIND, num_prompt + at, vocab_size, rng)
        text = [rng.randrange(vocab_size) for _ in range(rng.randint(1, shape.slot_positions - 1))]
        for place in range(shape.slot_positions):
            before = text[max(0, place - MAX_MATCH) : place][::-1] if place <= len(text) else []
            is_text = place < len(text)
            found.append(
                Labelled(
                    query(offset=place, place=place),
                    text[place] if is_text else NULL,
                    (*before, *(NO_TOKEN,) * (MAX_MATCH - len(before))),
                    slot,
                    teacher=min(at + place, shape.fed_tokens - 1) if is_text else -1,
                )
            )
    return found


def questions(shape: Shape, num_prompt: int, rng: Random) -> list[Labelled]:
    """Keys, of which every other one is not written, and branches with two options."""
    vocab_size, found = shape.base["vocab_size"], []
    for group in range(shape.num_keys + shape.num_branches):
        is_key = group < shape.num_keys
        at = num_prompt + rng.randrange(shape.fed_tokens)
        query = random_query(DECISIONS, KEY_KIND if is_key else BRANCH_KIND, at, vocab_size, rng)
        right = 1 - group % 2 if is_key else rng.randrange(2)
        found += [
            Labelled(query(index=index), group=group, is_right_option=index == right)
            for index in ([1] if is_key else [0, 1])
        ]
    return found


def random_query(block: int, kind: int, anchor: int, vocab_size: int, rng: Random) -> Any:
    """Makes queries of one slot or question."""
    names = [rng.randrange(vocab_size) for _ in range(min(NAME_TOKENS, MAX_NAME_TOKENS))]

    def query(offset: int = 0, place: int = 0, index: int = 0) -> Query:
        return Query(block, kind, anchor, offset, place, index, True, MASK, tuple(names))

    return query


def target(
    prompt_ids: tuple[int, ...], answer_ids: tuple[int, ...], vocab_size: int, rng: Random
) -> Target:
    """A base's answer with even thoughts of TOP_K tokens."""
    shape = (len(answer_ids), TOP_K)
    return Target(
        prompt_ids=np.array(prompt_ids, np.int32),
        tools=[],
        answer_ids=np.array(answer_ids, np.int32),
        answer_text="",
        topk_ids=random_ids(vocab_size, shape, rng).astype(np.int32),
        topk_logp=np.full(shape, -np.log(2.0 * TOP_K), np.float16),
        is_gold=True,
        source="random",
    )


def random_ids(vocab_size: int, shape: tuple[int, ...], rng: Random) -> Any:
    return np.random.default_rng(rng.getrandbits(64)).integers(0, vocab_size, shape)
