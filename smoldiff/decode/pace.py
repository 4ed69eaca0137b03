"""How long drafts may be: as long as they are right, shorter where they are not, without the head where nothing is."""

from __future__ import annotations

from dataclasses import dataclass

from smoldiff.decode.draft import MAX_DRAFT_TOKENS

MIN_TOKENS = 24
"""Shorter drafts of the head cost more passes than their width saves (8: 2.5 passes an answer of unseen tools; 24: 2.4)."""
MAX_TOKENS_AT_REST = 8
POOR_SHARE = 1 / 8
MIN_RIGHT = 2
"""A draft of which fewer tokens are right saves less than the head and the wider pass cost."""
MAX_FAILURES = 3
"""Drafts in a row that did not pay; then the head rests for some passes, twice as many each time."""
REST_PASSES = 4
MAX_REST_PASSES = 64


@dataclass(slots=True)
class Pace:
    """Of one answer's drafts. `next_limit` is asked before each pass, `learn` told after each that had a draft."""

    limit: int = MAX_DRAFT_TOKENS
    """Of the head's drafts, in tokens."""
    limit_at_rest: int = 0
    """Of drafts without the head, in tokens."""
    num_failures: int = 0
    num_resting: int = 0
    next_rest: int = REST_PASSES
    is_resting: bool = False

    def next_limit(self) -> int:
        """Most tokens of the next draft; `is_resting` says whether it is to be made without the head."""
        self.is_resting = self.num_resting > 0
        self.num_resting -= self.is_resting
        return self.limit_at_rest if self.is_resting else self.limit

    def learn(self, num_drafted: int, num_right: int) -> None:
        if not num_drafted:
            return
        if self.is_resting:
            limit = 2 * self.limit_at_rest if num_right else self.limit_at_rest // 2
            self.limit_at_rest = min(MAX_TOKENS_AT_REST, limit)
            return
        if num_right == num_drafted:
            self.limit = min(MAX_DRAFT_TOKENS, 2 * self.limit)
        elif num_right < POOR_SHARE * num_drafted:
            self.limit = max(MIN_TOKENS, self.limit // 2)
        if num_right >= min(MIN_RIGHT, num_drafted):
            self.num_failures, self.next_rest = 0, REST_PASSES
            return
        self.num_failures += 1
        if self.num_failures == MAX_FAILURES:
            self.num_failures, self.num_resting = 0, self.next_rest
            self.limit_at_rest = MAX_TOKENS_AT_REST
            self.next_rest = min(MAX_REST_PASSES, 2 * self.next_rest)
