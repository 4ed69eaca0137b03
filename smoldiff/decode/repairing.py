"""A call on its way from doubtful to valid: what may stay becomes constant, the rest is planned anew."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from smoldiff.decode.foreign import ForeignCall
from smoldiff.decode.gate import read_whole
from smoldiff.decode.given import narrow
from smoldiff.decode.keeping import Keeping, constant, keep_sure, narrowed
from smoldiff.decode.model import Model
from smoldiff.decode.options import CallOptions, checked
from smoldiff.decode.request import Plan, choose_tools, plan
from smoldiff.decode.result import CallResult, Stats, ToolCall
from smoldiff.errors import RequestError
from smoldiff.schema.source import Source, read_source
from smoldiff.template.template import unroll

NOTHING = Keeping(None, (), {})
"""Of a call of a tool that is not there, nothing is kept: what its arguments meant is not known."""


@dataclass(frozen=True, eq=False)
class Repairing:
    """A call to be repaired. `begin_repair` makes one."""

    model: Model
    schema: Any
    options: CallOptions
    keeping: Keeping
    is_known: bool
    """Whether the call is of a tool, or a value of the schema, that is there."""

    @property
    def is_whole(self) -> bool:
        """Whether the call is valid and sure, so that nothing has to be written."""
        return self.is_known and self.keeping.is_whole

    @property
    def open_places(self) -> str:
        """What has to be written, for people."""
        whole = not self.is_known or "" in self.keeping.doubtful
        return "the whole call" if whole else ", ".join(self.keeping.doubtful)

    def tries(self) -> Iterator[frozenset[str]]:
        """What to keep, less and less of it: kept values may contradict each other under the schema."""
        most, num_dropped = len(self.keeping.kept), 0
        while num_dropped < most:
            yield self.keeping.surest(num_dropped)
            num_dropped = 2 * num_dropped + 1
        yield frozenset()

    def plan(self, kept: frozenset[str]) -> Plan:
        """What is written where these values are kept. Raises as `request.plan` does."""
        return plan(
            self.model,
            self.schema,
            self.options,
            lambda source: narrowed(source, self.keeping, kept),
        )

    def result(self, written: CallResult, kept: frozenset[str]) -> CallResult:
        """The answer that was written, with what was kept of the call."""
        calls = tuple(self._rated(call, kept) for call in written.calls)
        return replace(
            written, calls=calls, kept=tuple(at for at in self.keeping.kept if at in kept)
        )

    def _rated(self, call: ToolCall, kept: frozenset[str]) -> ToolCall:
        """A kept value stays as sure as it was."""
        known = {at: chance for at, chance in self.keeping.kept.items() if at in kept}
        return replace(call, confidence={**call.confidence, **known})

    def unchanged(self) -> CallResult:
        """The call as it is, less the keys that the schema does not know. Raises as `request.plan` does."""
        options = CallOptions(
            tool_choice=self.options.get("tool_choice"), limits=self.options.get("limits")
        )
        what = plan(self.model, self.schema, options, lambda source: constant(source, self.keeping))
        template = unroll(what.scaffold, self.model.vocabulary)
        text, form = template.text({}), what.form
        calls = read_whole(text, form.source, form.call_style)
        stats = Stats(answer_tokens=len(template.ids))
        stats.ms["compile"] = what.plan_ms
        written = CallResult(calls, None, text, template.fill({}), "tool_calls", stats)
        return self.result(written, frozenset(self.keeping.kept))


def begin_repair(
    model: Model, call: ForeignCall, schema: Any, least: float, options: CallOptions
) -> Repairing:
    """What of a call may stay where a confidence of `least` is enough. Raises RequestError, SchemaError."""
    given: dict[str, Any] = {**checked(options)}
    if isinstance(least, bool) or not isinstance(least, int | float) or not 0 <= least <= 1:
        raise RequestError(f"keep={least!r}: expected a number in 0..1")
    if "tool_choice" in given:
        raise RequestError("tool_choice: a repaired call keeps its tool; leave it out")
    source = read_source(schema)
    name = _tool(source, call)
    if name is not None:
        given["tool_choice"] = name
        source, _ = choose_tools(source, name)
    is_known = name is not None or not source.tools
    given["parallel_tool_calls"] = False
    keeping = NOTHING
    if is_known:
        source = narrow(source, given.get("given") or {})
        judging = source.tools[0].parameters if source.tools else source.schema
        keeping = keep_sure(call, judging, least)
    return Repairing(model, schema, CallOptions(**given), keeping, is_known)  # type: ignore[typeddict-item]


def _tool(source: Source, call: ForeignCall) -> str | None:
    """The tool that is called: by its name, else the only one there is."""
    if call.name in source.names:
        return call.name
    return source.names[0] if len(source.names) == 1 else None
