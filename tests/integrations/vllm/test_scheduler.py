"""An engine turns with its scheduler only where no step is under way, and takes drafts only after steps of one's own."""

import time
from collections import deque
from types import SimpleNamespace

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed here; `make test-vllm` has it")

from vllm.v1.core.sched.scheduler import Scheduler

from smoldiff_integrations.vllm.pace import NUM_TRIED, NUM_TRIED_BESIDE, Pace
from smoldiff_integrations.vllm.scheduler import DraftScheduler, follow


class Engine:
    """vLLM's EngineCore, as far as it is used."""

    def __init__(self, scheduler):
        self.scheduler, self.batch_queue, self.did = scheduler, deque(), []
        self.async_scheduling = True

    def step(self):
        self.did.append("step")
        return {}, True

    def step_with_batch_queue(self):
        if self.scheduler.has_requests():
            self.did.append("begin")
            self.batch_queue.appendleft("under way")
        else:
            self.did.append("finish")
            self.batch_queue.pop()
        return {}, True

    def post_step(self, model_executed):
        if not self.async_scheduling and model_executed:
            self.scheduler.update_draft_token_ids("drafts")

    def go_on(self):
        """As vLLM's loop does."""
        _, is_executed = self.step_with_batch_queue()
        self.post_step(is_executed)


class Ahead(DraftScheduler):
    def __init__(self, requests):
        self.can_turn = self.is_ahead = True
        self.is_held = self.is_quiet = self._fills_drafts = False
        self.requests, self.running = requests, [*requests.values()]
        self.max_num_running_reqs, self.num_spec_tokens = 8, 64
        self._with_schema, self._pace = set(), Pace(spares_text=False)
        self._is_drafting, self._is_beside, self._last = True, False, None
        self._num_rows = self._num_decided = 0
        self.prev_step_scheduled_req_ids = {"a"}
        self.drafts = []

    def get_num_unfinished_requests(self):
        return len(self.requests)

    def has_finished_requests(self):
        return False

    def update_draft_token_ids(self, drafts):
        self.drafts.append(drafts)


@pytest.fixture
def engine():
    class Own(Engine):
        pass

    for _ in range(2):
        follow(Own)
    return Own(Ahead({"a": SimpleNamespace(spec_token_ids=["a draft"])}))


def add_one_with_schema(scheduler):
    scheduler.requests["b"] = SimpleNamespace(spec_token_ids=[])
    scheduler._with_schema.add("b")


def test_without_a_schema_it_runs_ahead(engine):
    for _ in range(2):
        engine.go_on()
    assert engine.did == ["begin", "begin"]
    assert engine.scheduler.prev_step_scheduled_req_ids == {"a"}
    assert not engine.scheduler.drafts


def test_before_it_turns_it_finishes_what_is_under_way(engine):
    engine.go_on()
    add_one_with_schema(engine.scheduler)
    for _ in range(3):
        engine.go_on()
    assert engine.did == ["begin", "finish", "step", "step"]
    assert engine.scheduler.drafts == ["drafts", "drafts"]
    assert not engine.scheduler.prev_step_scheduled_req_ids  # the worker is told all tokens
    assert engine.scheduler.has_requests()


def test_when_the_last_with_a_schema_is_done_it_runs_ahead_again(engine):
    add_one_with_schema(engine.scheduler)
    engine.go_on()
    del engine.scheduler.requests["b"]
    engine.go_on()
    assert engine.did == ["step", "begin"]


def test_while_drafts_do_not_pay_it_stays_ahead(engine, monkeypatch):
    monkeypatch.setattr(
        Pace, "is_ahead", lambda self, num_rows, has_free: (num_rows, has_free) == (2, True)
    )
    add_one_with_schema(engine.scheduler)
    engine.go_on()
    assert engine.did == ["begin"]
    del engine.scheduler.requests["a"]
    engine.scheduler._num_decided = 0
    for _ in range(2):
        engine.go_on()
    assert engine.did == ["begin", "finish", "step"]
    del engine.scheduler.requests["b"]
    engine.scheduler.requests["c"] = last = SimpleNamespace(spec_token_ids=["a draft"])
    engine.scheduler.running = [last]
    engine.go_on()
    assert last.spec_token_ids == []  # no step ahead has drafts


def test_beside_text_there_are_no_drafts_until_they_are_known_to_be_free(engine):
    scheduler = engine.scheduler
    scheduler._pace = Pace()
    add_one_with_schema(scheduler)
    engine.go_on()
    assert engine.did == ["begin"]
    for _ in range(NUM_TRIED_BESIDE):
        scheduler._pace.add(True, 2, True, 2, 3.0)
    del scheduler.requests["a"]  # the one without a schema: it is asked anew at once
    for _ in range(2):
        engine.go_on()
    assert engine.did == ["begin", "finish", "step"]
    for _ in range(NUM_TRIED_BESIDE):
        scheduler._pace.add(False, 2, True, 9, 3.0)
    scheduler.requests["c"] = SimpleNamespace(spec_token_ids=[])
    engine.go_on()
    assert engine.did[-1] == "step"
    for _ in range(NUM_TRIED_BESIDE):
        scheduler._pace.add(False, 2, True, 9, 4.0)
    engine.go_on()
    assert engine.did[-1] == "begin"  # at once


