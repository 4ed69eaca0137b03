"""The drafts of a worker's batch: each request's, what they bring, and what they may cost."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from smoldiff.decode.graphed import Drafts
from smoldiff.scaffold.style import JsonStyle
from smoldiff.template.vocabulary import Vocabulary
from smoldiff_integrations.vllm.context import Row, Step, block_size_of, table_for
from smoldiff_integrations.vllm.counters import Counters
from smoldiff_integrations.vllm.drafting import RequestDrafts
from smoldiff_integrations.vllm.features import FeatureTable
from smoldiff_integrations.vllm.head import ReadyHead
from smoldiff_integrations.vllm.load import Load, fitting
from smoldiff_integrations.vllm.schema import Constraint, NoScaffold, constraint_of, has_schema
from smoldiff_integrations.vllm.warming import warm_up

NO_LIMIT = 1 << 30
MAX_FAULTS = 16
"""Errors after which nothing is drafted any more: each costs time, and none is expected."""

log = logging.getLogger("vllm.smoldiff")


@dataclass(eq=False)
class BatchDrafts:
    """Drafts for one batch after another. Nothing that goes wrong in it reaches a request."""

    vocabulary: Vocabulary
    styles: tuple[JsonStyle, ...]
    """How the server's grammar lets a bare JSON answer be spaced, the likeliest first."""
    parts: frozenset[str]
    """What drafts without a head."""
    max_draft: int
    counters: Counters
    is_logging: bool = False
    """Whether each request's statistics are logged when it is done."""
    head: ReadyHead | None = None
    graph_tokens: int = NO_LIMIT
    """Most tokens of a step that a CUDA graph holds; with more it would take two or three times as long."""
    _table: FeatureTable | None = None
    _requests: dict[str, RequestDrafts] = field(default_factory=dict)
    _free: set[str] = field(default_factory=set)
    """Requests that nothing is drafted for."""
    _load: Load = field(default_factory=Load)
    _num_faults: int = 0

    def draft(self, runner: Any, step: Step, sampled: Sequence[Sequence[int]]) -> list[list[int]]:
        """A draft for each row of the batch, [] for most; never an error."""
        drafts: list[list[int]] = [[] for _ in sampled]
        if self._num_faults >= MAX_FAULTS:
            return drafts
        began = time.perf_counter()
        try:
            self._keep_states(runner, step)
            if not self._requests and self._free == runner.requests.keys():
                return drafts
            rows = list(step.rows(runner, sampled, self._free))
            self._open(runner, step, rows)
        except Exception:  # a fault of ours must not end the server's step
            self._fault("this step has no drafts")
            return drafts
        num_rows = sum(map(bool, sampled))
        for i, row in enumerate(rows):
            if row is None or not row.num_new:
                continue
            try:
                drafts[i] = self._draft(runner, row, step, num_rows)
            except Exception:
                self._requests.pop(row.request_id, None)
                self._free.add(row.request_id)
                self._fault("the request goes on without drafts")
        self._fit(drafts, rows, num_rows)
        self.counters.add("draft_microseconds", round(1e6 * (time.perf_counter() - began)))
        return drafts

    def pass_by(self, runner: Any, step: Step) -> None:
        """A step that nobody is drafted for behind."""
        try:
            self._keep_states(runner, step)
            self._open(runner, step, ())
            for drafts in self._requests.values():
                drafts.rest()
            for one in step.scheduler_output.scheduled_new_reqs:
                if not has_schema(one.sampling_params):
                    self._constraint(one.sampling_params)
                    self._free.add(one.req_id)
        except Exception:  # a fault of ours must not end the server's step
            self._fault("this step was not seen")

    def warm_up(self) -> None:
        """Before the first step: what a first draft with the head would wait for."""
        if self.head is None:
            return
        try:
            warm_up(self.head, self.vocabulary)
        except Exception:  # a fault of ours must not keep the server from starting
            self._fault("the head is off")
            self.drop_head("its first draft failed")

    def drop_head(self, reason: str) -> None:
        """Go on without the head, for good."""
        log.warning("smoldiff drafts without a head: %s", reason)
        self.counters.add("fallbacks", reason="head")
        self.head = self._table = None

    def _open(self, runner: Any, step: Step, rows: Sequence[Row | None]) -> None:
        """Take in what a step says of the whole batch."""
        self._free.intersection_update(runner.requests)
        for request_id in self._requests.keys() - runner.requests.keys():
            drafts = self._requests.pop(request_id)
            if self.is_logging:
                log.info("smoldiff: request %s: %s", request_id, drafts.tally)
        num_tokens = step.scheduler_output.total_num_scheduled_tokens
        if num_tokens == len(rows) + step.num_drafted:
            self._load.step.add(num_tokens, step.ms)  # no part of a prompt was read in it

    def _keep_states(self, runner: Any, step: Step) -> None:
        """Keep every request's states: one with a schema may find another's prefix in the KV cache."""
        if self.head is None:
            return
        try:
            if self._table is None:
                self._table = table_for(runner, len(self.head.head.config.taps), step)
            if self._table is None:
                self.drop_head("the KV cache has several groups")
            else:
                step.keep_states(self._table)
        except Exception:  # out of memory, or states of another shape
            self._fault("the head is off")
            self.drop_head("the model's states could not be kept")

    def _draft(self, runner: Any, row: Row, step: Step, num_rows: int) -> list[int]:
        drafts = self._requests.get(row.request_id)
        if drafts is None and step.is_quiet and has_schema(row.sampling_params):
            return []
        drafts = drafts or self._new(row, num_rows)
        if drafts is None:
            self._free.add(row.request_id)
            return []
        self._requests[row.request_id] = drafts
        began = time.perf_counter()
        self._learn(runner, drafts, row, step, num_rows)
        room, eos_id = self._room(row), _eos_id(row.sampling_params)
        is_whole = not room or (eos_id is not None and row.last == eos_id)
        if is_whole or step.is_quiet:
            drafts.rest()
            return []
        if drafts.has_head and not self._pays(drafts, row, num_rows):
            self.counters.add("fallbacks", reason="load")
            drafts.drop_head()
        if not drafts.has_head and not self._pays(drafts, row, num_rows):
            self.counters.add("fallbacks", reason="load")
            drafts.rest()
            return []
        num_cold = self._num_cold()
        ids = drafts.propose(row.written, room, eos_id)
        num_kept = self._load.length(drafts.labels(len(ids)), num_rows)
        if num_kept < len(ids):
            drafts.cut(num_kept)
            ids = ids[:num_kept]
        if self._num_cold() == num_cold:  # capturing a graph says nothing of what drafts cost
            ms = 1e3 * (time.perf_counter() - began)
            self._load.made(drafts.has_head, drafts.own, ms, num_rows)
        return ids

    def _fit(self, drafts: list[list[int]], rows: Sequence[Row | None], num_rows: int) -> None:
        """Cut the drafts so that the next step fits a graph, if it would without any."""
        room = self.graph_tokens - num_rows
        if room < 0 or sum(map(len, drafts)) <= room:
            return
        lengths = fitting([*map(len, drafts)], room)
        for row in rows:
            if row is not None and lengths[row.index] < len(drafts[row.index]):
                drafts[row.index] = drafts[row.index][: lengths[row.index]]
                self._requests[row.request_id].cut(lengths[row.index])

    def _pays(self, drafts: RequestDrafts, row: Row, num_rows: int) -> bool:
        return self._load.pays(drafts.has_head, num_rows, drafts.own, row.num_written)

    def _num_cold(self) -> int:
        return 0 if self.head is None else Drafts.num_cold_of(self.head.head)

    def _learn(
        self, runner: Any, drafts: RequestDrafts, row: Row, step: Step, num_rows: int
    ) -> None:
        """Take in what the pass said of the row's last draft."""
        num_accepted = min(row.num_new - 1, len(row.drafted))
        self._account(drafts, len(row.drafted), num_accepted, num_rows)
        if drafts.has_head and not self._see(runner, drafts, row, step):
            self.counters.add("fallbacks", reason="states")
            drafts.drop_head()
        if row.candidates is not None:
            drafts.learn(row.drafted, num_accepted, row.candidates)

    def _account(
        self, drafts: RequestDrafts, num_drafted: int, num_accepted: int, num_rows: int
    ) -> None:
        drafts.tally.add(num_drafted, num_accepted)
        if drafts.has_tried:
            self._load.verified(drafts.has_head, drafts.own, num_drafted, num_accepted, num_rows)
        if not num_drafted:
            return
        labels = drafts.labels(num_drafted)
        self._load.learn(labels, num_accepted)
        self.counters.add("drafts")
        for t, (drafter, slot) in enumerate(labels):
            self.counters.add("draft_tokens", drafter=drafter, slot=slot)
            self.counters.add("accepted_tokens", int(t < num_accepted), drafter=drafter, slot=slot)

    def _see(self, runner: Any, drafts: RequestDrafts, row: Row, step: Step) -> bool:
        table = self._table
        if table is None:
            return False
        block_size = block_size_of(runner)
        return drafts.see(
            row.before,
            row.drafted,
            lambda start, stop: step.states_at(table, row, block_size, start, stop),
        )

    def _room(self, row: Row) -> int:
        """Most tokens of the row's next draft: the pass adds one of its own."""
        max_tokens = row.sampling_params.max_tokens
        left = self.max_draft if max_tokens is None else max_tokens - row.num_written - 1
        return max(0, min(self.max_draft, left))

    def _new(self, row: Row, num_rows: int) -> RequestDrafts | None:
        """The drafts of a request, None where nothing can be drafted."""
        constraint = self._constraint(row.sampling_params)
        if constraint is None:
            return None
        head = self.head if self._load.prefers_head(num_rows) else None
        return RequestDrafts(constraint, self.vocabulary, self.parts, row.prompt_ids, head)

    def _constraint(self, params: Any) -> Constraint | None:
        """What a new request may say, None where nothing can be drafted; it is counted."""
        outputs = getattr(params, "structured_outputs", None)
        self.counters.add("requests", kind="free" if outputs is None else "schema")
        if outputs is None:
            return None
        try:
            return constraint_of(outputs, self.styles, self.vocabulary)
        except NoScaffold as problem:
            self.counters.add("fallbacks", reason=str(problem))
            return None

    def _fault(self, what: str) -> None:
        self._num_faults += 1
        self.counters.add("fallbacks", reason="fault")
        log.warning("smoldiff: a fault of the drafter; %s", what, exc_info=True)
        if self._num_faults == MAX_FAULTS:
            log.warning("smoldiff: %d faults; nothing is drafted any more", MAX_FAULTS)


def _eos_id(params: Any) -> int | None:
    """The token that ends an answer, None where it does not end one."""
    return None if params.ignore_eos else params.eos_token_id
