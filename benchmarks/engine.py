"""smoldiff as an engine for the peers' measuring tool: `measure.py random --engine benchmarks.engine:Smoldiff`.

Random scores stand in place of a head, in `mode="diffusion"`: no base, no masks, a whole text at a time. `accepts` is
the last gate, in any order of keys.
"""

import hashlib
import json
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from engines import GeneratorEngine, Schema, Vocab

from smoldiff.decode.diffusion import Judge, write_answer
from smoldiff.decode.grammar import AnswerForm
from smoldiff.decode.judge import judge
from smoldiff.decode.options import DEFAULT_MAX_REMASKS
from smoldiff.decode.scores import RandomScores
from smoldiff.errors import SmoldiffError
from smoldiff.scaffold.compile import compile_schema
from smoldiff.scaffold.scaffold import Scaffold
from smoldiff.template.fits import check_fits
from smoldiff.template.template import unroll
from smoldiff.template.vocabulary import Vocabulary

MAX_TOKENS = 1 << 14


@dataclass(frozen=True, eq=False)
class Compiled:
    """A schema ready to be answered."""

    scaffold: Scaffold
    judge: Judge


class Smoldiff(GeneratorEngine):
    """`compile` is compiling the schema, binding it to the vocabulary, and checking that its slots fit."""

    name = "smoldiff"

    def setup(self, vocab: Vocab) -> None:
        super().setup(vocab)
        added = {"</s>": vocab.eos}
        content_hash = hashlib.sha256(repr(vocab.pieces).encode()).hexdigest()
        self.vocabulary = Vocabulary((*vocab.pieces, b"</s>"), added, content_hash, _Plain(vocab))
        self.compile(
            {"properties": {"a": {"type": "string"}}, "required": ["a"]}
        )  # builds the trie

    def after_fork(self) -> None:
        import torch

        torch.set_num_threads(1)

    def compile(self, schema: Schema) -> Compiled:
        scaffold = compile_schema(schema)
        unroll(scaffold, self.vocabulary)
        check_fits(scaffold, self.vocabulary)
        form = AnswerForm(
            source=scaffold.source,
            call_style=scaffold.call_style,
            json_style=scaffold.json_style,
            max_calls=1,
            may_be_text=False,
        )
        return Compiled(scaffold, judge(form))

    def generate(self, compiled: Compiled, seed: int) -> str:
        return write_answer(
            compiled.scaffold,
            self.vocabulary,
            RandomScores(seed),
            compiled.judge,
            max_tokens=MAX_TOKENS,
            max_remasks=DEFAULT_MAX_REMASKS,
        ).text

    def accepts(self, compiled: Compiled, text: str) -> bool:
        try:
            json.loads(text)
            return not compiled.judge(text)
        except (ValueError, SmoldiffError):
            return False


class _Plain:
    """The measuring tool's tokenizer in the form that a Vocabulary asks."""

    def __init__(self, vocab: Vocab) -> None:
        self._vocab = vocab

    def encode(self, text: str, add_special_tokens: bool) -> Any:
        del add_special_tokens  # the tool's tokenizer has none in texts
        return SimpleNamespace(ids=self._vocab.encode(text))
