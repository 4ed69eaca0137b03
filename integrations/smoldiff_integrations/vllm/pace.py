"""Whether steps with drafts, one after the other, or steps ahead without any give more tokens on this server now.

What drafts cost shows in no single place: a step that waits for its tokens, drafts made on the host, masks, verification. So
both ways are timed as they are used, for batches of about one size, and the faster one is taken; the other one is tried again
once in a while.

A request without a schema gets one token a step, whatever the drafts of others bring. So a batch with such requests begins
without drafts, and gets them only where its steps take no longer with them, unless the server puts its throughput first.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from smoldiff_integrations.vllm.load import Mean

Key = tuple[int, bool]
"""The size of a batch, in powers of two, and whether requests without a schema are in it."""

NUM_TRIED = 16
"""Timed steps of a way that tell what it gives; for so many at least it is taken."""
NUM_TRIED_BESIDE = 8
"""The same beside requests without a schema, which a try may cost something."""
CLEAR = (1, 2.0), (3, 1.25)
"""There a try ends after so many timed steps if they take so many times as long."""
MOST_UNTIMED, MOST_UNTIMED_TRIED = 16, 4
"""And there are no drafts any more after so many steps on end that tell nothing, since a prompt was read in each; in a try."""
LEAST_RETRY, MOST_RETRY = 16, 256
"""The other way is tried again after so many times what trying it took; each time in vain twice as many, if clearly four times."""
MARGIN = 1.05
"""So much faster must steps without drafts be; and so much longer, at most, may those with drafts be beside text."""
DECAY = 0.97
"""Weight of the past at each new step: about the last thirty count."""


@dataclass(slots=True)
class Speed:
    """Tokens a millisecond, of the steps since it was tried."""

    tokens: Mean = field(default_factory=lambda: Mean(DECAY))
    ms: Mean = field(default_factory=lambda: Mean(DECAY))

    def add(self, num_tokens: int, ms: float) -> None:
        self.tokens.add(num_tokens)
        self.ms.add(ms)

    @property
    def value(self) -> float:
        return self.tokens.value / self.ms.value if self.ms.value else 0.0


@dataclass(slots=True)
class Ways:
    """Both, for batches of one kind."""

    spares_text: bool = False
    """Whether steps with drafts may take no longer than those without."""
    speeds: dict[bool, Speed] = field(default_factory=lambda: {False: Speed(), True: Speed()})
    """By whether steps are ahead."""
    is_ahead: bool = field(init=False)
    """Which way is taken."""
    num_steps: int = 0
    """Since it is."""
    ms: float = 0.0
    """Likewise."""
    retry: int = LEAST_RETRY
    num_untimed: int = 0
    """Steps since the last timed one."""
    is_trial: bool = False
    has_tried_both: bool = False

    def __post_init__(self) -> None:
        self.is_ahead = self.spares_text

    @property
    def num_tried(self) -> int:
        return NUM_TRIED_BESIDE if self.spares_text else NUM_TRIED

    def add(self, is_ahead: bool, num_tokens: int, ms: float) -> None:
        self.speeds[is_ahead].add(num_tokens, ms)
        self.num_steps, self.ms, self.num_untimed = self.num_steps + 1, self.ms + ms, 0
        if self.is_trial and self._is_clearly_longer:
            self._give_up(is_clear=True)
            return
        if min(self.num_steps, self.speeds[self.is_ahead].ms.num) < self.num_tried:
            return
        if not self.has_tried_both:
            self._try_other()
        elif self.best != self.is_ahead:
            self._give_up()
        elif self.is_trial:  # the other way turned out better
            self.is_trial, self.retry = False, LEAST_RETRY
        elif self.ms > self.retry * self.num_tried * max(
            one.ms.value for one in self.speeds.values()
        ):
            self._try_other()

    def skip(self) -> None:
        """A step that tells nothing."""
        self.num_untimed += 1
        most = MOST_UNTIMED_TRIED if self.is_trial else MOST_UNTIMED
        if self.spares_text and not self.is_ahead and self.num_untimed > most:
            self.speeds[False] = Speed()
            self._give_up()

    @property
    def best(self) -> bool:
        ahead, drafting = self.speeds[True], self.speeds[False]
        is_longer = self.spares_text and drafting.ms.value > MARGIN * ahead.ms.value
        return is_longer or ahead.value > MARGIN * drafting.value

    @property
    def _is_clearly_longer(self) -> bool:
        ahead, drafting = self.speeds[True].ms, self.speeds[False].ms
        if not self.spares_text or self.is_ahead:
            return False
        return any(
            drafting.num >= num and drafting.value > times * ahead.value for num, times in CLEAR
        )

    def _try_other(self) -> None:
        self.speeds[not self.is_ahead] = Speed()
        self.has_tried_both = True
        self._turn(is_trial=True)

    def _give_up(self, is_clear: bool = False) -> None:
        times = 4 if is_clear else 2
        self.retry = min(times * self.retry, MOST_RETRY) if self.is_trial else LEAST_RETRY
        self._turn(is_trial=False)

    def _turn(self, is_trial: bool) -> None:
        self.is_ahead, self.is_trial = not self.is_ahead, is_trial
        self.num_steps, self.ms, self.num_untimed = 0, 0.0, 0


@dataclass(slots=True)
class Pace:
    """Of one engine."""

    spares_text: bool = True
    """Whether steps of batches with requests without a schema may take no longer with drafts."""
    ways: dict[Key, Ways] = field(default_factory=dict)

    def add(
        self, is_ahead: bool, num_rows: int, has_free: bool, num_tokens: int, ms: float
    ) -> None:
        """A step took so long; nothing of a prompt was read in it, and some of its requests have a schema."""
        self._of(num_rows, has_free).add(is_ahead, num_tokens, ms)

    def skip(self, num_rows: int, has_free: bool) -> None:
        """A step of such a batch in which a part of a prompt was read."""
        self._of(num_rows, has_free).skip()

    def is_ahead(self, num_rows: int, has_free: bool) -> bool:
        """Whether such a batch is better off without drafts, or that is to be tried."""
        return self._of(num_rows, has_free).is_ahead

    def _of(self, num_rows: int, has_free: bool) -> Ways:
        key = num_rows.bit_length(), has_free
        if key not in self.ways:
            self.ways[key] = Ways(self.spares_text and has_free)
        return self.ways[key]
