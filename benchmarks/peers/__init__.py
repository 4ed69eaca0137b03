"""Other ways to get a valid call from the same weights, set up as their own documentation shows."""

from importlib import import_module
from typing import Any

HOMES = {
    "xgrammar": ("peers.with_xgrammar", "XGrammarPeer"),
    "llguidance": ("peers.with_llguidance", "LLGuidancePeer"),
}


def load_peer(name: str, model: Any, max_tokens: int) -> Any:
    """A peer by name. Raises ModuleNotFoundError (`.name` is the package) where it is not installed."""
    module, peer = HOMES[name]
    return getattr(import_module(module), peer)(model, max_tokens)
