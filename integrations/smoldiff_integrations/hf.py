"""smoldiff inside `model.generate()`: pass `custom_generate=call_generator(schema, tokenizer=tokenizer)`.

A callable needs no `trust_remote_code`. What the generation config says of sampling and lengths is taken from there;
what it asks for beyond that is an error, never ignored. One thing cannot be seen here: generate() keeps `streamer=` to
itself and hands it only the prompt; `smoldiff.stream_call` is the way to stream.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Unpack

import torch
from torch import Tensor
from transformers.generation.logits_process import (
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from transformers.generation.stopping_criteria import EosTokenCriteria, MaxLengthCriteria

from smoldiff.decode.loop import decode
from smoldiff.decode.model import Model
from smoldiff.decode.options import CallOptions
from smoldiff.decode.request import all_or_error, outcome_of, plan, start_from_ids
from smoldiff.decode.result import CallResult
from smoldiff.decode.unverified import write_calls
from smoldiff.errors import RequestError

# Shapes: B rows, L prompt tokens, N tokens of prompt and answer.

Generate = Callable[..., Tensor]

DEFAULT_NEW_TOKENS = 20  # what generate() allows where nobody set a length, in transformers 5

# What a generation config may ask for that a call cannot have, and the value that turns it off.
OFF: Mapping[str, Any] = {
    "num_beams": 1,
    "return_dict_in_generate": False,
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "bad_words_ids": None,
    "sequence_bias": None,
    "min_new_tokens": 0,  # before min_length, which generate() derives from it
    "min_length": 0,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "exponential_decay_length_penalty": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "guidance_scale": 1,
    "penalty_alpha": 0,
    "dola_layers": None,
    "watermarking_config": None,
    "max_time": None,
    "stop_strings": None,
}
OFF_IN_SAMPLING: Mapping[str, Any] = {
    "min_p": 0,
    "typical_p": 1.0,
    "top_h": None,
    "epsilon_cutoff": 0,
    "eta_cutoff": 0,
}


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
    here. Raises what `smoldiff.generate_calls` raises (where one row fails, `.results` holds the others), and
    RequestError for any other option of generate() that changes the answer.
    """

    def generate(
        model: Any,
        input_ids: Tensor,
        logits_processor: Any = None,
        stopping_criteria: Any = None,
        generation_config: Any = None,
        **model_kwargs: Any,  # a parameter named attention_mask would be passed twice
    ) -> Tensor:
        refuse_inputs(model_kwargs)
        from_config: CallOptions = {}
        if generation_config is not None:
            refuse_options(generation_config)
            refuse_processors(logits_processor or (), generation_config)
            refuse_criteria(stopping_criteria or (), generation_config)
            from_config = config_options(generation_config, model, input_ids.shape[1])
        settings: CallOptions = {**from_config, **options}
        wrapped = Model.of(model, tokenizer)
        what = plan(wrapped, schema, settings)
        prompts = unpadded(input_ids, model_kwargs.get("attention_mask"))
        starts = [
            partial(start_from_ids, wrapped, what, ids, row) for row, ids in enumerate(prompts)
        ]
        if what.mode == "diffusion":
            results = all_or_error(write_calls(wrapped, what, starts))
        else:
            answers = [start() for start in starts]
            for _ in decode(wrapped.base, answers):
                pass
            results = all_or_error([outcome_of(answer) for answer in answers])
        if on_results is not None:
            on_results(results)
        return joined(
            input_ids, [r.token_ids for r in results], wrapped.eos_ids[0], tokenizer.pad_token_id
        )

    return generate


def refuse_inputs(model_kwargs: Mapping[str, Any]) -> None:
    """Raises RequestError for inputs that are not a prompt of tokens."""
    if model_kwargs.get("streamer") is not None:
        raise RequestError("streamer: a callable cannot serve it; use smoldiff.stream_call")
    if model_kwargs.get("inputs_embeds") is not None:
        raise RequestError("inputs_embeds: the grammar needs the prompt's tokens; pass input_ids")


def refuse_options(config: Any) -> None:
    """Raises RequestError for an option that a call cannot have."""
    known = {**OFF, **OFF_IN_SAMPLING} if config.do_sample else OFF
    for name, off in known.items():
        value = getattr(config, name, None)
        if value is not None and value != off:
            instead = "leave it out" if off is None else f"pass {name}={off!r} to generate()"
            raise RequestError(
                f"{name}={value!r}: calls are decoded greedily or by temperature, top_k and top_p, and returned as "
                f"token ids (on_results= receives the rest); {instead}"
            )


def refuse_processors(processors: Sequence[Any], config: Any) -> None:
    """Raises RequestError for a logits processor other than those that the config's sampling settings stand for."""
    for processor in processors:
        match processor:
            case TemperatureLogitsWarper(temperature=value):
                is_ours = config.do_sample and value == config.temperature
            case TopKLogitsWarper(top_k=value):
                is_ours = config.do_sample and value == config.top_k
            case TopPLogitsWarper(top_p=value):
                is_ours = config.do_sample and value == config.top_p
            case _:
                is_ours = False
        if not is_ours:
            raise RequestError(
                f"logits_processor: {type(processor).__name__} cannot be applied to a call; leave it out, and set "
                "temperature, top_k and top_p by name"
            )


def refuse_criteria(criteria: Sequence[Any], config: Any) -> None:
    """Raises RequestError for a stopping criterion of the caller's own."""
    for criterion in criteria:
        match criterion:
            case MaxLengthCriteria(max_length=value) if value == config.max_length:
                pass
            case EosTokenCriteria():
                pass
            case _:
                raise RequestError(
                    f"stopping_criteria: {type(criterion).__name__} cannot stop a call; leave it out, and set "
                    "max_new_tokens"
                )


def config_options(config: Any, model: Any, num_prompt_tokens: int) -> CallOptions:
    """What a transformers generation config says in our terms."""
    options: CallOptions = {}
    if config.do_sample:
        options["temperature"] = config.temperature if config.temperature is not None else 1.0
        options["top_k"] = config.top_k or 0
        options["top_p"] = config.top_p if config.top_p is not None else 1.0
        options["seed"] = int(
            torch.randint(1 << 31, ())
        )  # so that torch.manual_seed makes a run repeatable
    if config.max_length is not None and not has_default_length(config, model, num_prompt_tokens):
        options["max_tokens"] = max(1, config.max_length - num_prompt_tokens)
    return options


def has_default_length(config: Any, model: Any, num_prompt_tokens: int) -> bool:
    """Whether nobody set a length, so that generate() put its own. A max_length of just that value reads the same."""
    if config.max_new_tokens is not None or model.generation_config.max_length is not None:
        return False
    max_context = getattr(model.config, "max_position_embeddings", None)
    default = num_prompt_tokens + DEFAULT_NEW_TOKENS
    return config.max_length == (default if max_context is None else min(default, max_context))


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