@pytest.fixture
def scheduled(monkeypatch):
    """What vLLM schedules, whatever it is."""
    given = SimpleNamespace()

    def schedule(self):
        self._update_after_schedule(given)
        return given

    monkeypatch.setattr(Scheduler, "schedule", schedule)
    monkeypatch.setattr(Scheduler, "_update_after_schedule", lambda *_: None)
    return given


def test_one_step_after_the_other_the_worker_is_told_when_nothing_is_drafted(
    scheduled, monkeypatch
):
    monkeypatch.setattr(Scheduler, "update_from_output", lambda *_: {})
    times = iter(range(1000))
    monkeypatch.setattr(time, "perf_counter", lambda: 0.01 * next(times))
    scheduler = Ahead({"a": SimpleNamespace(spec_token_ids=[])})
    scheduler.can_turn = scheduler.is_ahead = False  # as on a CPU
    scheduler._pace = Pace()

    def steps(num, **num_scheduled):
        said = []
        scheduled.num_scheduled_tokens = num_scheduled
        scheduled.total_num_scheduled_tokens = sum(num_scheduled.values())
        scheduled.scheduled_spec_decode_tokens = {}
        for _ in range(num):
            output = scheduler.schedule()
            scheduler.update_from_output(output, SimpleNamespace(sampled_token_ids=[[5], [6]]))
            said.append(output.is_quiet)
        return said

    assert steps(2, a=1) == [True, True]
    add_one_with_schema(scheduler)
    beside = steps(2 * NUM_TRIED, a=1, b=1)
    assert beside[:NUM_TRIED_BESIDE] == [True] * NUM_TRIED_BESIDE
    assert not beside[-1]  # they were tried, and take as long
    del scheduler.requests["a"]
    scheduler._pace = Pace()
    assert steps(40, b=1) == [False] * 40  # by themselves the worker knows what they cost
    assert not scheduler._pace.ways


@pytest.mark.usefixtures("scheduled")
def test_on_a_cpu_a_quiet_step_has_no_drafts_and_the_worker_is_not_asked_for_any(engine):
    scheduler = engine.scheduler
    scheduler._pace = Pace()
    scheduler.can_turn = scheduler.is_ahead = engine.async_scheduling = False
    add_one_with_schema(scheduler)
    text = scheduler.requests.pop("a")
    call = scheduler.requests["b"]
    scheduler.running, call.spec_token_ids = [call], ["a draft"]
    scheduler.schedule()
    engine.post_step(True)
    assert call.spec_token_ids
    assert scheduler.drafts == ["drafts"]
    scheduler.requests["a"] = text
    scheduler.schedule()
    engine.post_step(True)
    assert not call.spec_token_ids  # text does not wait for what was drafted before it came
    assert scheduler.drafts == ["drafts"]


def test_steps_of_requests_with_a_schema_are_timed(engine, monkeypatch):
    monkeypatch.setattr(time, "perf_counter", iter([1.0, 1.01, 1.03, 1.04]).__next__)
    timed = []
    skipped = []
    monkeypatch.setattr(Pace, "add", lambda self, *step: timed.append(step))
    monkeypatch.setattr(Pace, "skip", lambda self, *step: skipped.append(step))
    add_one_with_schema(engine.scheduler)

    def step(is_ahead, drafted=(), **num_scheduled):
        output = SimpleNamespace(
            num_scheduled_tokens=num_scheduled,
            total_num_scheduled_tokens=sum(num_scheduled.values()),
            scheduled_spec_decode_tokens={"b": drafted} if drafted else {},
            is_ahead=is_ahead,
        )
        engine.scheduler._time(output, SimpleNamespace(sampled_token_ids=[[5], [6, 7]]))

    step(False, a=1, b=1)  # the first one tells no time
    step(False, [6, 8], a=1, b=3)
    step(False, a=40, b=1)  # a prompt was read
    step(True, a=1, b=1)
    assert [(*one[:4], round(one[4])) for one in timed] == [
        (False, 2, True, 3, 10),
        (True, 2, True, 3, 10),
    ]
    assert skipped == [(2, True)]


def test_another_scheduler_keeps_vllms_way(engine):
    engine.scheduler = SimpleNamespace(has_requests=lambda: True)
    engine.go_on()
    assert engine.did == ["begin"]
