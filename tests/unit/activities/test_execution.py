"""One running attempt: clocks, heartbeats and their throttle, cancellation, shutdown, exactly one outcome."""

from __future__ import annotations

from dbos_core.activities.attempt import Attempt, CancelReason, make_token, parse_token
from dbos_core.activities.execution import AttemptExecution, Throttle
from dbos_core.activities.spec import AttemptOutcome, OutcomeKind, TimeoutKind
from dbos_core.testing.clock import VirtualClock
from tests.unit.activities.support import RUN, START, Notes, canceled, completed, failed, spec


class Here:
    """A home that remembers what it heard, and the whole little world around one attempt."""

    def __init__(self, throttle: Throttle | None = None, **changes) -> None:
        self.clock = VirtualClock(START)
        self.notes = Notes()
        self.outcomes: list[AttemptOutcome] = []
        self.beats: list[tuple[int, str | None]] = []
        attempt = Attempt(
            token=make_token("n", RUN.workflow_uuid, 1, 2), run=RUN, spec=spec(**changes), attempt=2, due_ms=START,
            started_ms=START, heartbeat=None,
        )  # fmt: skip
        self.notes.start(attempt)
        self.execution = AttemptExecution(attempt, self, self.notes, self.clock, throttle or Throttle())

    def attempt_ended(self, execution: AttemptExecution, outcome: AttemptOutcome) -> None:
        self.outcomes.append(outcome)

    def attempt_beat(self, execution: AttemptExecution, details: str | None) -> None:
        self.beats.append((self.clock.now_ms() - START, details))

    @property
    def cancels(self) -> list[CancelReason]:
        return [reason for _, reason in self.notes.cancels]


async def test_start_to_close_ends_it_and_tells_the_function():
    here = Here(start_to_close_ms=5_000)
    await here.clock.advance(4_999)
    assert here.outcomes == []
    await here.clock.advance(1)
    assert [(o.kind, o.timeout) for o in here.outcomes] == [(OutcomeKind.TIMED_OUT, TimeoutKind.START_TO_CLOSE)]
    assert here.cancels == [CancelReason.TIMED_OUT]


async def test_what_comes_after_the_timeout_is_dropped():
    here = Here(start_to_close_ms=5_000)
    await here.clock.advance(5_000)
    here.execution.completed(completed())
    here.execution.beat('"late"')
    assert len(here.outcomes) == 1
    assert here.beats == []
    assert here.cancels == [CancelReason.TIMED_OUT], "one cancel is enough"


async def test_the_outcome_is_reported_once_and_stops_the_clocks():
    here = Here(start_to_close_ms=5_000, heartbeat_ms=1_000)
    here.execution.completed(completed())
    here.execution.completed(failed())
    await here.clock.advance(10_000)
    assert [o.kind for o in here.outcomes] == [OutcomeKind.COMPLETED]
    assert here.clock.next_ms is None


async def test_an_attempt_that_stops_beating_times_out():
    here = Here(heartbeat_ms=1_000)
    await here.clock.advance(900)
    here.execution.beat('"a"')
    await here.clock.advance(999)
    assert here.outcomes == []
    await here.clock.advance(1)
    assert [(o.timeout, o.heartbeat) for o in here.outcomes] == [(TimeoutKind.HEARTBEAT, '"a"')]


async def test_heartbeats_are_throttled_and_the_newest_wins():
    here = Here(heartbeat_ms=1_000)
    for details in ("1", "2", "3"):
        here.execution.beat(details)
    assert here.beats == [(0, "1")], "the first goes through at once"
    await here.clock.advance(799)
    assert len(here.beats) == 1
    await here.clock.advance(1)
    assert here.beats[1:] == [(800, "3")]
    await here.clock.advance(150)
    here.execution.beat("4")
    assert len(here.beats) == 2, "the interval begins anew with each one that goes through"


async def test_without_a_heartbeat_timeout_the_default_interval_holds():
    here = Here(Throttle(default_ms=2_000, max_ms=1_500))
    here.execution.beat("1")
    here.execution.beat("2")
    await here.clock.advance(1_500)
    assert here.beats == [(0, "1"), (1_500, "2")]


def test_the_interval_stays_below_the_timeout():
    throttle = Throttle()
    assert throttle.interval_ms(None) == 30_000
    assert throttle.interval_ms(1_000) == 800
    assert throttle.interval_ms(600_000) == 60_000


