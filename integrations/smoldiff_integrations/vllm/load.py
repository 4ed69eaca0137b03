"""What steps and drafts cost on this server now, and what drafts bring: so much is drafted as pays.

A step over n tokens takes about a + b n. Where a batch of R requests gets R tokens for a + b R, a draft token is worth its
place if it is right more often than b R / (a + b R). Drafts that take d each to make, are L long and m of it right turn
that into R (1 + m) tokens for a + R (b (1 + L) + d), and are worth making if that is faster. On an idle server almost
everything pays, on a full one only what is cheap and nearly certain.

That is what a request's first draft goes by. From then on its own drafts count beside those of others, and they may not cost it
much more than they bring: what is wrong all the time ends after the time of about two tokens or, in a batch, a few drafts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

Label = tuple[str, str]
"""The drafter and the slot type of a token."""

DECAY = 0.98
"""Weight of the past at each new observation: about the last fifty count."""
MIN_OBSERVATIONS = 12
"""Before that many, everything is worth a try."""
NUM_USUAL = 1.5
"""So many drafts as others brought are counted beside a request's own."""
RETRY = 24
"""Once in so many questions, and steps, something that did not pay is tried again: the load may have changed."""
FIRST_RETRY = 3
"""The same, as long as it is not known what drafts without the head would bring."""
FREE_CHANCE = 0.25
"""Where a token pays from such a small chance on, drafts are left whole: what is wrong in them teaches the next one."""
NUM_STEPS, NUM_SLOPES = 15, 45
"""So many of the last steps, and of the differences between them, tell what a step costs."""
OWN_DECAY = 0.9
"""A request's last ten drafts count most: a value may be hard and the next one easy."""
MAX_LOSS = {True: 1.0, False: 0.5}
"""What a request may lose by its drafts, in tokens, with the head, and then without; each way is tried once at least."""
NUM_TRIES = 4
"""In a batch so many drafts at least."""
MAX_LOSS_A_TOKEN = 0.005
"""So much more for each token of its answer: what was wrong for long is tried again."""
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

    def value_beside(self, usual: float, num: float) -> float:
        """The same, if before the first there were so many of a usual value, which do not fade."""
        return (self.total + num * usual) / (self.weight + num)


@dataclass(slots=True)
class StepTime:
    """Milliseconds of a step by its tokens, as a line through the last steps.

    Medians, and slopes between neighbouring steps: on a machine that does other work too some steps take far too long,
    and for a while all.
    """

    steps: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=NUM_STEPS))
    slopes: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=NUM_SLOPES))
    """Between two steps, and by how many tokens these differ."""
    fixed: float = 0.0
    """a."""
    per_token: float = 0.0
    """b, at least 0 and at most what makes a 0."""

    def add(self, num_tokens: int, ms: float) -> None:
        if self.steps:
            last_tokens, last_ms = self.steps[-1]
            more = num_tokens - last_tokens
            if more:
                self.slopes.append(((ms - last_ms) / more, abs(more)))
        self.steps.append((num_tokens, ms))
        most = median(ms / n for n, ms in self.steps)
        self.per_token = min(max(weighted_median(self.slopes), 0.0), most)
        self.fixed = max(median(ms - self.per_token * n for n, ms in self.steps), 0.0)

    def at(self, num_tokens: int) -> float:
        return self.fixed + self.per_token * num_tokens


def weighted_median(weighted: Iterable[tuple[float, int]]) -> float:
    """The first value up to which lies half of the weight; 0 of nothing."""
    found = sorted(weighted)
    half, total = sum(weight for _, weight in found) / 2, 0
    for value, weight in found:
        total += weight
        if total >= half:
            return value
    return 0.0


def fitting(lengths: Sequence[int], room: int) -> list[int]:
    """The lengths of drafts that together have at most `room` tokens: the longest are cut, all to the same."""
    most = max(lengths, default=0)
    while most and sum(min(length, most) for length in lengths) > room:
        most -= 1
    return [min(length, most) for length in lengths]


@dataclass(slots=True)
class Own:
    """What a request's own drafts of one kind brought."""

    num_right: Mean = field(default_factory=lambda: Mean(OWN_DECAY))
    balance: float = 0.0
    """In tokens: those that were right, less what the drafts cost, see `Load.price`."""


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

    def price(self, ms: float, num_rows: int) -> float:
        """Tokens that each request of a batch without drafts gets in a time; 0 while no step is known."""
        return ms / max(self.step.at(num_rows), LEAST_MS) if self.step.steps else 0.0

    def made(self, has_head: bool, own: Own, ms: float, num_rows: int) -> None:
        """To make a request's draft took so long."""
        self.of(has_head).ms.add(ms)
        own.balance -= self.price(ms, num_rows)

    def verified(
        self, has_head: bool, own: Own, num_drafted: int, num_right: int, num_rows: int
    ) -> None:
        """A pass verified a request's draft, perhaps an empty one."""
        one = self.of(has_head)
        one.tokens.add(num_drafted)
        one.accepted.add(num_right)
        own.num_right.add(num_right)
        own.balance += num_right - self.price(num_drafted * self.step.per_token, num_rows)

    def speed(self, has_head: bool, num_rows: int) -> float:
        """Tokens a millisecond with drafts of one kind for all rows."""
        one = self.of(has_head)
        each = self.step.per_token * (1 + one.tokens.value) + one.ms.value
        ms = self.step.fixed + num_rows * each
        return num_rows * (1 + one.accepted.value) / max(ms, LEAST_MS)

    def least_chance(self, num_rows: int) -> float:
        """The chance of being right from which on a draft token pays."""
        return min(1.0, self.step.per_token * self.plain_speed(num_rows))

    def pays(self, has_head: bool, num_rows: int, own: Own, num_written: int) -> bool:
        """Whether to draft this way now; what is not known, or was not tried for long, is tried.

        own: of the request's drafts of this kind, with `num_written` tokens of its answer written.
        """
        one = self.of(has_head)
        price = self.price(one.ms.value + self.step.per_token * one.tokens.value, num_rows)
        max_loss = MAX_LOSS[has_head] + MAX_LOSS_A_TOKEN * num_written
        if num_rows > 1:  # a request that stops waits for the drafts of the others all the same
            max_loss = max(max_loss, NUM_TRIES * price)
        if own.balance < 0 and price - own.balance > max_loss:
            return False
        if not one.is_known:
            return True
        self.num_asked += 1
        expected = own.num_right.value_beside(one.accepted.value, NUM_USUAL)
        return expected > num_rows * price or self.num_asked % (RETRY * num_rows) == 0

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
