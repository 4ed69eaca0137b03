"""The systems that are compared: the library's modes and drafters, one object each."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from calls.answers import Answer, Cost
from calls.data import Example
from calls.meter import Meter, metered

import smoldiff
from smoldiff.decode.model import Model
from smoldiff.decode.request import plan
from smoldiff.decode.result import CallResult
from smoldiff.errors import GenerationError, SmoldiffError
from smoldiff.scaffold import compile as scaffolds

AR = "ar"
UNTRAINED = "verified:parallel+copy"
"""The best drafter without a head; what a head has to beat."""
WITH_HEAD = "diffusion"
"""The mode, and the part of a drafter, that needs a head."""
AROUND = ("compile", "prompt", "prefill")
"""Stages that come before decoding."""


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
    meter: Meter | None = None
    """On the model's head; None where the system uses none."""

    def prepare(self, example: Example) -> None:
        scaffolds._cache.clear()  # shared by all systems: only the first would pay
        self.model.grammar_engine._grammars.clear()
        form = plan(self.model, list(example.tools), dict(self.options)).form
        self.model.grammar_engine.compile(form)

    def answer(self, example: Example) -> Answer:
        if self.meter is not None:
            self.meter.reset()
        began = time.perf_counter()
        result = smoldiff.generate_call(
            self.model, list(example.tools), list(example.messages), **self.options
        )
        total_ms = 1e3 * (time.perf_counter() - began)
        return Answer(result.text, result.token_ids, self._cost(result, total_ms))

    def _cost(self, result: CallResult, total_ms: float) -> Cost:
        stats = result.stats
        # Mode "diffusion" drafts only its sketch, which is to give the head states, not to be right.
        is_drafting = self.options["mode"] == "verified"
        return Cost(
            total_ms=total_ms,
            prefill_ms=stats.ms["prefill"],
            decode_ms=sum(ms for stage, ms in stats.ms.items() if stage not in AROUND),
            answer_tokens=stats.answer_tokens,
            base_passes=stats.base_passes,
            head_passes=self.meter and self.meter.num_passes,
            head_ms=self.meter and self.meter.head_ms,
            drafts=stats.drafts if is_drafting else 0,
            drafted=stats.drafted if is_drafting else 0,
            accepted=stats.accepted if is_drafting else 0,
            first_draft_accepted=stats.first_draft_accepted,
            near_ties=stats.near_ties,
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which of the library's systems are to be measured."""

    modes: Sequence[str]
    drafters: Sequence[str]
    """For mode "verified"."""
    steps: Sequence[int] = ()
    """For mode "diffusion", a system each."""
    denoise: Sequence[int] = ()
    """Denoise steps for mode "diffusion" with one step, a system each."""
    has_skip_forced: bool = False
    max_tokens: int = 256


def library_systems(model: Model, wanted: Wanted) -> list[System]:
    """The library's systems, `ar` first. Each has a model of its own around the same weights, and so its own caches.

    Raises ValueError for systems that need a head where the model has none.
    """
    return [library_system(model, name, own) for name, own in _options(wanted).items()]


def library_system(model: Model, name: str, options: Mapping[str, Any]) -> LibrarySystem:
    """One system with options of `generate_call`; the head is there, and metered, where they use it."""
    is_with_head = options["mode"] == WITH_HEAD or WITH_HEAD in options.get("drafter", "").split(
        "+"
    )
    if not is_with_head:
        return LibrarySystem(name, Model(model.base, model.tokenizer, model.name), options)
    if model.head is None:
        raise ValueError(f"{name} needs a head, and {model.name} has none")
    head, meter = metered(model.head)
    own = Model(model.base, model.tokenizer, model.name, head)
    return LibrarySystem(name, own, options, meter)


def _options(wanted: Wanted) -> dict[str, dict[str, Any]]:
    """Each system's options, by its name."""
    options: dict[str, dict[str, Any]] = {}
    if AR in wanted.modes:
        options[AR] = {"mode": "ar"}
    if wanted.has_skip_forced:
        options["ar+skip_forced"] = {"mode": "ar", "skip_forced": True}
    for mode in wanted.modes:
        if mode == "verified":
            options |= {f"{mode}:{d}": {"mode": mode, "drafter": d} for d in wanted.drafters}
        elif mode == WITH_HEAD:
            options |= {f"{mode}:{n}": {"mode": mode, "steps": n} for n in wanted.steps}
            options |= {
                f"denoise:{n}": {"mode": mode, "steps": 1, "denoise_steps": n}
                for n in wanted.denoise
            }
        elif mode != AR:
            options[mode] = {"mode": mode}
    common = {"tool_choice": "required", "max_tokens": wanted.max_tokens}
    return {name: {**common, **own} for name, own in options.items()}
