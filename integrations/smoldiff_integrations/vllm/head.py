"""A diffusion head beside a served model: which one, whether it fits, and what it shares with the model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from smoldiff.decode.chat import detect_style
from smoldiff.errors import UnsupportedModel
from smoldiff.head.checkpoint import CONFIG_FILE
from smoldiff.head.config import BaseFacts
from smoldiff.head.model import DiffusionHead
from smoldiff.head.tables import Tables
from smoldiff.template.vocabulary import Vocabulary

# Shapes: V vocabulary, H hidden size.


def head_folder(model: str, named: str | None) -> str | None:
    """Where the head lies: as it was named, else the folder `head` in the model's own; None for none."""
    if named is not None:
        return None if named == "none" else named
    own = Path(model) / "head"
    return str(own) if (own / CONFIG_FILE).is_file() else None


def load_head(
    folder: str, model_config: Any, tokenizer: Any, vocabulary: Vocabulary
) -> DiffusionHead:
    """The head, checked against the served model. Raises ModelNotFound, ModelError, HeadMismatch."""
    head = DiffusionHead.from_pretrained(folder)
    config = model_config.hf_text_config
    head.config.check(
        BaseFacts(
            name=str(model_config.model),
            revision="",
            architecture=str((model_config.hf_config.architectures or [""])[0]),
            hidden_size=int(config.hidden_size),
            vocab_size=int(config.vocab_size),
            num_layers=int(config.num_hidden_layers),
            tokenizer_hash=vocabulary.content_hash,
            template_style=repr(detect_style(tokenizer, vocabulary)),
        )
    )
    return head


@dataclass(frozen=True, eq=False)
class ReadyHead:
    """A head on the model's device, with the tables that they share."""

    head: DiffusionHead
    tables: Tables


def ready_head(head: DiffusionHead, target: Any) -> ReadyHead:
    """The head beside the loaded model. Raises UnsupportedModel where the model keeps no plain tables."""
    tables = served_tables(target, head.config.base.vocab_size)
    table_VH = tables.embedding_VH
    return ReadyHead(head.to(table_VH.device, table_VH.dtype).eval(), tables)


def served_tables(target: Any, vocab_size: int) -> Tables:
    """Token embedding and LM head of a model that vLLM has loaded, whole on every rank. Raises UnsupportedModel."""
    from vllm.model_executor.layers.vocab_parallel_embedding import (
        ParallelLMHead,
        VocabParallelEmbedding,
    )

    modules = list(target.modules())
    heads = [one for one in modules if isinstance(one, ParallelLMHead)]
    embeddings = [
        one
        for one in modules
        if isinstance(one, VocabParallelEmbedding) and not isinstance(one, ParallelLMHead)
    ]
    if len(embeddings) != 1 or len(heads) > 1:
        raise UnsupportedModel(
            f"{type(target).__name__}: a head needs one token embedding and one LM head"
        )
    embedding = _whole(embeddings[0], vocab_size)
    lm_head = _whole(heads[0], vocab_size) if heads else embedding
    return Tables(embedding, lm_head)


def record_taps_alone(target: Any) -> None:
    """Let vLLM ask a model for the states of the tapped layers, and for nothing else.

    The code of transformers, which vLLM runs for some models, hooks itself into each layer for all that a model could be asked for,
    as soon as it is asked for something. Outside of compiled code a module with a hook is called in a slower way.
    """
    record = getattr(getattr(target, "model", None), "_can_record_outputs", None)
    if not isinstance(record, dict):  # vLLM's own code
        return
    set_layers = target.set_aux_hidden_state_layers

    def set_aux_hidden_state_layers(layers: tuple[int, ...]) -> None:
        others = dict(record)
        record.clear()
        try:
            set_layers(layers)
        finally:
            record.update(others)

    target.set_aux_hidden_state_layers = set_aux_hidden_state_layers


def _whole(module: Any, vocab_size: int) -> Tensor:
    """[V, H] of a table that may be shared out over ranks."""
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or not torch.is_floating_point(weight):
        raise UnsupportedModel(f"{type(module).__name__}: a head needs its weights unquantised")
    table = weight.detach()
    if module.tp_size > 1:
        from vllm.distributed import tensor_model_parallel_all_gather

        table = tensor_model_parallel_all_gather(table, dim=0)
    return table[:vocab_size]
