"""The slots of a template filled by scores: each with the best text of its language that is not forbidden."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from smoldiff.decode import asking
from smoldiff.decode.scores import Scorer
from smoldiff.decode.slots import NULL, best_fill
from smoldiff.scaffold.budget import MAX_SLOT_TOKENS
from smoldiff.scaffold.pieces import Keys, Language
from smoldiff.scaffold.remainder import object_of_key
from smoldiff.scaffold.style import SPACED
from smoldiff.schema.nodes import Opaque
from smoldiff.template.automaton import TokenAutomaton
from smoldiff.template.languages import content_key, length_bounds, slot_automaton
from smoldiff.template.template import Run, Template
from smoldiff.template.token_classes import AutomatonTooLarge
from smoldiff.template.vocabulary import Vocabulary

# Shapes: B slots, P positions of each, U tokens of their automaton.

MAX_SCORES = 1 << 23
"""Scores that are asked for at once."""
MAX_REST_EDGES = 1 << 18
"""Edges that a slot's automaton may grow to by what is forbidden there."""
_FEW = 8  # texts forbidden at first; then twice as many: what grows too large is seen early


class NoText(Exception):
    """No text of a slot's language fits: it is empty, or longer than MAX_SLOT_TOKENS, or all of it is forbidden.

    `is_for_good` where that does not depend on what stands elsewhere.
    """

    def __init__(self, run: Run, problem: str, *, is_for_good: bool) -> None:
        self.run = run
        self.problem = problem
        self.is_for_good = is_for_good
        super().__init__(problem)


@dataclass(slots=True)
class _Filled:
    text: str
    language: Language


