"""Attempts of runs that other processes own: taken from their offers, run here, reported by mail to the run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from dbos_core import mailbox
from dbos_core.activities.attempt import Attempt, RunRef
from dbos_core.activities.execution import AttemptExecution
from dbos_core.activities.moves import State
from dbos_core.activities.operating import Operated, changed
from dbos_core.activities.spec import ActivityRow, AttemptOutcome, OutcomeKind, kernel_failure
from dbos_core.activities.wire import left_open_mail, outcome_mail, read_offer
from dbos_core.commit import Commit, LoadedRun, Mail, Verdict
from dbos_core.errors import BadCommit, StoreUnavailable
from dbos_core.failpoints import hit

if TYPE_CHECKING:
    from dbos_core.activities.carrier import Carrier, Writer
    from dbos_core.activities.lanes import Lane, TaskQueue
    from dbos_core.store.base import HeartbeatAnswer, OfferedActivity

logger = logging.getLogger(__name__)

CLAIM_MAX = 64
"""At most so many attempts are taken at once, so that other processes get some of a large offer."""

LATELY_MS = 60_000
"""How long an attempt that ended here is remembered: longer than its mail takes."""
LATELY_MAX = 10_000


class ActivityStore(Protocol):
    """What activities need of ``store.base.Store``."""

    async def claim_activities(self, process_id: str, queues: Sequence[str], limit: int) -> list[OfferedActivity]: ...

    async def withdraw_activity(self, workflow_uuid: str, seq: int, attempt: int, *, keep: bool = False) -> bool: ...

    async def heartbeat(
        self, workflow_uuid: str, seq: int, attempt: int, details: str | None, worker: str
    ) -> HeartbeatAnswer: ...

    async def load(self, workflow_uuids: Sequence[str]) -> list[LoadedRun]: ...


class ClaimedAttempts:
    """Part of an :class:`~dbos_core.activities.service.ActivityService`; home of the attempts that it took."""

    def __init__(self, service: Carrier, store: ActivityStore, writer: Writer) -> None:
        self._service = service
        self._store = store
        self._writer = writer
        self._executions: dict[tuple[str, int], AttemptExecution] = {}
        self._lately: dict[tuple[str, int], tuple[int, int]] = {}
        """Attempts that ended here: number and time."""
        self._under_way: set[str] = set()
        """Queues of which a claim is under way."""

    def has(self, row: ActivityRow) -> bool:
        """Is this attempt one that we took, so that its owner need only wait for mail?

        It runs here; or the answer of its claim is on its way; or it has ended and its mail may be on its way.
        """
        if row.offered and row.task_queue in self._under_way:
            return True
        key = (row.workflow_uuid, row.seq)
        execution = self._executions.get(key)
        if execution is not None:
            return execution.attempt.attempt == row.attempt
        return self._lately.get(key, (0, 0))[0] == row.attempt

    # -- taking them ---------------------------------------------------------------------------------------------------

    def claim(self, queue: TaskQueue) -> None:
        """Take what is offered on a queue with free slots, one claim at a time."""
        # Half of the free slots, so that our own attempts need not wait for the answer.
        slots = queue.take_slots(min(CLAIM_MAX, (queue.free + 1) // 2))
        if slots:
            queue.claiming = True
            self._service.spawn(self._claim(queue, slots), f"claim activities of {queue.name}")

    async def _claim(self, queue: TaskQueue, slots: list[Lane]) -> None:
        wanted = len(slots)
        queue.offers_wait = False  # an offer that is announced meanwhile sets it again
        taken: list[OfferedActivity] = []
        self._under_way.add(queue.name)
        try:
            taken = await self._store.claim_activities(self._service.process_id, [queue.name], wanted)
            queue.offers_wait |= len(taken) == wanted
        except StoreUnavailable as error:
            logger.warning(
                "activities of queue %r could not be claimed (%s); the next poll tries again", queue.name, error
            )
        finally:
            queue.claiming = False
            self._under_way.discard(queue.name)
            for offered in taken:
                self._begin_or_refuse(offered, slots.pop())
            queue.give_back(*slots)
        queue.pump()

    def _begin_or_refuse(self, offered: OfferedActivity, lane: Lane) -> None:
        """One that cannot be read (made by a newer release) fails with that reason; its neighbours start."""
        row = offered.row
        try:
            self._begin(offered, lane)
        except (ValueError, KeyError, TypeError) as error:
            logger.exception("activity %d of workflow %r cannot be read", row.seq, offered.workflow_id)
            record = kernel_failure(type(error).__name__, f"The offered activity cannot be read: {error!r}")
            outcome = AttemptOutcome(kind=OutcomeKind.FAILED, record=record, error_type=type(error).__name__)
            token = self._service.token(row.workflow_uuid, row.seq, row.attempt)
            self._send(row.workflow_uuid, "unread", token, outcome_mail(row.seq, row.attempt, outcome), None)
            lane.queue.give_back(lane)

    def _begin(self, offered: OfferedActivity, lane: Lane) -> None:
        row, service = offered.row, self._service
        machine = service.machine_of(row.workflow_uuid, row.seq)
        if (
            machine is not None
            and machine.state in (State.OFFERED, State.WITHDRAWING)
            and machine.attempt == row.attempt
        ):  # our own run's: no need for mail
            machine.slot = lane
            service.act(machine, machine.taken(service.now_ms(), row))
            return
        if row.spec is None:
            raise ValueError("an offered activity without its spec")
        spec = read_offer(row.spec)
        attempt = Attempt(
            token=service.token(row.workflow_uuid, row.seq, row.attempt),
            run=RunRef(row.workflow_uuid, offered.workflow_id, offered.run_id, offered.workflow_type),
            spec=spec,
            attempt=row.attempt,
            due_ms=row.due_ms,
            started_ms=service.now_ms(),
            heartbeat=row.heartbeat,
        )
        execution = AttemptExecution(attempt, self, lane.executor, service.clock, lane.throttle)
        execution.lane = lane
        if row.cancel_requested:
            execution.request_cancel()
        self._executions[row.workflow_uuid, row.seq] = execution
        service.start_execution(execution)

    # -- home ----------------------------------------------------------------------------------------------------------

    def attempt_ended(self, execution: AttemptExecution, outcome: AttemptOutcome) -> None:
        attempt = execution.attempt
        self._remove(execution)
        outcome.started_ms = attempt.started_ms
        outcome.identity = outcome.identity or execution.worker
        run, seq, number = attempt.run.workflow_uuid, attempt.spec.seq, attempt.attempt
        hit("activity.before_report")

        def refused() -> None:
            record = kernel_failure("BadCommit", "The outcome of the activity could not be stored.")
            bad = AttemptOutcome(
                kind=OutcomeKind.FAILED, error_type="BadCommit", non_retryable=True, record=record,
                identity=outcome.identity, started_ms=attempt.started_ms,
            )  # fmt: skip
            self._send(run, "refused", attempt.token, outcome_mail(seq, number, bad), None)

        self._send(run, "ended", attempt.token, outcome_mail(seq, number, outcome), refused)

    def attempt_beat(self, execution: AttemptExecution, details: str | None) -> None:
        self._service.spawn(self._beat(execution, details), "heartbeat of an activity")

    def left_open(self, execution: AttemptExecution, worker: str) -> None:
        """The owner takes its clocks over. ``worker``: identity of the one that ran it."""
        attempt = execution.attempt
        self._remove(execution)
        execution.disown()
        message = left_open_mail(attempt.spec.seq, attempt.attempt, attempt.started_ms, worker)
        self._send(attempt.run.workflow_uuid, "open", attempt.token, message, None)

    # -- inside --------------------------------------------------------------------------------------------------------

    async def _beat(self, execution: AttemptExecution, details: str | None) -> None:
        attempt, worker = execution.attempt, self._service.process_id
        details = attempt.heartbeat if details is None else details
        try:
            answer = await self._store.heartbeat(
                attempt.run.workflow_uuid, attempt.spec.seq, attempt.attempt, details, worker
            )
        except StoreUnavailable as error:
            logger.warning("a heartbeat of activity %r was not stored: %s", attempt.spec.activity_id, error)
            return
        except BadCommit as error:
            logger.warning("heartbeat details of activity %r cannot be stored: %s", attempt.spec.activity_id, error)
            return
        if execution.home is None:
            return
        if not answer.wanted:
            self._remove(execution)
            execution.not_found()
        elif answer.cancel:
            execution.deliver_cancel()
        elif answer.operator is not None or execution.is_operated:
            operated = Operated.read(answer.operator)
            spec = changed(attempt.spec, operated.changes)
            execution.operated_elsewhere(spec, paused=operated.pause is not None, reset=operated.reset)

    def _remove(self, execution: AttemptExecution) -> None:
        key = execution.attempt.run.workflow_uuid, execution.attempt.spec.seq
        if self._executions.get(key) is execution:
            del self._executions[key]
        now = self._service.now_ms()
        self._lately[key] = (execution.attempt.attempt, now)
        while len(self._lately) > LATELY_MAX or next(iter(self._lately.values()))[1] < now - LATELY_MS:
            del self._lately[next(iter(self._lately))]

    def _send(
        self, workflow_uuid: str, what: str, token: bytes, message: str, refused: Callable[[], None] | None
    ) -> None:
        # The token is unique per attempt and process, so a repeat is the same mail and a second life is another one.
        mail = Mail(
            mail_id=f"{mailbox.OWN_ID}{what}:{token.decode()}",
            workflow_uuid=workflow_uuid,
            topic=mailbox.ACTIVITY,
            message=message,
        )

        def done(verdict: Verdict | BadCommit) -> None:
            if isinstance(verdict, BadCommit):
                logger.warning("the outcome of an activity of run %s cannot be stored: %s", workflow_uuid, verdict)
                if refused is not None:
                    refused()

        self._writer.submit(Commit(workflow_uuid=workflow_uuid, fenced=False, mail=(mail,)), done)
