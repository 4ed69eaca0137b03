"""What one system did on one example."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cost:
    """What an answer cost. Passes are those of the base after the prefill; times are wall milliseconds."""

    total_ms: float
    """The whole call, from messages to checked calls, with the tools compiled beforehand."""
    prefill_ms: float
    decode_ms: float
    """After the prefill: passes, drafts, masks, verification."""
    answer_tokens: int
    base_passes: int
    head_passes: int | None = None
    """None where no head was asked; likewise its time, which is part of `decode_ms`."""
    head_ms: float | None = None
    drafts: int = 0
    drafted: int = 0
    accepted: int = 0
    first_draft_accepted: int = 0
    near_ties: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """The text a system wrote and what it cost, or the error it ended in.

    `text` is None where nothing was written (a refused request); `token_ids` and `cost` are None where there is an error.
    """

    text: str | None
    token_ids: tuple[int, ...] | None = None
    cost: Cost | None = None
    error: str | None = None
    compile_ms: float | None = None
    """Grammar and scaffold of this example's tools, from nothing; a server pays it once a tool set."""


def is_same_answer(one: Answer, other: Answer) -> bool | None:
    """Whether both wrote the same, token for token; None where neither wrote anything.

    An answer that ended in an error has no token ids: its error and its text are compared.
    """
    if one.text is None and other.text is None:
        return None
    if one.token_ids is not None and other.token_ids is not None:
        return one.token_ids == other.token_ids
    return (one.error, one.text) == (other.error, other.text)


def is_same_text(one: Answer, other: Answer) -> bool:
    """Whether both wrote the same text, whatever its tokens: a forced text may be cut into tokens in several ways."""
    return one.text == other.text


def may_be_a_tie(one: Answer, other: Answer) -> bool:
    """Whether either answer met two tokens that rounding could swap."""
    return any(answer.cost is not None and answer.cost.near_ties for answer in (one, other))
