"""A model ready to write calls: base, tokenizer, grammar engine and call style together."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from smoldiff.decode.base import Base, HFBase
from smoldiff.decode.chat import detect_style
from smoldiff.decode.grammar import GrammarEngine, grammar_engine
from smoldiff.errors import ModelError, ModelNotFound, RequestError
from smoldiff.head.checkpoint import CONFIG_FILE, base_facts
from smoldiff.head.model import DiffusionHead
from smoldiff.head.tables import Tables
from smoldiff.scaffold.answer import CallStyle
from smoldiff.template.vocabulary import Vocabulary

NANO = "smoldiff-nano"
NANO_PATH = Path(__file__).parent.parent / "nano"
NANO_HEAD = NANO_PATH / "head"


@dataclass(frozen=True, eq=False)
class Model:
    """A base with what is built once for it. Made by `load`, or by `Model.of` from a loaded transformers model."""

    base: Base
    tokenizer: Any = field(repr=False)
    name: str = ""
    head: DiffusionHead | None = field(default=None, repr=False)
    """What drafts; None drafts without training. Set by `with_head`."""

    @classmethod
    def of(cls, model: Any, tokenizer: Any = None) -> "Model":
        """`model` itself if it is a Model, else a transformers causal LM with its tokenizer."""
        if isinstance(model, Model):
            return model
        if isinstance(model, str):
            raise RequestError(
                f"model={model!r} is a name; load it first: smoldiff.load({model!r})"
            )
        if tokenizer is None:
            raise RequestError("a transformers model needs its tokenizer: pass tokenizer=")
        return cls(HFBase(model), tokenizer, str(getattr(model, "name_or_path", "")))

    def with_head(self, head: DiffusionHead) -> "Model":
        """This model with a head. Raises HeadMismatch where it was trained for another base."""
        head.config.check(base_facts(self))
        network = self.base.model  # type: ignore[attr-defined]  # a head needs a transformers base
        ready = head.to(network.device, network.dtype).eval()
        return Model(self.base, self.tokenizer, self.name, ready)

    @cached_property
    def tables(self) -> Tables:
        """What a head shares with the base. Raises UnsupportedModel."""
        return Tables.of(self.base.model)  # type: ignore[attr-defined]

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary.of(self.tokenizer)

    @cached_property
    def eos_ids(self) -> tuple[int, ...]:
        """Tokens that end an answer. Raises ModelError where neither model nor tokenizer name one."""
        ids = dict.fromkeys([*self.base.eos_ids, self.tokenizer.eos_token_id])
        known = tuple(int(i) for i in ids if i is not None)
        if not known:
            raise ModelError(
                "neither the generation config nor the tokenizer names an end-of-sequence token"
            )
        return known

    @cached_property
    def grammar_engine(self) -> GrammarEngine:
        return grammar_engine(self.tokenizer, self.eos_ids)

    @cached_property
    def call_style(self) -> CallStyle:
        return detect_style(self.tokenizer, self.vocabulary)


def load(
    name: str = NANO,
    *,
    device: str | None = None,
    dtype: str | torch.dtype = "auto",
    load_in_4bit: bool = False,
    revision: str | None = None,
    trust_remote_code: bool = False,
    head: str | None = None,
) -> Model:
    """Load a causal LM and its tokenizer by name or path.

    name: "smoldiff-nano" (bundled), a Hugging Face repository such as "HuggingFaceTB/SmolLM3-3B", or a folder.
    device: "cpu", "cuda", "mps", ...; chosen automatically if None.
    dtype: "auto" takes the checkpoint's own on an accelerator, and float32 on a CPU, where 16-bit arithmetic is slow.
    load_in_4bit: quantise with bitsandbytes (extra `quantized`).
    head: a diffusion head's folder or repository; "none" for none. By default the bundled model's own, else none.

    Raises ModelNotFound if nothing can be loaded under that name, ModelError for an unusable device or dtype.
    """
    from transformers import AutoModelForCausalLM

    device = _checked(device or default_device())
    options: dict[str, Any] = {
        "dtype": _dtype(dtype, device),
        "revision": revision,
        "trust_remote_code": trust_remote_code,
    }
    if load_in_4bit:
        options |= {"quantization_config": _four_bit(), "device_map": device}
    tokenizer = load_tokenizer(name, revision=revision, trust_remote_code=trust_remote_code)
    with _quiet(), _as_not_found(name):
        model = AutoModelForCausalLM.from_pretrained(model_path(name), **options)
    if not load_in_4bit:
        model = model.to(device)
    loaded = Model(HFBase(model.eval()), tokenizer, name)
    folder = _head_folder(name, head)
    return loaded.with_head(DiffusionHead.from_pretrained(folder)) if folder else loaded


def _head_folder(name: str, head: str | None) -> str | None:
    """Where a model's head lies, None for none."""
    if head is None:
        return str(NANO_HEAD) if name == NANO and (NANO_HEAD / CONFIG_FILE).is_file() else None
    return None if head == "none" else head


def load_tokenizer(name: str = NANO, **options: Any) -> Any:
    """The tokenizer of a model by name or path. Raises ModelNotFound."""
    from transformers import AutoTokenizer

    with _as_not_found(name):
        return AutoTokenizer.from_pretrained(model_path(name), **options)


@contextmanager
def _as_not_found(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as problem:
        raise ModelNotFound(f"could not load {name!r}: {str(problem).splitlines()[0]}") from problem


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bar for reading the bundled or a cached file; downloads keep theirs."""
    from transformers.utils import logging

    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()


def model_path(name: str) -> str:
    """Where the bundled model lies, or the name itself."""
    return str(NANO_PATH) if name == NANO else name


def default_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _checked(device: str) -> str:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as problem:
        raise ModelError(f"device={device!r}: {str(problem).splitlines()[0]}") from problem
    return device


def _dtype(dtype: str | torch.dtype, device: str) -> str | torch.dtype:
    if dtype == "auto":
        return torch.float32 if torch.device(device).type == "cpu" else "auto"
    if isinstance(dtype, str):
        found = getattr(torch, dtype, None)
        if not isinstance(found, torch.dtype):
            raise ModelError(
                f"dtype={dtype!r}: expected 'auto' or a torch dtype such as 'bfloat16'"
            )
        return found
    return dtype


def _four_bit() -> Any:
    from importlib.util import find_spec

    from transformers import BitsAndBytesConfig

    if find_spec("bitsandbytes") is None:
        raise ModelError("load_in_4bit needs bitsandbytes: pip install 'smoldiff[quantized]'")
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
    )
