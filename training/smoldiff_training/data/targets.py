"""What a head learns to draft: the call that its base itself writes for a row, and how sure the base is of each token.

The answers are those of greedy, constrained decoding with tool_choice="required"; the library writes them.
"""

from __future__ import annotations

import json
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import islice

import numpy as np

from smoldiff.decode.answer import Answer
from smoldiff.decode.chat import read_messages, render_prompt
from smoldiff.decode.loop import decode
from smoldiff.decode.model import Model
from smoldiff.decode.options import CallOptions
from smoldiff.decode.request import Plan, outcome_of, plan, start_from_ids
from smoldiff.decode.result import CallResult
from smoldiff.errors import PromptTooLong, SmoldiffError, TemplateError
from smoldiff.scaffold.style import JsonStyle
from smoldiff.schema.equality import key
from smoldiff.schema.source import read_source
from smoldiff.template.tokenise import tokenise
from smoldiff_training.data.confirming import TOKENS_A_PASS, confirmed
from smoldiff_training.data.oracle import call_parts, oracle
from smoldiff_training.data.recording import Ids, LogProbs, RecordingBase
from smoldiff_training.data.render import prompt_text
from smoldiff_training.data.rows import Json, Row
from smoldiff_training.data.tokenizer import CHAT_TEMPLATE
from smoldiff_training.data.validity import calls_fault

# Shapes: T answer tokens, K best tokens of each position.

MAX_KEPT_PLANS = 512
MAX_PASSES = 6
"""Passes behind the prefill after which a batch is left. What is not finished by then waits for others like it: one
answer that needs a hundred passes would have its whole batch pay for them."""
NOT_CONFIRMED = "NotConfirmed"
NO_CALLS = "NoCalls"
"""Why a row without calls is dropped; every other reason is the name of an error."""


@dataclass(frozen=True, slots=True)
class TargetOptions:
    """What is asked of the base. Rows with a longer prompt make no target."""

    top_k: int = 8
    max_tokens: int = 256
    max_prompt_tokens: int = 1536
    dtype: str = "auto"
    """What the base computes in, as `smoldiff.load` takes it."""
    batch_rows: int = 64
    is_confirmed_only: bool = False
    """Whether rows are left out whose own call the base does not write: what one pass does not tell is not decoded."""


DEFAULT_OPTIONS = TargetOptions()


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """The base's own answer to a row."""

    prompt_ids: Ids
    tools: list[Json]
    answer_ids: Ids
    answer_text: str
    topk_ids: Ids
    """[T, K] the base's best tokens at each position, the best first, before the grammar."""
    topk_logp: LogProbs
    """[T, K] their log-probabilities over the whole vocabulary; 1 - sum(exp) is the mass of the rest."""
    is_gold: bool
    """Whether the answer makes the row's own calls."""
    source: str


@dataclass(frozen=True, slots=True)
class Made:
    """The targets of some rows, in the order of the rows, and why the others have none."""

    targets: list[Target]
    dropped: Counter[str]


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """A row as it is put to the base."""

    row: Row
    plan: Plan
    prompt_ids: list[int]
    written: tuple[int, ...] = ()
    """What the base began to write, where it was not finished."""

    @property
    def num_prompt(self) -> int:
        return len(self.prompt_ids)


Outcome = Target | Request | str
"""A target, a request that is not finished, or why there is no target."""