async def test_a_failure_carries_details_that_the_throttle_held_back():
    here = Here(heartbeat_ms=10_000)
    here.execution.beat("1")
    here.execution.beat("2")
    here.execution.completed(failed())
    assert here.outcomes[0].heartbeat == "2"
    await here.clock.advance(20_000)
    assert here.beats == [(0, "1")]


async def test_a_success_does_not_carry_details():
    here = Here()
    here.execution.beat("1")
    here.execution.completed(completed())
    assert here.outcomes[0].heartbeat is None


async def test_a_cancel_is_delivered_by_the_next_heartbeat_and_once():
    here = Here(heartbeat_ms=10_000)
    here.execution.request_cancel()
    await here.clock.advance(5_000)
    assert here.cancels == [], "an attempt that never heartbeats never learns"
    here.execution.beat("1")
    here.execution.beat("2")
    assert here.cancels == [CancelReason.CANCELLED]
    here.execution.completed(canceled())
    assert here.outcomes[0].kind is OutcomeKind.CANCELED
    assert here.outcomes[0].heartbeat == "2"


async def test_a_cancel_lets_a_held_back_heartbeat_through():
    here = Here(heartbeat_ms=60_000)
    here.execution.beat("1")
    here.execution.beat("2")
    here.execution.request_cancel()
    assert here.beats == [(0, "1"), (0, "2")]
    assert here.cancels == [CancelReason.CANCELLED]


async def test_a_cancel_learnt_from_a_heartbeats_answer_is_delivered_once():
    here = Here()
    here.execution.deliver_cancel()
    here.execution.deliver_cancel()
    assert here.cancels == [CancelReason.CANCELLED]


async def test_a_shutdown_is_a_failure_that_is_tried_again():
    here = Here()
    here.execution.beat('"page 9"')
    here.execution.shut_down()
    assert here.cancels == [CancelReason.WORKER_SHUTDOWN]
    here.execution.completed(canceled())
    (outcome,) = here.outcomes
    assert (outcome.kind, outcome.error_type, outcome.record, outcome.heartbeat, outcome.non_retryable) == (
        OutcomeKind.FAILED, "WorkerShutdown", '"worker shutdown"', '"page 9"', False,
    )  # fmt: skip


async def test_a_function_that_finishes_during_shutdown_has_finished():
    here = Here()
    here.execution.shut_down()
    here.execution.completed(completed())
    assert here.outcomes[0].kind is OutcomeKind.COMPLETED


async def test_a_cancel_that_came_before_the_shutdown_stays_a_cancel():
    here = Here()
    here.execution.deliver_cancel()
    here.execution.shut_down()
    here.execution.completed(canceled())
    assert here.cancels == [CancelReason.CANCELLED]
    assert here.outcomes[0].kind is OutcomeKind.CANCELED


async def test_an_attempt_that_nobody_waits_for_learns_it_by_its_heartbeat():
    here = Here(start_to_close_ms=5_000)
    here.execution.disown()
    assert here.cancels == []
    here.execution.beat("1")
    here.execution.beat("2")
    assert here.cancels == [CancelReason.NOT_FOUND]
    here.execution.completed(failed())
    await here.clock.advance(9_000)
    assert here.outcomes == []


async def test_an_attempt_left_open_keeps_its_clocks():
    here = Here(start_to_close_ms=5_000, heartbeat_ms=2_000)
    here.execution.leave_open()
    await here.clock.advance(1_500)
    here.execution.beat("1")
    here.execution.request_cancel()
    here.execution.beat("2")
    assert here.cancels == [], "its function has returned: there is nothing to cancel here"
    await here.clock.advance(2_000)
    assert [o.timeout for o in here.outcomes] == [TimeoutKind.HEARTBEAT]


def test_tokens_name_their_attempt():
    token = make_token("abc", "order.42~with.dots", 7, 3)
    assert parse_token(token) == ("order.42~with.dots", 7, 3)
    assert make_token("abd", "order.42~with.dots", 7, 3) != token


def test_foreign_tokens_are_none_of_ours():
    for junk in (b"", b"\xff\xfe", b"dc1.a.b.c.d", b"dc1.a.1", b"xyz.a.1.2.run"):
        assert parse_token(junk) is None
