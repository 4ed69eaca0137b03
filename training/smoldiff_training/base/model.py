"""The base model's shape, and packed attention for it registered under a name of our own.

Shapes: T positions of all documents end to end, D documents, H query heads, G key/value heads, E head width.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from smoldiff_training.base.config import ModelConfig

PACKED = "smoldiff_packed"


def smollm3_config(cfg: ModelConfig, tokenizer: Any) -> Any:
    """A SmolLM3Config of this shape over the tokenizer's vocabulary."""
    from transformers import SmolLM3Config

    return SmolLM3Config(
        vocab_size=len(tokenizer),
        hidden_size=cfg.hidden_size,
        num_hidden_layers=cfg.num_layers,
        num_attention_heads=cfg.num_heads,
        num_key_value_heads=cfg.num_kv_heads,
        head_dim=cfg.head_dim,
        intermediate_size=cfg.intermediate_size,
        max_position_embeddings=cfg.max_positions,
        rope_parameters={"rope_type": "default", "rope_theta": cfg.rope_theta},
        no_rope_layer_interval=cfg.no_rope_layer_interval,
        tie_word_embeddings=True,
        attention_bias=False,
        mlp_bias=False,
        bos_token_id=None,
        eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
        pad_token_id=tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        use_cache=True,
    )


def new_model(cfg: ModelConfig, tokenizer: Any, seed: int) -> Any:
    """A freshly drawn SmolLM3ForCausalLM in float32; deep layers write to the residual more softly."""
    from transformers import SmolLM3ForCausalLM

    torch.manual_seed(seed)
    model = SmolLM3ForCausalLM(smollm3_config(cfg, tokenizer))
    num_parameters = sum(p.numel() for p in model.parameters())
    if num_parameters > cfg.max_parameters:
        raise ValueError(
            f"model: {num_parameters:,} parameters, at most {cfg.max_parameters:,} fit; "
            "lower intermediate_size or num_layers"
        )
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                p.mul_((2 * cfg.num_layers) ** -0.5)
    return model


def varlen_options() -> dict[str, Any]:
    """Arguments that ask this torch's varlen_attn for a causal mask; its signature differs by release."""
    from torch.nn.attention.varlen import varlen_attn

    known = inspect.signature(varlen_attn).parameters
    options: dict[str, Any] = {"window_size": (-1, 0)}
    if "window_size" not in known:
        options = {"is_causal": True}
    if "enable_gqa" in known:
        options["enable_gqa"] = True
    return options


def document_attention(q: Tensor, k: Tensor, v: Tensor, cu_seqlens: Tensor, scale: float) -> Tensor:
    """Document by document, for a CPU: q [1, H, T, E], k and v [1, G, T, E] -> [1, T, H, E]."""
    ends = cu_seqlens.tolist()
    parts = [
        nn.functional.scaled_dot_product_attention(
            q[:, :, a:b], k[:, :, a:b], v[:, :, a:b], is_causal=True, scale=scale, enable_gqa=True
        )
        for a, b in itertools.pairwise(ends)
        if b > a
    ]
    return torch.cat(parts, 2).transpose(1, 2)


def register_packed_attention() -> None:
    """Make `PACKED` a known attention implementation. Safe to repeat."""
    from transformers import AttentionInterface

    # Read here and not in the function: a compiler that traces it cannot look at signatures.
    options = varlen_options() if torch.cuda.is_available() else {}

    def packed_attention(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        scaling: float = 1.0,
        cu_seqlens: Tensor | None = None,
        max_seqlen: int = 0,
        **_: Any,
    ) -> tuple[Tensor, None]:
        """Causal attention inside each document of one packed row.

        query [1, H, T, E]; key and value [1, G, T, E]; cu_seqlens int32 [D + 1], where repeated ends
        are empty documents. Returns [1, T, H, E].
        """
        assert cu_seqlens is not None
        if not query.is_cuda:
            return document_attention(query, key, value, cu_seqlens, scaling), None
        from torch.nn.attention.varlen import varlen_attn

        q, k, v = (x[0].transpose(0, 1).to(torch.bfloat16) for x in (query, key, value))
        if "enable_gqa" not in options:
            k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))
        q, k, v = (x.contiguous() for x in (q, k, v))
        # the kernel scales by 1/sqrt(E), which is SmolLM3's scaling
        out = varlen_attn(q, k, v, cu_seqlens, cu_seqlens, max_seqlen, max_seqlen, **options)
        return out.unsqueeze(0), None

    AttentionInterface.register(PACKED, packed_attention)


def packed_hidden(
    model: Any, ids_1T: Tensor, positions_1T: Tensor, cu_seqlens: Tensor, max_seqlen: int
) -> Tensor:
    """Last hidden states [1, T, hidden] of documents packed end to end; `model` uses PACKED."""
    body = model.model
    hidden = body.embed_tokens(ids_1T)
    rotary = body.rotary_emb(hidden, positions_1T)  # in float32
    if hidden.is_cuda:
        hidden = hidden.to(torch.bfloat16)  # the residual stream, as it is when the model is used
    for layer in body.layers:
        hidden = layer(
            hidden, position_embeddings=rotary, cu_seqlens=cu_seqlens, max_seqlen=max_seqlen
        )
    return body.norm(hidden)


@contextlib.contextmanager
def eager_layers(model: Any) -> Iterator[None]:
    """The model without its compiled layers: other shapes would compile anew, and a copy cannot be made."""
    layers = list(model.model.layers)
    compiled = [layer._compiled_call_impl for layer in layers]
    try:
        for layer in layers:
            layer._compiled_call_impl = None
        yield
    finally:
        for layer, call in zip(layers, compiled, strict=True):
            layer._compiled_call_impl = call
