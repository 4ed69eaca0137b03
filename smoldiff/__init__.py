"""Tool calls from language models: always valid, several times faster, exactly what the model would have said."""

from typing import TYPE_CHECKING, Any

from smoldiff.errors import (
    GenerationError,
    IncompleteCall,
    InvalidCall,
    ModelError,
    RequestError,
    SchemaError,
    SmoldiffError,
    TemplateError,
)

if TYPE_CHECKING:
    from smoldiff.api import generate_call, generate_calls, repair, stream_call
    from smoldiff.decode.model import Model, load
    from smoldiff.decode.result import CallResult, Stats, ToolCall
    from smoldiff.decode.scores import RandomScores, Scorer
    from smoldiff.decode.stream import FinalField
    from smoldiff.head.model import DiffusionHead
    from smoldiff.scaffold.compile import compile_schema
    from smoldiff.scaffold.scaffold import Scaffold
    from smoldiff.schema.limits import Limits
    from smoldiff.template.template import Template

__version__ = "0.1.0"

__all__ = [
    "CallResult",
    "DiffusionHead",
    "FinalField",
    "GenerationError",
    "IncompleteCall",
    "InvalidCall",
    "Limits",
    "Model",
    "ModelError",
    "RandomScores",
    "RequestError",
    "Scaffold",
    "SchemaError",
    "Scorer",
    "SmoldiffError",
    "Stats",
    "Template",
    "TemplateError",
    "ToolCall",
    "compile_schema",
    "generate_call",
    "generate_calls",
    "load",
    "repair",
    "stream_call",
]

# Where each lazy name lives: torch and transformers are imported when one of these is first used.
_HOMES = {
    "CallResult": "smoldiff.decode.result",
    "DiffusionHead": "smoldiff.head.model",
    "FinalField": "smoldiff.decode.stream",
    "Limits": "smoldiff.schema.limits",
    "Model": "smoldiff.decode.model",
    "RandomScores": "smoldiff.decode.scores",
    "Scaffold": "smoldiff.scaffold.scaffold",
    "Scorer": "smoldiff.decode.scores",
    "Stats": "smoldiff.decode.result",
    "Template": "smoldiff.template.template",
    "ToolCall": "smoldiff.decode.result",
    "compile_schema": "smoldiff.scaffold.compile",
    "generate_call": "smoldiff.api",
    "generate_calls": "smoldiff.api",
    "load": "smoldiff.decode.model",
    "repair": "smoldiff.api",
    "stream_call": "smoldiff.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'smoldiff' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_HOMES))
