"""The hooks on vLLM's model runner. They are set when a server asks for our proposer, and never otherwise.

Read in vLLM 0.26 and 0.32. A method with another signature is left alone, and the proposer does without what it gives.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Protocol

from torch import Tensor

from smoldiff_integrations.vllm.wrapping import Method, wrap

log = logging.getLogger("vllm.smoldiff")

PROPOSE_PARAMETERS = (
    "self",
    "scheduler_output",
    "sampled_token_ids",
    "sampling_metadata",
    "hidden_states",
    "sample_hidden_states",
    "aux_hidden_states",
    "spec_decode_metadata",
    "common_attn_metadata",
    "slot_mappings",
)
SAMPLE_PARAMETERS = ("self", "logits", "spec_decode_metadata")
METADATA_PARAMETERS = ("self", "num_draft_tokens", "cu_num_scheduled_tokens")


class Drafts(Protocol):
    """What a hook tells the proposer."""

    def bind(self, runner: Any) -> None:
        """The runner, before it loads its model."""

    def start(self, runner: Any, scheduler_output: Any) -> None:
        """A step begins."""

    def nothing_to_verify(self, runner: Any, num_rows: int) -> Any:
        """vLLM's SpecDecodeMetadata of a step without drafts; None where vLLM must make it itself."""

    def look(self, logits_LV: Tensor | None) -> None:
        """The logits of a step, about to be sampled from."""

    def reserve(self, num_bytes: int, specs: Mapping[str, Any]) -> int:
        """How much of the memory for a KV cache of these layers it needs for itself."""

    def begin(self, runner: Any, *step: Any, **named: Any) -> None:
        """A step is over: what `propose_draft_token_ids` was called with, by its names. `propose` comes next."""


def install(runner_class: type, proposer_class: type) -> tuple[str, ...]:
    """Set the hooks on vLLM's GPUModelRunner once; returns the names of the methods that have another signature."""
    missing = []
    if not _wrap_loading(runner_class, proposer_class):
        missing.append("load_model")
    for name, parameters, wrapped in (
        ("execute_model", None, _wrap_execute),
        ("propose_draft_token_ids", PROPOSE_PARAMETERS, _wrap_propose),
        ("_sample", SAMPLE_PARAMETERS, _wrap_sample),
    ):
        if not wrap(runner_class, name, parameters, partial(wrapped, proposer_class)):
            missing.append(name)
    if "_sample" not in missing:
        name = "_calc_spec_decode_metadata"
        wrap(runner_class, name, METADATA_PARAMETERS, partial(_wrap_metadata, proposer_class))
    return tuple(missing)


def share_memory(worker_class: type, proposer_class: type) -> bool:
    """Let the proposer have a part of the memory that is left for the KV cache; False where no worker has such a method.

    A cache whose size is configured stays as it is.
    """
    name = "determine_available_memory"
    wrapping = partial(_wrap_memory, proposer_class)
    wrapped = [wrap(one, name, ("self",), wrapping) for one in _with_own(worker_class, name)]
    return any(wrapped)


def _wrap_memory(proposer_class: type, method: Method) -> Method:
    def determine_available_memory(self: Any) -> int:
        num_bytes = int(method(self))
        drafter = getattr(self.model_runner, "drafter", None)
        is_fixed = bool(self.cache_config.kv_cache_memory_bytes)
        # A worker's own way may ask that of its parent class first.
        is_whole = getattr(type(self).determine_available_memory, "__wrapped__", None) is method
        if isinstance(drafter, proposer_class) and not is_fixed and is_whole:
            num_bytes -= drafter.reserve(num_bytes, self.get_kv_cache_spec())  # type: ignore[attr-defined]
        return num_bytes

    return determine_available_memory


def _wrap_loading(runner_class: type, proposer_class: type) -> bool:
    """Bind the runner when its model is loaded."""
    found = _with_own(runner_class, "load_model")
    for one in found:
        wrap(one, "load_model", None, partial(_binding, proposer_class))
    return bool(found)


def _with_own(owner: type, name: str) -> list[type]:
    """A class and those that inherit from it, of which each has a method of its own of that name."""
    return [one for one in _family(owner) if name in vars(one)]


def _family(owner: type) -> Iterator[type]:
    yield owner
    inheriting: list[type] = owner.__subclasses__()
    for one in inheriting:
        yield from _family(one)


def _binding(proposer_class: type, method: Method) -> Method:
    def load_model(self: Any, *args: Any, **kwargs: Any) -> Any:
        drafter = getattr(self, "drafter", None)
        if isinstance(drafter, proposer_class):
            drafter.bind(self)  # type: ignore[attr-defined]
        return method(self, *args, **kwargs)

    return load_model


def _wrap_execute(proposer_class: type, method: Method) -> Method:
    def execute_model(self: Any, scheduler_output: Any, *args: Any, **kwargs: Any) -> Any:
        drafter = getattr(self, "drafter", None)
        if isinstance(drafter, proposer_class):
            drafter.start(self, scheduler_output)  # type: ignore[attr-defined]
        return method(self, scheduler_output, *args, **kwargs)

    return execute_model


def _wrap_propose(proposer_class: type, method: Method) -> Method:
    def propose_draft_token_ids(self: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(self.drafter, proposer_class):
            self.drafter.begin(self, *args, **kwargs)  # type: ignore[attr-defined]
        return method(self, *args, **kwargs)

    return propose_draft_token_ids


def _wrap_metadata(proposer_class: type, method: Method) -> Method:
    def _calc_spec_decode_metadata(
        self: Any, num_draft_tokens: Any, cu_num_scheduled_tokens: Any
    ) -> Any:
        drafter = getattr(self, "drafter", None)
        own = None
        if isinstance(drafter, proposer_class) and not num_draft_tokens.any():
            own = drafter.nothing_to_verify(self, len(num_draft_tokens))  # type: ignore[attr-defined]
        return method(self, num_draft_tokens, cu_num_scheduled_tokens) if own is None else own

    return _calc_spec_decode_metadata


def _wrap_sample(proposer_class: type, method: Method) -> Method:
    def _sample(self: Any, logits: Any, spec_decode_metadata: Any) -> Any:
        drafter = getattr(self, "drafter", None)
        if isinstance(drafter, proposer_class):
            if getattr(spec_decode_metadata, "max_spec_len", None) == 0:
                # Without a draft vLLM's plain sampler gives what the one that verifies gives, for less work.
                spec_decode_metadata = None
            drafter.look(None if spec_decode_metadata is None else logits)  # type: ignore[attr-defined]
        return method(self, logits, spec_decode_metadata)

    return _sample
