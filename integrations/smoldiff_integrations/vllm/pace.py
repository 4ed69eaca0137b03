"""Whether steps with drafts, one after the other, or steps ahead without any give more tokens on this server now.

What drafts cost shows in no single place: a step that waits for its tokens, drafts made on the host, masks, verification. So
both ways are timed as they are used, for batches of about one size, and the faster one is taken; the other one is tried again
once in a while.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from smoldiff_integrations.vllm.load import Mean

Key = tuple[int, bool]
"""The size of a batch, in powers of two, and whether requests without a schema are in it."""

NUM_TRIED = 16
"""Timed steps of a way that tell what it gives; for so many at least it is taken."""
LEAST_RETRY, MOST_RETRY = 16, 256
"""The other way is tried again after so many times what trying it took; each time in vain twice as many."""
MARGIN = 1.05
"""So much faster must steps without drafts be."""
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
    def is_known(self) -> bool:
        return self.ms.num >= NUM_TRIED

    @property
    def value(self) -> float:
        return self.tokens.value / self.ms.value if self.ms.value else 0.0

    @property
    def ms_to_try(self) -> float:
        """What trying it takes."""
        return NUM_TRIED * self.ms.value


@dataclass(slots=True)
class Ways:
    """Both, for batches of one kind."""

    speeds: dict[bool, Speed] = field(default_factory=lambda: {False: Speed(), True: Speed()})
    """By whether steps are ahead."""
    is_ahead: bool = False
    """Which way is taken."""
    num_steps: int = 0
    """Since it is."""
    ms: float = 0.0
    """Likewise."""
    retry: int = LEAST_RETRY
    is_trial: bool = False

    def add(self, is_ahead: bool, num_tokens: int, ms: float) -> None:
        self.speeds[is_ahead].add(num_tokens, ms)
        self.num_steps, self.ms = self.num_steps + 1, self.ms + ms
        if self.num_steps < NUM_TRIED or not self.speeds[self.is_ahead].is_known:
            return
        if not self.speeds[not self.is_ahead].is_known:
            self._try_other()
        elif self.best != self.is_ahead:
            self.retry = min(2 * self.retry, MOST_RETRY) if self.is_trial else LEAST_RETRY
            self._turn(is_trial=False)
        elif self.is_trial:  # the other way turned out better
            self.is_trial, self.retry = False, LEAST_RETRY
        elif self.ms > self.retry * self.speeds[not self.is_ahead].ms_to_try:
            self._try_other()

    @property
    def best(self) -> bool:
        return self.speeds[True].value > MARGIN * self.speeds[False].value

    def _try_other(self) -> None:
        self.speeds[not self.is_ahead] = Speed()
        self._turn(is_trial=True)

    def _turn(self, is_trial: bool) -> None:
        self.is_ahead, self.is_trial = not self.is_ahead, is_trial
        self.num_steps, self.ms = 0, 0.0


@dataclass(slots=True)
class Pace:
    """Of one engine."""

    ways: dict[Key, Ways] = field(default_factory=dict)

    def add(
        self, is_ahead: bool, num_rows: int, has_free: bool, num_tokens: int, ms: float
    ) -> None:
        """A step took so long; nothing of a prompt was read in it, and some of its requests have a schema."""
        self._of(num_rows, has_free).add(is_ahead, num_tokens, ms)

    def is_ahead(self, num_rows: int, has_free: bool) -> bool:
        """Whether such a batch is better off without drafts, or that is to be tried."""
        return self._of(num_rows, has_free).is_ahead

    def _of(self, num_rows: int, has_free: bool) -> Ways:
        return self.ways.setdefault((num_rows.bit_length(), has_free), Ways())