@dataclass(eq=False)
class Filling:
    """The texts of one answer's slots by pointer. A slot keeps its text until it is forbidden there."""

    scorer: Scorer
    vocabulary: Vocabulary
    num_asked: int = 0
    """How often the scorer was asked."""
    _texts: dict[str, _Filled] = field(default_factory=dict)
    _forbidden: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _rests: dict[str, tuple[TokenAutomaton, frozenset[str], TokenAutomaton]] = field(
        default_factory=dict
    )
    """By pointer: a slot's automaton, what is forbidden there, and what is left of it."""

    def fill(self, template: Template) -> dict[str, str]:
        """The text of every slot. Raises NoText."""
        for pointer, names in _named(template):
            self._forbidden[pointer] |= names
        todo = [run for run in template.runs if not self._has(run)]
        for alike in _grouped(todo):
            self._fill_alike(template, alike)
        return {run.pointer: self._texts[run.pointer].text for run in template.runs}

    def forbid(self, pointer: str, texts: set[str]) -> bool:
        """Let the slot there never hold one of these texts; False if they were all forbidden before."""
        is_new = not texts <= self._forbidden[pointer]
        self._forbidden[pointer] |= texts
        return is_new

    def _has(self, run: Run) -> bool:
        known = self._texts.get(run.pointer)
        if known is None or known.text in self._forbidden[run.pointer]:
            return False
        return known.language is run.slot.language or known.language == run.slot.language

    def _fill_alike(self, template: Template, runs: Sequence[Run]) -> None:
        """Fill slots of one language and length together, as many as MAX_SCORES lets."""
        automaton, num_positions = _fitting(runs[0], self.vocabulary)
        num_scores = num_positions * max(1, len(automaton.token_ids))
        step = max(1, MAX_SCORES // num_scores)
        for start in range(0, len(runs), step):
            self._take(template, runs[start : start + step], automaton, num_positions)

    def _rest(self, run: Run, automaton: TokenAutomaton) -> TokenAutomaton:
        """The automaton less what is forbidden there, from the one before where only more is forbidden now.

        Raises NoText past MAX_REST_EDGES.
        """
        forbidden = self._forbidden[run.pointer]
        whole, without, rest = self._rests.get(run.pointer, (automaton, frozenset(), automaton))
        if whole is not automaton or not without <= forbidden:
            without, rest = frozenset(), automaton
        new = sorted(forbidden - without)
        start, stop = 0, _FEW
        while start < len(new):
            rest = rest.without(text.encode() for text in new[start:stop])
            if len(rest.source) > max(MAX_REST_EDGES, len(automaton.source)):
                raise NoText(
                    run, "too much was refused to look for another text", is_for_good=False
                )
            start, stop = stop, 2 * stop
        self._rests[run.pointer] = automaton, frozenset(forbidden), rest
        return rest

    def _take(
        self,
        template: Template,
        runs: Sequence[Run],
        automaton: TokenAutomaton,
        num_positions: int,
    ) -> None:
        wide = [replace(run, stop=run.start + num_positions) for run in runs]
        scores_BPU, null_BP = asking.fill(self.scorer, template, wide, automaton.token_ids)
        self.num_asked += 1
        tokens_BP = best_fill(scores_BPU, null_BP, automaton).tokens_BP
        for b, run in enumerate(runs):
            text = self._text(tokens_BP[b])
            if text in self._forbidden[run.pointer]:
                text = self._next_best(run, scores_BPU[b, None], null_BP[b, None], automaton)
            self._texts[run.pointer] = _Filled(text, run.slot.language)

    def _next_best(
        self, run: Run, scores_1PU: Tensor, null_1P: Tensor, automaton: TokenAutomaton
    ) -> str:
        """The best text that is not forbidden. Raises NoText, and forgets what was forbidden, where none is left."""
        rest = self._rest(run, automaton)
        fill = best_fill(scores_1PU, null_1P, rest)
        if not fill.score_B.isfinite():
            del self._forbidden[run.pointer]
            raise NoText(run, "no other text is left", is_for_good=False)
        return self._text(fill.tokens_BP[0])

    def _text(self, tokens_P: Tensor) -> str:
        return self.vocabulary.bytes_of(i for i in tokens_P.tolist() if i != NULL).decode()


def _fitting(run: Run, vocabulary: Vocabulary) -> tuple[TokenAutomaton, int]:
    """The slot's automaton, and as many positions as its budget says or its shortest text needs."""
    budget = run.stop - run.start
    if isinstance(run.slot.language, Opaque):
        problem = "a value of any kind is begun here; use mode='verified'"
        raise NoText(run, problem, is_for_good=True)
    try:
        automaton = slot_automaton(run.slot.language, vocabulary, budget)
        if automaton.min_tokens is not None and automaton.min_tokens <= budget:
            return automaton, budget
        automaton = slot_automaton(run.slot.language, vocabulary, MAX_SLOT_TOKENS)
        if automaton.min_tokens is not None and automaton.min_tokens <= MAX_SLOT_TOKENS:
            num_positions = max(budget, automaton.min_tokens)
            return slot_automaton(run.slot.language, vocabulary, num_positions), num_positions
    except AutomatonTooLarge as limit:
        raise NoText(run, f"{limit}; use mode='verified'", is_for_good=True) from None
    problem = f"no text of at most {MAX_SLOT_TOKENS} tokens is allowed here; use mode='verified'"
    raise NoText(run, problem, is_for_good=True)


def _grouped(runs: Sequence[Run]) -> Iterator[list[Run]]:
    groups: dict[tuple[object, ...], list[Run]] = defaultdict(list)
    for run in runs:
        language = run.slot.language
        alike = (content_key(language), length_bounds(language), run.stop - run.start)
        groups[alike].append(run)
    yield from groups.values()


def _named(template: Template) -> Iterator[tuple[str, set[str]]]:
    """For the key of each unnamed member, the keys that it cannot have."""
    objects = {d.pointer: d.piece for d in template.decisions if isinstance(d.piece, Keys)}
    for run in template.runs:
        at = object_of_key(run.pointer)
        if at is not None:
            keys = objects[at]
            names = {*(entry.key for entry in keys.entries), *keys.forbidden}
            yield run.pointer, {SPACED.dumps(name)[1:-1] for name in names}
