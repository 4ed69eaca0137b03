"""What may follow: the scaffold's literals, slots filled by copying and by the base's own parallel predictions.

`scaffold`  literals, default decisions, and options of which only one is left; it stops at the first open slot
`copy`      slots that have begun are continued from the prompt
`diffusion` a head fills all slots at once (decode.head_drafter)
`parallel`  all slots are drafted at once: each verify pass also predicts, at every slot and decision behind the first
            error, what would come there; the next draft takes it (Jacobi decoding, Santilli et al., 2023, with the
            structure known)
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from smoldiff.decode.copying import CopySource
from smoldiff.decode.draft import EMPTY, Draft, Span, make_draft, write_draft
from smoldiff.decode.values import admits, completion, forced, placeholder, split_at_end
from smoldiff.errors import RequestError, TemplateError
from smoldiff.scaffold.cursor import NO_CHOICES, Choices, Gap, NotAPrefix
from smoldiff.scaffold.pieces import holds_content
from smoldiff.scaffold.scaffold import Scaffold
from smoldiff.template.vocabulary import Vocabulary

DRAFTERS = ("scaffold", "copy", "parallel", "diffusion")


def parse_drafter(drafter: str | Sequence[str]) -> frozenset[str]:
    """The parts of a drafter given as "parallel+copy" or as a sequence of names. Raises RequestError."""
    names = drafter.split("+") if isinstance(drafter, str) else list(drafter)
    for name in names:
        if name not in DRAFTERS:
            raise RequestError(
                f"drafter={name!r}: known are {', '.join(DRAFTERS)}; join several with '+'"
            )
    return frozenset(names)


@dataclass(frozen=True, slots=True)
class Guess:
    """A slot's text as far as it is guessed."""

    text: str
    is_done: bool


@dataclass(eq=False)
class Drafter:
    """Drafts one answer. Call `propose` before each pass and `observe` after it."""

    scaffold: Scaffold
    vocabulary: Vocabulary
    parts: frozenset[str]
    source: CopySource
    choices: Choices = NO_CHOICES
    guesses: dict[str, Guess] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    """Which of DRAFTERS wrote a slot's text last, by pointer."""

    @property
    def taps(self) -> tuple[int, ...]:
        """The base's layers whose states `see` is shown."""
        return ()

    @property
    def num_head_passes(self) -> int:
        """How often a head ran for this answer."""
        return 0

    def see(self, fed: Sequence[int], states_TS: Tensor, start: int) -> None:
        """Take the base's states at the tokens `fed`, the first of which is the `start`-th of prompt and answer."""

    @property
    def num_candidates(self) -> int:
        """How many best tokens a position `observe` wants to see; 0 if it looks at none."""
        return NUM_CANDIDATES if "parallel" in self.parts else 0

    def propose(self, written: list[int], text: str | None) -> Draft:
        """A draft of what follows the tokens `written`, whose scaffold text is `text` (None: not in a call)."""
        self._text = text
        if text is None:
            return EMPTY
        self.source.take_answer(text)
        try:
            remainder = self.scaffold.resume(text, self.choices)
            parts, spans = write_draft(remainder, self._fill)
            return make_draft(self.vocabulary, written, parts, spans)
        except (NotAPrefix, TemplateError):  # what cannot be drafted is written token by token
            return EMPTY

    def _fill(self, gap: Gap) -> str | None:
        language = gap.slot.language
        text = forced(language, gap.written)
        if text is not None:
            return self._by("scaffold", gap, text)
        guess = self.guesses.get(gap.pointer)
        content = guess.text if guess and guess.text.startswith(gap.written) else gap.written
        if guess and guess.is_done and content == guess.text:
            return self._by("parallel", gap, content)
        return self._extend(gap, content)

    def _by(self, drafter: str, gap: Gap, text: str) -> str:
        self.origins[gap.pointer] = drafter
        return text

    def _extend(self, gap: Gap, content: str) -> str | None:
        language = gap.slot.language
        if content:
            option = completion(language, content)
            if option is not None:
                return self._by("scaffold", gap, option)
            if "copy" in self.parts and holds_content(language):
                longer = self.source.extend(
                    content, lambda text: admits(language, text, is_done=True)
                )
                if longer is not None:
                    return self._by("copy", gap, longer)
        if "parallel" in self.parts:
            return self._by("parallel", gap, content or placeholder(language))
        return None

    def observe(self, draft: Draft, num_accepted: int, candidates: Sequence[Sequence[int]]) -> None:
        """Learn from a pass: `candidates[t]` are the best tokens, best first, where draft token t stands."""
        if "parallel" in self.parts and draft.ids and self._text is not None:
            Reading(self, draft, num_accepted + 1, candidates).run()

    def confirm(self, span: Span, text: str) -> None:
        """The base would write a slot as it was drafted, behind what was drafted before it."""

    def resume_choices(self, drafted: bytes) -> None:
        """Take over the decisions that the text so far, continued by `drafted`, implies."""
        try:
            text = (self._text or "") + drafted.decode()
            self.choices = self.scaffold.resume(text, self.choices).choices
        except (UnicodeDecodeError, NotAPrefix):
            return


NUM_CANDIDATES = 8


class Reading:
    """What one pass says about the part of its draft behind the first error."""

    def __init__(
        self, drafter: Drafter, draft: Draft, first: int, candidates: Sequence[Sequence[int]]
    ) -> None:
        self.drafter, self.draft, self.first, self.candidates = drafter, draft, first, candidates

    def run(self) -> None:
        at = self.first
        for span in self.draft.spans:
            begin = self.draft.first_token_behind(span.start)
            if begin < self.first or begin >= len(self.draft.ids):
                continue
            self._structure(at, begin)
            at = self._slot(span, begin)
        self._structure(at, len(self.draft.ids))

    def _structure(self, start: int, stop: int) -> None:
        """Decisions between slots: the first token that the base would write differently tells."""
        for t in range(start, stop):
            best = self.candidates[t][0]
            if best != self.draft.ids[t]:
                self.drafter.resume_choices(
                    self.draft.text[: self.draft.start_of(t)] + self._bytes(best)
                )
                return

    def _slot(self, span: Span, t: int) -> int:
        """Follow the base through a slot up to its first other token; returns where the structure behind it starts."""
        while t < len(self.draft.ids):
            if self.candidates[t][0] == self.draft.ids[t]:
                if self.draft.ends[t] > span.end:
                    self.drafter.confirm(span, self._content(span, span.end))
                    return t + 1
                t += 1
                continue
            guess = self._guess(span, t)
            if guess is not None:
                self.drafter.guesses[span.pointer] = guess
            is_same = (
                guess is not None and guess.is_done and self._content(span, span.end) == guess.text
            )
            closing = self.draft.first_token_behind(span.end)
            return closing if is_same else closing + 1
        return t

    def _guess(self, span: Span, t: int) -> Guess | None:
        """The slot with the base's best admissible token in place of draft token t."""
        start = self.draft.start_of(t)
        before = self.draft.text[start : max(start, span.start)]
        for candidate in self.candidates[t]:
            token = self._bytes(candidate)
            if not token.startswith(before):
                continue
            try:
                text = self._content(span, start) + token[len(before) :].decode()
            except UnicodeDecodeError:
                continue
            content, is_done = split_at_end(span.language, text)
            if admits(span.language, content, is_done):
                return Guess(content, is_done)
        return None

    def _content(self, span: Span, stop: int) -> str:
        return self.draft.text[span.start : max(span.start, stop)].decode()

    def _bytes(self, token_id: int) -> bytes:
        return self.drafter.vocabulary.bytes_of([token_id])
