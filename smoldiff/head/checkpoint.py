"""A head on disk: safetensors beside a JSON configuration that names the base it fits. Never a pickle."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from smoldiff.errors import ModelError, ModelNotFound
from smoldiff.head.config import BaseFacts, HeadConfig, default_taps
from smoldiff.head.tables import Tables, decoder_layers

if TYPE_CHECKING:
    from smoldiff.head.model import DiffusionHead

CONFIG_FILE = "head.json"
WEIGHTS_FILE = "head.safetensors"
NUM_TAPS = 5
MLP_FACTOR = 2.5


class BaseModel(Protocol):
    """What a head asks of a `smoldiff.Model`."""

    @property
    def base(self) -> Any: ...

    @property
    def name(self) -> str: ...

    @property
    def vocabulary(self) -> Any: ...

    @property
    def call_style(self) -> Any: ...


def base_facts(model: BaseModel) -> BaseFacts:
    """What a head keeps of its base. Raises UnsupportedModel."""
    network = model.base.model
    layers, _ = decoder_layers(network)
    tables = Tables.of(network)
    config = network.config.get_text_config()
    return BaseFacts(
        name=Path(model.name).name if os.path.isdir(model.name) else model.name,
        revision=str(getattr(network.config, "_commit_hash", None) or ""),
        architecture=type(network).__name__,
        hidden_size=int(config.hidden_size),
        vocab_size=len(tables.lm_head_VH),
        num_layers=len(layers),
        tokenizer_hash=model.vocabulary.content_hash,
        template_style=repr(model.call_style),
    )


def new_config(model: BaseModel, *, num_taps: int = NUM_TAPS, **sizes: Any) -> HeadConfig:
    """The configuration of a head for a base; what is not given, or 0, follows from the base."""
    facts = base_facts(model)
    config = model.base.model.config.get_text_config()
    given = {name: value for name, value in sizes.items() if value != 0 or value is False}
    size = int(given.pop("hidden_size", facts.hidden_size))
    num_heads = int(given.pop("num_heads", config.num_attention_heads))
    num_kv_heads = int(given.pop("num_kv_heads", getattr(config, "num_key_value_heads", num_heads)))
    head_dim = int(given.pop("head_dim", getattr(config, "head_dim", None) or size // num_heads))
    mlp = max(64, round(MLP_FACTOR * size / 64) * 64)
    return HeadConfig(
        base=facts,
        taps=default_taps(facts.num_layers, num_taps),
        hidden_size=size,
        num_layers=int(given.pop("num_layers", 3)),
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        intermediate_size=int(given.pop("intermediate_size", mlp)),
        **given,
    )


def save_head(head: DiffusionHead, folder: Path, dtype: torch.dtype) -> None:
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name: value.detach().to("cpu", dtype).contiguous()
        for name, value in head.state_dict().items()
    }
    _replace(folder / WEIGHTS_FILE, lambda path: save_file(state, path, metadata={"format": "pt"}))
    text = json.dumps(head.config.to_json(), indent=2, ensure_ascii=False) + "\n"
    _replace(folder / CONFIG_FILE, lambda path: Path(path).write_text(text, encoding="utf-8"))


def _replace(path: Path, write: Any) -> None:
    """Write a file whole or not at all."""
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    os.close(handle)
    try:
        write(part)
        os.chmod(part, 0o644)
        os.replace(part, path)
    finally:
        Path(part).unlink(missing_ok=True)


def load_head(cls: type[DiffusionHead], name: str, revision: str | None) -> DiffusionHead:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = _folder(name, revision)
    try:
        raw = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise ModelNotFound(f"no head in {name!r}: {CONFIG_FILE}: {problem}") from None
    head = cls(HeadConfig.from_json(raw))
    try:
        state = load_file(folder / WEIGHTS_FILE)
    except (OSError, SafetensorError) as problem:
        raise ModelError(f"the head in {name!r}: {WEIGHTS_FILE}: {problem}") from problem
    try:
        head.load_state_dict(state)
    except RuntimeError as problem:
        misfit = str(problem).splitlines()[1].strip()  # the first line says only that it failed
        raise ModelError(
            f"the head in {name!r}: {WEIGHTS_FILE} does not fit {CONFIG_FILE}: {misfit}"
        ) from problem
    return head.eval()


def _folder(name: str, revision: str | None) -> Path:
    if os.path.isdir(name):
        return Path(name)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(
            snapshot_download(name, revision=revision, allow_patterns=[CONFIG_FILE, WEIGHTS_FILE])
        )
    except (HfHubHTTPError, HFValidationError, OSError) as problem:
        raise ModelNotFound(f"could not load a head from {name!r}: {problem}") from problem


def upload_head(head: DiffusionHead, repo_id: str, private: bool, token: str | None) -> str:
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    api.create_repo(repo_id, private=private, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        head.save_pretrained(folder)
        commit = api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message="Add a head")
    return str(commit.commit_url)
