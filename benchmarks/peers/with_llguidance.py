"""transformers + llguidance: the library's grammar text, llguidance's own mask functions, no drafts."""

from collections.abc import Callable
from typing import Any

import llguidance.numpy
import torch
from llguidance import LLMatcher
from llguidance.hf import from_tokenizer
from torch import Tensor
from transformers import LogitsProcessor

from peers.generate import Peer
from smoldiff.decode.grammar import HEADER, AnswerForm, answer_rules
from smoldiff.decode.model import Model
from smoldiff.decode.request import MAX_CALLS
from smoldiff.errors import UnsupportedSchema
from smoldiff.scaffold.style import SPACED
from smoldiff.schema.source import Source


class LLGuidancePeer(Peer):
    name = "hf+llguidance"

    def __init__(self, model: Model, max_tokens: int) -> None:
        super().__init__(model, max_tokens)
        self._engine = from_tokenizer(model.tokenizer, eos_token=list(model.eos_ids))

    def compile(self, source: Source) -> Callable[[], LogitsProcessor]:
        form = AnswerForm(source, self.model.call_style, SPACED, MAX_CALLS, may_be_text=False)
        rules = HEADER + answer_rules(form, self.model.vocabulary, {})
        problem = LLMatcher.validate_grammar(rules, self._engine)
        if problem:
            raise UnsupportedSchema("", f"llguidance: {problem.splitlines()[0]}")
        return lambda: LLGuidanceProcessor(self._engine, rules)


class LLGuidanceProcessor(LogitsProcessor):
    """Masks one answer, with llguidance's NumPy functions on a CPU and its torch ones on an accelerator.

    The torch ones are compiled by torch.compile, for which a CPU needs a C++ compiler.
    """

    def __init__(self, engine: Any, rules: str) -> None:
        self._matcher = LLMatcher(engine, rules, log_level=0)
        self._mask = llguidance.numpy.allocate_token_bitmask(1, engine.vocab_size)
        self._is_first = True

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if not self._is_first:
            self._matcher.consume_token(int(input_ids[0, -1]))
        self._is_first = False
        llguidance.numpy.fill_next_token_bitmask(self._matcher, self._mask)
        if self._matcher.is_error():
            raise RuntimeError(f"llguidance: {self._matcher.get_error()}")
        if scores.device.type == "cpu":
            llguidance.numpy.apply_token_bitmask_inplace(scores.numpy(), self._mask)
        else:
            import llguidance.torch as on_device

            mask = torch.from_numpy(self._mask).to(scores.device)
            on_device.apply_token_bitmask_inplace(scores, mask)
        return scores
