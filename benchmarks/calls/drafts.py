"""First drafts against the answers that followed: how much of each slot was right, by its kind.

The first draft is the one behind the prefill. A slot of it is verified where every token before it was right: then the
base said of its own text how far it is right. Tokens of a slot are those that hold a byte of its text.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from calls.data import Example

from smoldiff.decode.answer import Answer
from smoldiff.decode.asked import kind_of
from smoldiff.decode.draft import MAX_DRAFT_TOKENS, Draft, Span
from smoldiff.decode.drafters import Drafter
from smoldiff.decode.loop import decode
from smoldiff.decode.model import Model
from smoldiff.decode.request import plan, start
from smoldiff.template.vocabulary import Vocabulary

ALL = "all"
ENDS = (b",", b"]", b"}", b" ", b"\n")
"""Any of these ends a number, a boolean or null."""


Proposal = tuple[list[int], Draft]
"""The tokens written before a draft, and the draft."""


@dataclass(eq=False)
class WatchedDrafter:
    """A drafter that keeps what it proposed; all else it leaves to the drafter inside."""

    inner: Drafter
    proposals: list[Proposal] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def propose(self, written: list[int], text: str | None) -> Draft:
        draft = self.inner.propose(written, text)
        self.proposals.append((list(written), draft))
        return draft


@dataclass(frozen=True, slots=True)
class DraftedSlot:
    """A slot of a first draft. The numbers of what was right are None where the slot was not verified."""

    kind: str
    num_tokens: int
    num_right: int | None
    """Tokens before the first wrong one."""
    is_whole: bool | None
    """Whether all of them were right and the value ended behind them."""


def first_draft_slots(model: Model, example: Example, options: dict[str, Any]) -> list[DraftedSlot]:
    """The slots of an answer's first draft; none where there was no draft behind the prefill."""
    answer, proposals = watch(model, example, options)
    if len(proposals) < 2:
        return []
    written, draft = proposals[1]
    if answer.ids[: len(written)] != written:
        return []  # an invalid answer was written anew from before the draft
    return drafted_slots(model.vocabulary, draft, answer.ids[len(written) :])


def watch(model: Model, example: Example, options: dict[str, Any]) -> tuple[Answer, list[Proposal]]:
    """An answer in mode "verified", written, and all its drafts; the first is that of the prefill."""
    answer = start(model, plan(model, list(example.tools), options), list(example.messages))
    assert answer.drafter is not None  # mode "verified" drafts
    watched = WatchedDrafter(answer.drafter)
    answer.drafter = watched  # all of a Drafter that an answer uses
    for _ in decode(model.base, [answer]):
        pass
    return answer, watched.proposals


def drafted_slots(
    vocabulary: Vocabulary, draft: Draft, written_ids: Sequence[int]
) -> list[DraftedSlot]:
    """What became of a draft's slots, given the tokens that stand there in the end."""
    pairs = zip(draft.ids, written_ids, strict=False)
    num_right = next(
        (t for t, (drafted, token) in enumerate(pairs) if drafted != token),
        min(len(draft.ids), len(written_ids)),
    )
    written = vocabulary.bytes_of(written_ids)
    return [_slot(draft, span, num_right, written) for span in draft.spans]


def _slot(draft: Draft, span: Span, num_right: int, written: bytes) -> DraftedSlot:
    start_byte = max(span.start, 0)
    begin = draft.first_token_behind(start_byte)
    stop = draft.first_token_behind(span.end - 1) + 1 if span.end > start_byte else begin
    kind = kind_of(span.language, span.pointer)
    num_fed = min(len(draft.ids), MAX_DRAFT_TOKENS)
    if begin > num_right or begin >= num_fed or stop > num_fed:  # no pass held all of it
        return DraftedSlot(kind, stop - begin, None, None)
    own_right = min(num_right, stop) - begin
    is_whole = own_right == stop - begin and _ends_alike(draft.text, written, span.end)
    return DraftedSlot(kind, stop - begin, own_right, is_whole)


def _ends_alike(drafted: bytes, written: bytes, end: int) -> bool:
    """Whether a value that ends there in one text ends there in the other."""
    one, other = drafted[end : end + 1], written[end : end + 1]
    return one == other or (one in ENDS and other in ENDS)


def by_kind(slots: Iterable[DraftedSlot]) -> dict[str, dict[str, Any]]:
    """For each kind and for all: slots drafted and verified, mean tokens and right tokens of a verified one, the share
    of its tokens that was right, and of slots that were right as a whole."""
    groups: dict[str, list[DraftedSlot]] = {ALL: []}
    for slot in slots:
        groups[ALL].append(slot)
        groups.setdefault(slot.kind, []).append(slot)
    return {kind: _summary(group) for kind, group in sorted(groups.items(), key=_by_size)}


def _by_size(item: tuple[str, Sequence[DraftedSlot]]) -> tuple[int, str]:
    return -len(item[1]), item[0] if item[0] != ALL else ""


def _summary(slots: Sequence[DraftedSlot]) -> dict[str, Any]:
    verified = [slot for slot in slots if slot.num_right is not None]
    return {
        "num_drafted": len(slots),
        "num_verified": len(verified),
        "tokens": _mean(slot.num_tokens for slot in verified),
        "right_tokens": _mean(slot.num_right for slot in verified),
        "whole_pct": _mean(100.0 * slot.is_whole for slot in verified),
    }


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return fmean(known) if known else None