@dataclass(eq=False)
class TargetMaker:
    """Makes targets with one model; tools that come again are planned once."""

    model: Model
    options: TargetOptions = DEFAULT_OPTIONS
    _plans: OrderedDict[str, Plan] = field(default_factory=OrderedDict, repr=False)

    def make(self, rows: Sequence[Row]) -> Made:
        """The targets of all rows. Rows of similar length are decoded together."""
        dropped: Counter[str] = Counter()
        prompts = dict(self._prompts(rows, dropped))
        found = self._confirmed(rows, prompts)
        rest = {idx: prompt for idx, prompt in prompts.items() if idx not in found}
        if self.options.is_confirmed_only:
            dropped[NOT_CONFIRMED] += len(rest)
            rest = {}
        requests = dict(self._requests(rows, rest, dropped))
        # a row alone has nobody to wait for it
        for max_passes in (None,) if self.options.batch_rows == 1 else (MAX_PASSES, None):
            waiting, requests = requests, {}
            for idx, outcome in self._outcomes(waiting, max_passes):
                if isinstance(outcome, Target):
                    found[idx] = outcome
                elif isinstance(outcome, Request):
                    requests[idx] = outcome
                else:
                    dropped[outcome] += 1
        return Made([found[idx] for idx in sorted(found)], dropped)

    def _confirmed(
        self, rows: Sequence[Row], prompts: Mapping[int, list[int]]
    ) -> dict[int, Target]:
        """The targets of rows whose own calls the base writes, by the number of the row."""
        known = {idx: self._known(rows[idx]) for idx in prompts}
        size = 1 if self.options.batch_rows == 1 else TOKENS_A_PASS
        answers = [known[idx] for idx in prompts]
        least_gap = 0.0 if self.options.is_confirmed_only else self.model.base.tie_tolerance
        best = confirmed(
            self.model, list(prompts.values()), answers, self.options.top_k, least_gap, size
        )
        vocabulary = self.model.vocabulary
        return {
            idx: Target(
                prompt_ids=np.array(prompt_ids, np.int32),
                tools=rows[idx].tools,
                answer_ids=np.array(answer_ids, np.int32),
                answer_text=vocabulary.bytes_of(answer_ids).decode(),
                topk_ids=one[0],
                topk_logp=one[1],
                is_gold=True,
                source=rows[idx].source,
            )
            for (idx, prompt_ids), answer_ids, one in zip(
                prompts.items(), answers, best, strict=True
            )
            if one is not None
        }

    def _known(self, row: Row) -> tuple[int, ...]:
        """A row's own calls as the base would write them; nothing where it cannot, or where they are too long."""
        parts = call_parts(row.calls, self.model.call_style, JsonStyle())
        try:
            ids = tokenise(self.model.vocabulary, (), parts)
        except TemplateError:
            return ()
        is_single = len(row.calls) == 1
        is_fit = len(ids) < self.options.max_tokens and (
            is_single or self.model.call_style.can_repeat
        )
        return ids if is_fit and not calls_fault(row) else ()

    def _outcomes(
        self, requests: Mapping[int, Request], max_passes: int | None
    ) -> Iterator[tuple[int, Outcome]]:
        order = sorted(requests, key=lambda idx: requests[idx].num_prompt)
        for batch in batched(order, self.options.batch_rows):
            outcomes = self._write([requests[idx] for idx in batch], max_passes)
            yield from zip(batch, outcomes, strict=True)

    def _prompts(
        self, rows: Sequence[Row], dropped: Counter[str]
    ) -> Iterator[tuple[int, list[int]]]:
        """The prompts of what can be asked, by the number of the row."""
        for idx, row in enumerate(rows):
            if not row.calls:
                dropped[NO_CALLS] += 1
                continue
            try:
                prompt_ids = self._prompt_ids(read_messages(row.messages), row.tools)
            except SmoldiffError as problem:
                dropped[type(problem).__name__] += 1
                continue
            if len(prompt_ids) > self.options.max_prompt_tokens:
                dropped[PromptTooLong.__name__] += 1
            else:
                yield idx, prompt_ids

    def _requests(
        self, rows: Sequence[Row], prompts: Mapping[int, list[int]], dropped: Counter[str]
    ) -> Iterator[tuple[int, Request]]:
        for idx, prompt_ids in prompts.items():
            try:
                yield idx, Request(rows[idx], self._plan(rows[idx].tools), prompt_ids)
            except SmoldiffError as problem:
                dropped[type(problem).__name__] += 1

    def _plan(self, tools: list[Json]) -> Plan:
        text = json.dumps(tools)
        found = self._plans.get(text)
        if found is None:
            options: CallOptions = {"mode": "ar", "max_tokens": self.options.max_tokens}
            found = self._plans[text] = plan(self.model, tools, options)
            if len(self._plans) > MAX_KEPT_PLANS:
                self._plans.popitem(last=False)
        return found

    def _prompt_ids(self, messages: list[Json], tools: list[Json]) -> list[int]:
        tokenizer = self.model.tokenizer
        if not is_own_template(str(tokenizer.chat_template)):
            return render_prompt(tokenizer, messages, read_source(tools).tools)
        text = prompt_text(messages, tools)
        (coded,) = tokenizer.backend_tokenizer.encode_batch_fast([text], add_special_tokens=False)
        ids: list[int] = coded.ids
        return ids

    def _write(self, requests: Sequence[Request], max_passes: int | None) -> list[Outcome]:
        """What became of each request after `max_passes` of the base behind the prefill, None for as many as it takes.

        Where the grammar engine refuses a schema, at once or on the way, the whole batch stops; then its halves are tried.
        """
        base = RecordingBase(self.model.base, [r.num_prompt for r in requests], self.options.top_k)
        last = None if max_passes is None else max_passes + 1
        try:
            answers = [self._answer(request) for request in requests]
            for _ in islice(decode(base, answers), last):
                pass
            return [
                outcome_of_request(request, answer, base, idx)
                for idx, (request, answer) in enumerate(zip(requests, answers, strict=True))
            ]
        except SmoldiffError as problem:
            if len(requests) == 1:
                return [type(problem).__name__]
            middle = len(requests) // 2
            parts = (requests[:middle], requests[middle:])
            return [one for part in parts for one in self._write(part, max_passes)]

    def _answer(self, request: Request) -> Answer:
        answer = start_from_ids(self.model, request.plan, request.prompt_ids)
        answer.drafter = oracle(
            request.plan,
            self.model.vocabulary,
            request.prompt_ids,
            request.row.calls,
            request.written,
        )
        return answer


def outcome_of_request(request: Request, answer: Answer, base: RecordingBase, row: int) -> Outcome:
    """The target, the name of the error that it ended in, or what is still to be asked."""
    if not answer.is_done:
        return replace(request, written=tuple(answer.ids))
    result = outcome_of(answer)
    if not isinstance(result, CallResult):
        return type(result).__name__
    return target(request, result, *base.best(row, len(result.token_ids)))


def target(request: Request, result: CallResult, topk_ids: Ids, topk_logp: LogProbs) -> Target:
    return Target(
        prompt_ids=np.array(request.prompt_ids, np.int32),
        tools=request.row.tools,
        answer_ids=np.array(result.token_ids, np.int32),
        answer_text=result.text,
        topk_ids=topk_ids,
        topk_logp=topk_logp,
        is_gold=is_same(result, request.row.calls),
        source=request.row.source,
    )


def is_same(result: CallResult, calls: Sequence[Json]) -> bool:
    """Whether a result makes these calls, in their order and with equal JSON values."""
    made = [[call.name, call.arguments] for call in result.calls]
    return key(made) == key([[call["name"], call.get("arguments") or {}] for call in calls])


@cache
def own_template() -> str:
    return CHAT_TEMPLATE.read_text(encoding="utf-8")


def is_own_template(template: str) -> bool:
    """Whether prompts may be written by `render`, which is that template in plain Python."""
    return template == own_template()


def batched(numbers: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]
