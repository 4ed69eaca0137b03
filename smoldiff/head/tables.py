"""The parts of a base that a head shares: its token embedding and its LM head, frozen both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from smoldiff.errors import UnsupportedModel

# Shapes: V vocabulary, H hidden size of the base.


@dataclass(frozen=True, eq=False)
class Tables:
    """Weights of the base, never trained and never saved with the head."""

    embedding_VH: Tensor
    lm_head_VH: Tensor

    @classmethod
    def of(cls, model: Any) -> Tables:
        """Those of a transformers causal LM. Raises UnsupportedModel where it has no plain ones."""
        embedding, lm_head = model.get_input_embeddings(), model.get_output_embeddings()
        if embedding is None or lm_head is None or getattr(lm_head, "bias", None) is not None:
            raise UnsupportedModel(
                f"{type(model).__name__}: a head needs a token embedding and an LM head without a bias"
            )
        return cls(embedding.weight.detach(), lm_head.weight.detach())


def decoder_layers(model: Any) -> tuple[nn.ModuleList, nn.Module]:
    """The decoder's layers and its final norm, as SmolLM3, Llama, Qwen2, Qwen3 and their like name them.

    Raises UnsupportedModel for another layout.
    """
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else None
    layers, norm = getattr(decoder, "layers", None), getattr(decoder, "norm", None)
    if not isinstance(layers, nn.ModuleList) or not isinstance(norm, nn.Module):
        raise UnsupportedModel(
            f"{type(model).__name__}: no decoder with `layers` and a final `norm`, so a head cannot read its states"
        )
    return layers, norm
