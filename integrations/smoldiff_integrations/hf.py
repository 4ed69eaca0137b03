"""smoldiff inside `model.generate()`: pass `custom_generate=call_generator(schema, tokenizer=tokenizer)`.

A callable needs no `trust_remote_code`. What the generation config says of sampling and lengths is taken from there.
"""

from collections.abc import Callable, Sequence
from typing import Any, Unpack

import torch
from torch import Tensor

from smoldiff.decode.loop import decode
from smoldiff.decode.model import Model
from smoldiff.decode.request import CallOptions, finish, plan, start_from_ids
from smoldiff.decode.result import CallResult
from smoldiff.errors import RequestError

# Shapes: B rows, L prompt tokens, N tokens of prompt and answer.

Generate = Callable[..., Tensor]


def call_generator(
    schema: Any,
    *,
    tokenizer: Any,
    on_results: Callable[[Sequence[CallResult]], None] | None = None,
    **options: Unpack[CallOptions],
) -> Generate:
    """A callable for `model.generate(**inputs, custom_generate=...)` whose answers are valid calls under `schema`.

    `inputs` is the rendered chat prompt, padded on the left in a batch. generate() returns prompt and answer, [B, N]
    int64, padded on the right, an end-of-sequence token behind each answer. `on_results` receives the parsed answers.
    temperature, top_k, top_p (where do_sample is set) and max_new_tokens come from the generation config unless given
    here. Raises what `smoldiff.generate_call` raises.
    """

    def generate(
        model: Any,
        input_ids: Tensor,
        logits_processor: Any = None,
        stopping_criteria: Any = None,
        generation_config: Any = None,
        **model_kwargs: Any,  # a parameter named attention_mask would be passed twice
    ) -> Tensor:
        settings: CallOptions = {**config_options(generation_config, input_ids.shape[1]), **options}
        wrapped = Model.of(model, tokenizer)
        what = plan(wrapped, schema, settings)
        prompts = unpadded(input_ids, model_kwargs.get("attention_mask"))
        answers = [start_from_ids(wrapped, what, ids, row) for row, ids in enumerate(prompts)]
        for _ in decode(wrapped.base, answers):
            pass
        results = [finish(what, answer) for answer in answers]
        if on_results is not None:
            on_results(results)
        return joined(
            input_ids, [r.token_ids for r in results], wrapped.eos_ids[0], tokenizer.pad_token_id
        )

    return generate


def config_options(config: Any, num_prompt_tokens: int) -> CallOptions:
    """What a transformers generation config says in our terms. Raises RequestError for beams."""
    if config is None:
        return {}
    if (config.num_beams or 1) > 1:
        raise RequestError(
            f"num_beams={config.num_beams}: calls are decoded greedily or by sampling; use num_beams=1"
        )
    options: CallOptions = {}
    if config.do_sample:
        options["temperature"] = config.temperature if config.temperature is not None else 1.0
        options["top_k"] = config.top_k or 0
        options["top_p"] = config.top_p if config.top_p is not None else 1.0
        options["seed"] = int(
            torch.randint(1 << 31, ())
        )  # so that torch.manual_seed makes a run repeatable
    if config.max_length is not None:
        options["max_tokens"] = max(1, config.max_length - num_prompt_tokens)
    return options


def unpadded(input_ids: Tensor, attention_mask: Tensor | None) -> list[list[int]]:
    """The tokens of each row without its padding."""
    if attention_mask is None:
        return [list(map(int, row)) for row in input_ids.tolist()]
    rows = zip(input_ids.tolist(), attention_mask.tolist(), strict=True)
    return [[t for t, is_token in zip(ids, mask, strict=True) if is_token] for ids, mask in rows]


def joined(
    input_ids: Tensor, answers: Sequence[Sequence[int]], eos_id: int, pad_id: int | None
) -> Tensor:
    """Prompt and answer of each row, [B, N]."""
    width = max(map(len, answers)) + 1
    fill = eos_id if pad_id is None else pad_id
    tails = [[*ids, eos_id] + [fill] * (width - len(ids) - 1) for ids in answers]
    return torch.cat([input_ids, torch.tensor(tails, device=input_ids.device)], dim=1)
