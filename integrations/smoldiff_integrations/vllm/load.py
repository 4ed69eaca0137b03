"""What steps and drafts cost on this server now, and what drafts bring: so much is drafted as pays.

A step over n tokens takes about a + b n. Where a batch of R requests gets R tokens for a + b R, a draft token is worth its
place if it is right more often than b R / (a + b R). Drafts that take d each to make, are L long and m of it right turn
that into R (1 + m) tokens for a + R (b (1 + L) + d), and are worth making if that is faster. On an idle server almost
everything pays, on a full one only what is cheap and nearly certain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

Label = tuple[str, str]
"""The drafter and the slot type of a token."""

DECAY = 0.98
"""Weight of the past at each new observation: about the last fifty count."""
MIN_OBSERVATIONS = 12
"""Before that many, everything is worth a try."""
MIN_OWN = 3
"""Drafts of a request after which it is judged by its own."""
RETRY = 24
"""Once in so many questions something that did not pay is tried again: the load may have changed."""
FIRST_RETRY = 3
"""The same, as long as it is not known what drafts without the head would bring."""
FREE_CHANCE = 0.25
"""Where a token pays from such a small chance on, drafts are left whole: what is wrong in them teaches the next one."""
OUTLIER = 5.0
LEAST_MS = 1e-3


@dataclass(slots=True)
class Mean:
    """An average in which the past fades."""

    decay: float = DECAY
    total: float = 0.0
    weight: float = 0.0
    num: int = 0

    def add(self, value: float) -> None:
        self.total = self.decay * self.total + value
        self.weight = self.decay * self.weight + 1
        self.num += 1

    @property
    def value(self) -> float:
        return self.total / self.weight if self.weight else 0.0


@dataclass(slots=True)
class StepTime:
    """Milliseconds of a step by its tokens, as a line through the last steps (weighted least squares)."""

    tokens: Mean = field(default_factory=Mean)
    ms: Mean = field(default_factory=Mean)
    squares: Mean = field(default_factory=Mean)
    products: Mean = field(default_factory=Mean)

    def add(self, num_tokens: int, ms: float) -> None:
        if self.ms.num >= MIN_OBSERVATIONS and ms > OUTLIER * max(self.at(num_tokens), 0.1):
            return
        self.tokens.add(num_tokens)
        self.ms.add(ms)
        self.squares.add(num_tokens * num_tokens)
        self.products.add(num_tokens * ms)

    @property
    def per_token(self) -> float:
        """b, at least 0 and at most what makes a 0."""
        variance = self.squares.value - self.tokens.value**2
        if variance < 1.0:
            return 0.0
        slope = (self.products.value - self.tokens.value * self.ms.value) / variance
        return min(max(slope, 0.0), self.ms.value / max(self.tokens.value, 1.0))

    def at(self, num_tokens: int) -> float:
        return self.ms.value + self.per_token * (num_tokens - self.tokens.value)


@dataclass(slots=True)
class Yield:
    """What the drafts of one way of drafting cost and bring."""

    ms: Mean = field(default_factory=Mean)
    tokens: Mean = field(default_factory=Mean)
    accepted: Mean = field(default_factory=Mean)

    @property
    def is_known(self) -> bool:
        return min(self.ms.num, self.accepted.num) >= MIN_OBSERVATIONS


@dataclass(slots=True)
class Load:
    """Of one worker. Times are in milliseconds."""

    step: StepTime = field(default_factory=StepTime)
    with_head: Yield = field(default_factory=Yield)
    without_head: Yield = field(default_factory=Yield)
    chances: dict[Label, Mean] = field(default_factory=dict)
    num_asked: int = 0

    def of(self, has_head: bool) -> Yield:
        return self.with_head if has_head else self.without_head

    def plain_speed(self, num_rows: int) -> float:
        """Tokens a millisecond of a batch without drafts."""
        return num_rows / max(self.step.at(num_rows), LEAST_MS)

    def speed(self, has_head: bool, num_rows: int, num_right: float | None = None) -> float:
        """The same with drafts of one kind for all rows, of which `num_right` tokens are right (None: as usual)."""
        one = self.of(has_head)
        each = self.step.per_token * (1 + one.tokens.value) + one.ms.value
        ms = max(self.step.at(0), 0.0) + num_rows * each
        right = one.accepted.value if num_right is None else num_right
        return num_rows * (1 + right) / max(ms, LEAST_MS)

    def least_chance(self, num_rows: int) -> float:
        """The chance of being right from which on a draft token pays."""
        return min(1.0, self.step.per_token * self.plain_speed(num_rows))

    def pays(self, has_head: bool, num_rows: int, own: Mean) -> bool:
        """Whether to draft this way now; what is not known, or was not tried for long, is tried.

        own: how many tokens of the request's own drafts were right.
        """
        if not self.of(has_head).is_known:
            return True
        self.num_asked += 1
        num_right = own.value if own.num >= MIN_OWN else None
        is_faster = self.speed(has_head, num_rows, num_right) > self.plain_speed(num_rows)
        return is_faster or self.num_asked % RETRY == 0

    def prefers_head(self, num_rows: int) -> bool:
        """Whether a new request is drafted with the head, on a server that has one."""
        if not self.with_head.is_known:
            return True
        self.num_asked += 1
        best = self.plain_speed(num_rows)
        if self.without_head.is_known:
            best, turn = max(best, self.speed(False, num_rows)), RETRY
        else:
            turn = FIRST_RETRY
        return (self.speed(True, num_rows) > best) != (self.num_asked % turn == 0)

    def length(self, labels: Sequence[Label], num_rows: int) -> int:
        """How many tokens of a draft pay, by how often such tokens have been right."""
        least = self.least_chance(num_rows)
        if least < FREE_CHANCE:
            return len(labels)
        chance = 1.0
        for t, label in enumerate(labels):
            known = self.chances.get(label)
            chance *= known.value if known and known.num >= MIN_OBSERVATIONS else 1.0
            if chance < least:
                return t
        return len(labels)

    def learn(self, labels: Sequence[Label], num_accepted: int) -> None:
        """Which tokens were right: those before the first wrong one are known to be, behind it nothing is known."""
        for t, label in enumerate(labels[: num_accepted + 1]):
            self.chances.setdefault(label, Mean()).add(float(t < num_accepted))
