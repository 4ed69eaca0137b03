"""Token-by-token decoding by `transformers` under somebody's grammar: what the peers share.

Same weights, prompt, answer form and limits as the library's systems; greedy, with transformers' own KV cache.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from calls.answers import Answer, Cost
from calls.data import Example
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList

from smoldiff.decode.chat import read_messages, render_prompt
from smoldiff.decode.gate import read_calls
from smoldiff.decode.model import Model
from smoldiff.errors import IncompleteCall, PromptTooLong
from smoldiff.schema.source import Source, read_source


class Peer(ABC):
    """A grammar engine behind `model.generate()`. Subclasses compile tools and start a processor for one answer."""

    name: str

    def __init__(self, model: Model, max_tokens: int) -> None:
        self.model, self.max_tokens = model, max_tokens

    def prepare(self, example: Example) -> None:
        self._source = read_source(list(example.tools))
        self._new_processor = self.compile(self._source)

    @abstractmethod
    def compile(self, source: Source) -> Callable[[], LogitsProcessor]:
        """Compile the grammar of an answer to these tools. Raises UnsupportedSchema where the engine refuses it."""

    def answer(self, example: Example) -> Answer:
        began = time.perf_counter()
        prompt_ids = render_prompt(
            self.model.tokenizer, read_messages(list(example.messages)), self._source.tools
        )
        watch = Stopwatch(self.model.base.model.device)
        ids = self._generate(prompt_ids, watch)
        decoded_ms = watch.since_start_ms()
        text = self._checked_text(ids)
        ids = [i for i in ids if i not in self.model.eos_ids]
        cost = Cost(
            total_ms=1e3 * (time.perf_counter() - began),
            prefill_ms=watch.prefill_ms,
            decode_ms=decoded_ms - watch.prefill_ms,
            answer_tokens=len(ids),
            base_passes=watch.num_passes - 1,
        )
        return Answer(text, tuple(ids), cost)

    def _generate(self, prompt_ids: list[int], watch: "Stopwatch") -> list[int]:
        model, eos_ids = self.model.base.model, list(self.model.eos_ids)
        room = self.model.base.max_context - len(prompt_ids)
        if room < 1:
            raise PromptTooLong(len(prompt_ids), self.model.base.max_context)
        input_ids = torch.tensor([prompt_ids], device=model.device)
        with torch.inference_mode():
            out = model.generate(
                input_ids=input_ids,
                attention_mask=torch.ones_like(input_ids),
                do_sample=False,
                use_cache=True,
                max_new_tokens=min(self.max_tokens, room),
                eos_token_id=eos_ids,
                pad_token_id=eos_ids[0],
                logits_processor=LogitsProcessorList([watch, self._new_processor()]),
            )
        return [int(i) for i in out[0, len(prompt_ids) :]]

    def _checked_text(self, ids: list[int]) -> str:
        """The answer as text, checked as a careful user would. Raises IncompleteCall, InvalidCall."""
        kept = ids[:-1] if ids[-1] in self.model.eos_ids else ids
        text = self.model.vocabulary.bytes_of(kept).decode(errors="replace")
        if kept is ids:
            raise IncompleteCall(f"max_tokens={self.max_tokens} was reached inside a call", text)
        read_calls(text, self._source, self.model.call_style)
        return text


class Stopwatch(LogitsProcessor):
    """Counts the passes of one `generate()` and notes when the first one, the prefill, was done."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._start = device, time.perf_counter()
        self.num_passes, self.prefill_ms = 0, 0.0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if not self.num_passes:
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)
            self.prefill_ms = self.since_start_ms()
        self.num_passes += 1
        return scores

    def since_start_ms(self) -> float:
        return 1e3 * (time.perf_counter() - self._start)
