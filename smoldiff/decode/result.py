"""What a caller gets back."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One valid call. `name` is None where a bare schema was given."""

    name: str | None
    arguments: Any
    text: str
    """The arguments as the model wrote them."""
    confidence: Mapping[str, float] = field(default_factory=dict, compare=False)
    """JSON pointer into the arguments -> 0..1, the chance that the value there is right; for every value that holds no
    other ("" for arguments that are one). Empty where a scorer filled the answer."""

    def to_openai(self, call_id: str = "call_0") -> dict[str, Any]:
        """The call in the form of OpenAI's API: `arguments` as a JSON string."""
        function = {"name": self.name, "arguments": self.text}
        return {"id": call_id, "type": "function", "function": function}


STAGES = ("compile", "prompt", "prefill", "base", "draft", "verify")
"""Options and schema; chat template; the base's first pass; its further passes; drafting; choosing tokens."""


@dataclass(slots=True)
class Stats:
    """What an answer cost. Milliseconds are wall time; in a batch, passes and their time are those of the whole batch."""

    prompt_tokens: int = 0
    answer_tokens: int = 0
    base_passes: int = 0
    """Passes of the base after the prefill."""
    head_passes: int = 0
    drafts: int = 0
    drafted: int = 0
    """Tokens drafted, over all drafts."""
    accepted: int = 0
    """Drafted tokens that were right."""
    first_draft_accepted: int = 0
    """Right tokens of the first draft that stood in a pass after the prefill."""
    forced: int = 0
    """Tokens taken without asking the base (mode "ar" with skip_forced)."""
    remasked: int = 0
    """Invalid answers that were ruled out and written anew from where they went wrong."""
    near_ties: int = 0
    """Positions where rounding could have chosen another token."""
    ms: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))

    @property
    def accepted_per_draft(self) -> float:
        return self.accepted / self.drafts if self.drafts else 0.0

    @property
    def total_ms(self) -> float:
        return sum(self.ms.values())


@dataclass(frozen=True, slots=True)
class CallResult:
    """The model's whole answer: its calls, or text where the model chose to answer in text.

    `name`, `arguments` and `confidence` are those of the first call.
    """

    calls: tuple[ToolCall, ...]
    content: str | None
    """Text before the calls, or instead of them (tool_choice="auto"); None where there is none."""
    text: str
    """The answer as the model wrote it, with its frame."""
    token_ids: tuple[int, ...]
    finish_reason: str
    """"tool_calls", "stop" (text), or "length" (text cut at max_tokens)."""
    stats: Stats
    kept: tuple[str, ...] = ()
    """Of a repaired call: the pointers of the values that were taken over from the call it was repaired from."""

    @property
    def name(self) -> str | None:
        return self.calls[0].name if self.calls else None

    @property
    def arguments(self) -> Any:
        return self.calls[0].arguments if self.calls else None

    @property
    def confidence(self) -> Mapping[str, float]:
        return self.calls[0].confidence if self.calls else {}

    def to_openai(self) -> dict[str, Any]:
        """The answer as an assistant message of OpenAI's API."""
        message: dict[str, Any] = {"role": "assistant", "content": self.content}
        if self.calls:
            message["tool_calls"] = [c.to_openai(f"call_{i}") for i, c in enumerate(self.calls)]
        return message

    def to_json(self) -> str:
        """One JSON line with calls and their confidence, content, finish reason and statistics; what a repair kept."""
        stats: Mapping[str, Any] = {
            name: getattr(self.stats, name) for name in self.stats.__dataclass_fields__
        }
        calls = [
            {"name": c.name, "arguments": c.arguments, "confidence": dict(c.confidence)}
            for c in self.calls
        ]
        return json.dumps(
            {
                "calls": calls,
                "content": self.content,
                "finish_reason": self.finish_reason,
                **({"kept": self.kept} if self.kept else {}),
                "stats": stats,
            },
            ensure_ascii=False,
        )
