"""How JSON is spaced. A scaffold writes one style only: free whitespace lets a model stall."""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class JsonStyle:
    """The separators between items, and between a key and its value."""

    item_separator: str = ", "
    key_separator: str = ": "

    def dumps(self, value: object) -> str:
        """A value as this style writes it, non-ASCII characters as they are."""
        return json.dumps(
            value, ensure_ascii=False, separators=(self.item_separator, self.key_separator)
        )


SPACED = JsonStyle()
COMPACT = JsonStyle(",", ":")
