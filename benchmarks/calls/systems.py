"""The systems that are compared: the library's modes and drafters, one object each."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from calls.answers import Answer, Cost
from calls.data import Example

import smoldiff
from smoldiff.decode.model import Model
from smoldiff.decode.request import plan
from smoldiff.decode.result import CallResult
from smoldiff.errors import GenerationError, SmoldiffError
from smoldiff.scaffold import compile as scaffolds

AR = "ar"


class System(Protocol):
    """One way to answer. Both methods raise SmoldiffError."""

    name: str

    def prepare(self, example: Example) -> None:
        """Compile the example's tools from nothing, and keep them."""

    def answer(self, example: Example) -> Answer:
        """The answer, its cost measured; the tools are compiled already."""


def run(system: System, example: Example) -> Answer:
    """What the system did on an example; an error becomes an answer, so that it is counted."""
    began = time.perf_counter()
    try:
        system.prepare(example)
        compile_ms = 1e3 * (time.perf_counter() - began)
        answer = system.answer(example)
    except SmoldiffError as problem:
        text = problem.text if isinstance(problem, GenerationError) else None
        return Answer(text, error=type(problem).__name__)
    except Exception as problem:
        problem.add_note(f"system {system.name}, example {example.id}")
        raise
    return Answer(answer.text, answer.token_ids, answer.cost, compile_ms=compile_ms)


@dataclass(frozen=True)
class LibrarySystem:
    """`smoldiff.generate_call` with fixed options."""

    name: str
    model: Model
    options: Mapping[str, Any]

    def prepare(self, example: Example) -> None:
        scaffolds._cache.clear()  # shared by all systems: only the first would pay
        self.model.grammar_engine._grammars.clear()
        form = plan(self.model, list(example.tools), dict(self.options)).form
        self.model.grammar_engine.compile(form)

    def answer(self, example: Example) -> Answer:
        began = time.perf_counter()
        result = smoldiff.generate_call(
            self.model, list(example.tools), list(example.messages), **self.options
        )
        return Answer(
            result.text, result.token_ids, _cost(result, 1e3 * (time.perf_counter() - began))
        )


def _cost(result: CallResult, total_ms: float) -> Cost:
    stats = result.stats
    return Cost(
        total_ms=total_ms,
        prefill_ms=stats.ms["prefill"],
        decode_ms=stats.ms["base"] + stats.ms["draft"] + stats.ms["verify"],
        answer_tokens=stats.answer_tokens,
        base_passes=stats.base_passes,
        drafts=stats.drafts,
        drafted=stats.drafted,
        accepted=stats.accepted,
        first_draft_accepted=stats.first_draft_accepted,
        near_ties=stats.near_ties,
    )


def library_systems(
    model: Model,
    modes: Sequence[str],
    drafters: Sequence[str],
    has_skip_forced: bool,
    max_tokens: int,
) -> list[System]:
    """The library's systems, `ar` first. Each has a model of its own around the same weights, and so its own caches."""
    common = {"tool_choice": "required", "max_tokens": max_tokens}
    options: dict[str, dict[str, Any]] = {}
    if AR in modes:
        options[AR] = {"mode": "ar"}
    if has_skip_forced:
        options["ar+skip_forced"] = {"mode": "ar", "skip_forced": True}
    for mode in modes:
        if mode == "verified":
            options |= {f"{mode}:{d}": {"mode": mode, "drafter": d} for d in drafters}
        elif mode != AR:
            options[mode] = {"mode": mode}
    return [
        LibrarySystem(name, Model(model.base, model.tokenizer, model.name), {**common, **own})
        for name, own in options.items()
    ]
