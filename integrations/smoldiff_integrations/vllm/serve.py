"""`smoldiff serve`: vLLM's own server with our flags filled in where the caller did not set them.

    smoldiff serve MODEL FLAGS
    vllm serve MODEL --speculative-config CONFIG FORM FLAGS

are the same, CONFIG being what `speculative_config` gives, and FORM what `form_flags` does.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from smoldiff.decode.model import NANO, model_path
from smoldiff.errors import RequestError
from smoldiff_integrations.vllm import PROPOSER
from smoldiff_integrations.vllm.plugin import PARSER

MAX_DRAFT_TOKENS = 64
STRUCTURED_OUTPUTS = {"backend": "xgrammar", "disable_any_whitespace": True}
"""Where whitespace is free a small model may write nothing else, and structure cannot be drafted far."""
SERVER = "smoldiff_integrations.vllm.server"


def speculative_config() -> dict[str, Any]:
    """What turns the plugin on."""
    return {
        "method": "custom_class",
        "model": PROPOSER,
        "num_speculative_tokens": MAX_DRAFT_TOKENS,
    }


def server_arguments(model: str, head: str | None, given: Sequence[str]) -> list[str]:
    """The server's arguments: the model, our flags that are not `given`, and what is given. Raises RequestError."""
    own = ["--model", model_path(model), *form_flags(model, given)]
    if _value_of(given, "--speculative-config", "-sc") is None:
        own += ["--speculative-config", json.dumps(speculative_config())]
    if head is not None:
        if _value_of(given, "--additional-config") is not None:
            raise RequestError(
                "--head and --additional-config: give the head there, "
                """as {"smoldiff": {"head": "..."}}"""
            )
        own += ["--additional-config", json.dumps({"smoldiff": {"head": head}})]
    return [*own, *given]


def form_flags(model: str, given: Sequence[str]) -> list[str]:
    """Flags about the form of answers, the same with drafts and without: how calls are read, no free whitespace."""
    own: list[str] = []
    if _value_of(given, "--tool-call-parser") is None:
        own += ["--enable-auto-tool-choice", "--tool-call-parser", PARSER]
    if not any(one.startswith("--structured-outputs-config") for one in given):
        own += ["--structured-outputs-config", json.dumps(STRUCTURED_OUTPUTS)]
    if model == NANO and _value_of(given, "--served-model-name") is None:
        own += ["--served-model-name", NANO]
    return own


def _value_of(given: Sequence[str], *names: str) -> str | None:
    """The value of the flag in either way of writing it, None where it is not there."""
    for i, one in enumerate(given):
        name, has_value, value = one.partition("=")
        if name in names:
            return value if has_value else (list(given[i + 1 : i + 2]) or [""])[0]
    return None


def serve(model: str, head: str | None, given: Sequence[str]) -> None:
    """Become the server: this process ends as it does. Raises RequestError."""
    os.execv(sys.executable, [sys.executable, "-m", SERVER, *server_arguments(model, head, given)])
