"""How long a head's drafts may be: as long as they are right, shorter where they are not, none for a while where nothing is."""

from __future__ import annotations

from dataclasses import dataclass

from smoldiff.decode.draft import MAX_DRAFT_TOKENS

MIN_TOKENS = 24
"""Shorter drafts cost more passes than their width saves (8: 2.5 passes an answer of unseen tools; 24: 2.4)."""
POOR_SHARE = 1 / 8
MAX_FAILURES = 3
"""Drafts in a row of which not one token was right; then the head rests for some passes."""
REST_PASSES = 4


@dataclass(slots=True)
class Pace:
    """Of one answer's drafts. `next_limit` is asked before each pass, `learn` told after each that had a draft."""

    limit: int = MAX_DRAFT_TOKENS
    num_failures: int = 0
    num_resting: int = 0

    def next_limit(self) -> int:
        """Most tokens of the next draft; 0 where the head rests."""
        if self.num_resting:
            self.num_resting -= 1
            return 0
        return self.limit

    def learn(self, num_drafted: int, num_right: int) -> None:
        if not num_drafted:
            return
        if num_right == num_drafted:
            self.limit = min(MAX_DRAFT_TOKENS, 2 * self.limit)
        elif num_right < POOR_SHARE * num_drafted:
            self.limit = max(MIN_TOKENS, self.limit // 2)
        self.num_failures = 0 if num_right else self.num_failures + 1
        if self.num_failures == MAX_FAILURES:
            self.num_failures, self.num_resting = 0, REST_PASSES
