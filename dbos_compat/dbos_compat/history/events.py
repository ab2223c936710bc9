"""Journal → the whole Temporal history of a run: what ``fetch_history`` gives, a UI shows and ``Replayer`` accepts.

Nothing of it is stored. The journal holds what happened and what was asked for (``arrivals``, ``requests``), the run's
row how it began and ended; ``numbering`` says which event has which id. Payloads stay encoded as they are stored.

What differs from a history that a server has written: of the workflow tasks that failed only the first try of the one
that is still failing is in it (``failed_tasks``), none that timed out, and an outcome that came after its activity was
given up (``TRY_CANCEL``, ``ABANDON``) is not either. Messages stand in the order of their delivery, before the task that
handled them (ledger: ``history-details``, ``failed-tasks-in-history``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from google.protobuf.message import Message
from temporalio.api.common.v1 import WorkerVersionStamp
from temporalio.api.enums.v1 import WorkflowTaskFailedCause
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import (
    HistoryEvent,
    WorkflowExecutionContinuedAsNewEventAttributes,
    WorkflowExecutionStartedEventAttributes,
    WorkflowTaskCompletedEventAttributes,
    WorkflowTaskFailedEventAttributes,
    WorkflowTaskScheduledEventAttributes,
    WorkflowTaskStartedEventAttributes,
)
from temporalio.api.sdk.v1 import UserMetadata, WorkflowTaskCompletedMetadata

from dbos_compat.chains.successor import continued_attributes
from dbos_compat.convert.metadata import began_ms, metadata_record
from dbos_compat.convert.records import started
from dbos_compat.convert.search_attributes import encode
from dbos_compat.convert.times import duration_ms
from dbos_compat.history.arrivals import ARRIVALS, cancel_requested, signaled
from dbos_compat.history.attributes import event, user_metadata
from dbos_compat.history.closing import close_event
from dbos_compat.history.failed_tasks import FailedTask, failed_attributes, failed_task
from dbos_compat.history.numbering import ERRANDS, EventIds, Record, TaskIds
from dbos_compat.history.others import Others
from dbos_compat.history.requests import CLOSING, REQUESTS, Asking, admitted, task_queue
from dbos_core.commit import LoadedRun, Mail, RunRow, RunStatus
from dbos_core.mailbox import ACTIVITY, CANCEL, CHILD, NULL_TOPIC, OUTCOME, OWN_ID, UPDATE

CORE_FLAGS = (1, 2, 3)
"""What Temporal's core calls the rules that our journals follow: ids and types are checked, a patch upserts its search
attribute, closing commands come last. A replay on Temporal keeps to them."""

SDK_NAME = "temporal-python"


def events(loaded: LoadedRun, namespace: str = "default", *, now_ms: int = 0) -> list[HistoryEvent]:
    """The history of a run, closed or open, as far as it is journalled, and what waits for it.

    ``now_ms`` matters for a run that was to begin later and has not: is it due by now?
    """
    history = _History(loaded, namespace, now_ms)
    for entry in loaded.entries:
        history.add_task(json.loads(entry.record))
        history.size += len(entry.record)
    if not history.closed:
        failed = failed_task(loaded)
        history.add_waiting(history.add_failed(failed, loaded.mail) if failed is not None else loaded.mail)
        if loaded.run.status is not RunStatus.RUNNING:
            history.add_close(task_completed=0)
    return history.events


class _History:
    """The events so far, and what is needed to write the next."""

    def __init__(self, loaded: LoadedRun, namespace: str, now_ms: int) -> None:
        self.run = loaded.run
        self.end_ms = loaded.run.close_ms or now_ms
        self.started = _started(loaded)
        self.run_timeout_ms = duration_ms(self.started.workflow_run_timeout)
        self.ids = EventIds()
        self.others = Others(loaded.run, self.ids, namespace)
        self.events: list[HistoryEvent] = []
        self.updates: dict[str, Record] = {}
        self.admitted: dict[str, int] = {}
        self.timers: dict[int, str] = {}
        self.flags: set[int] = set()
        self.build_id = ""
        self.closed = False
        self.size = len(loaded.inputs)
        """As the workflow is told it."""
        self._first_task = True
        self._begin()

    def _begin(self) -> None:
        first = event(1, began_ms(self.run), self.started)
        if (given := metadata_record(self.run.metadata).user) is not None:
            first.user_metadata.CopyFrom(given)
        self.events.append(first)

    def add_task(self, record: dict[str, Any]) -> None:
        """One journal record: what happened, the workflow task, what was asked for."""
        at_ms: int = record["at"]
        task = self.ids.begin_task(record["ev"])
        for arrival, event_id in zip(record["ev"], task.events, strict=True):
            if arrival["k"] == "update":
                self._add_update(arrival["m"], event_id, arrival["ms"])
            elif arrival["k"] not in ("start", "resume", "local"):
                self._add_arrival(arrival, event_id, at_ms)
        if "reset" in record:
            self._add_reset(record, task, at_ms)
        else:
            self._add_workflow_task(record, task, at_ms)
        event_ids = self.ids.end_task(task, record["cmds"])
        asking = Asking(self.ids, task, record.get("by") or "", self.run_timeout_ms, self.updates, at_ms)
        asking.admitted = self.admitted
        asking.locals.update({arrival["seq"]: arrival for arrival in record["ev"] if arrival["k"] == "local"})
        for command, event_id in zip(record["cmds"], event_ids, strict=True):
            if command["k"] == "continue_as_new":
                continued = continued_attributes(command, self.started, encode(self.run.search_attributes))
                self.add_close(task_completed=task.completed, continued=continued)
            elif command["k"] in CLOSING:
                self.add_close(task_completed=task.completed)
            elif event_id:
                if command["k"] in ERRANDS:
                    messages: Message | tuple[Message, ...] = self.others.request(command, task.completed)
                else:
                    messages = REQUESTS[command["k"]](command, asking)
                if not isinstance(messages, tuple):
                    messages = (messages,)
                made = [event(event_id, at_ms, m) for event_id, m in enumerate(messages, event_id - len(messages) + 1)]
                if given := self._metadata(command):
                    made[0].user_metadata.CopyFrom(given)
                self.events += made

    def _add_update(self, message: Record, event_id: int, at_ms: int) -> None:
        """An update has no event until it is accepted, unless a reset has brought it."""
        self.updates[message["update_id"]] = message
        if "reapplied" in message:
            self.admitted[message["update_id"]] = event_id
            self.events.append(event(event_id, at_ms, admitted(message)))

    def _add_reset(self, record: dict[str, Any], task: TaskIds, at_ms: int) -> None:
        """The task that was given up: the last thing that this run has of the one it goes back in."""
        reset = record["reset"]
        failure = Failure(message=reset["reason"])
        failure.reset_workflow_failure_info.SetInParent()
        self.events += [
            event(task.scheduled, at_ms, self._scheduled()),
            event(
                task.started,
                at_ms,
                WorkflowTaskStartedEventAttributes(scheduled_event_id=task.scheduled, history_size_bytes=self.size),
            ),
            event(
                task.completed,
                reset["ms"],
                WorkflowTaskFailedEventAttributes(
                    scheduled_event_id=task.scheduled,
                    started_event_id=task.started,
                    cause=WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW,
                    failure=failure,
                    identity="history-service",
                    base_run_id=reset["base"],
                    new_run_id=reset["run"],
                ),
            ),
        ]

    def _add_arrival(self, arrival: Record, event_id: int, at_ms: int) -> None:
        if arrival["k"] == "errand":
            self.events.append(self.others.reply(arrival, event_id, at_ms))
        elif arrival["k"] == "child":
            self.events.append(self.others.closed(arrival["m"], event_id, arrival["ms"]))
        else:
            self.events += ARRIVALS[arrival["k"]](arrival, event_id, at_ms, self.ids)

    def _metadata(self, command: Record) -> UserMetadata | None:
        """What user code said about a step. A timer's summary is repeated where it is cancelled."""
        given = command.get("meta")
        if command["k"] == "timer" and given:
            self.timers[command["seq"]] = given
        elif command["k"] == "cancel_timer":
            given = self.timers.get(command["seq"])
        return user_metadata(given)

    def add_failed(self, failed: FailedTask, mail: list[Mail]) -> list[Mail]:
        """A task that failed, after what it was to handle. The messages that came later."""
        at_ms = failed.note.at_ms
        if failed.arrivals is None:
            later = [letter for letter in mail if letter.created_ms > at_ms]
            self._add_messages(letter for letter in mail if letter.created_ms <= at_ms)
        else:
            handled = {arrival.get("id") for arrival in failed.arrivals}
            later = [letter for letter in mail if letter.mail_id not in handled]
            for arrival, event_id in zip(failed.arrivals, self.ids.begin_task(failed.arrivals).events, strict=True):
                if arrival["k"] not in ("start", "resume", "update", "local"):
                    self._add_arrival(arrival, event_id, at_ms)
        scheduled = self._next
        self.events += [
            event(scheduled, at_ms, self._scheduled()),
            event(
                scheduled + 1,
                at_ms,
                WorkflowTaskStartedEventAttributes(scheduled_event_id=scheduled, identity=failed.note.identity),
            ),
            event(scheduled + 2, at_ms, failed_attributes(failed, scheduled=scheduled, started=scheduled + 1)),
        ]
        self._first_task = False
        return later

    def _add_workflow_task(self, record: dict[str, Any], task: TaskIds, at_ms: int) -> None:
        identity = record.get("by") or ""
        self.build_id = record.get("bid", self.build_id)
        fresh = set(record.get("flags") or ()) - self.flags
        self.flags |= fresh
        metadata = WorkflowTaskCompletedMetadata(
            core_used_flags=CORE_FLAGS if self._first_task else (),
            lang_used_flags=sorted(fresh),
            sdk_name=SDK_NAME if self._first_task else "",
            sdk_version=record.get("sdk", "") if self._first_task else "",
        )
        self._first_task = False
        self.events += [
            event(task.scheduled, at_ms, self._scheduled()),
            event(
                task.started,
                at_ms,
                WorkflowTaskStartedEventAttributes(
                    scheduled_event_id=task.scheduled,
                    identity=identity,
                    suggest_continue_as_new="suggest" in record,
                    history_size_bytes=self.size,
                ),
            ),
            event(
                task.completed,
                at_ms,
                WorkflowTaskCompletedEventAttributes(
                    scheduled_event_id=task.scheduled,
                    started_event_id=task.started,
                    identity=identity,
                    sdk_metadata=metadata,
                    worker_version=WorkerVersionStamp(build_id=self.build_id) if self.build_id else None,
                ),
            ),
        ]

    def _scheduled(self) -> WorkflowTaskScheduledEventAttributes:
        return WorkflowTaskScheduledEventAttributes(
            task_queue=task_queue(self.run.task_queue),
            start_to_close_timeout=self.started.workflow_task_timeout,
            attempt=1,
        )

    def add_waiting(self, mail: list[Mail]) -> None:
        """Messages that no task has handled yet, and the task that is to handle them, or that is to begin the run."""
        at_ms = self.run.execution_ms
        due = self._first_task and begins(self.run, mail, self.end_ms)
        if (newest_ms := self._add_messages(mail)) is not None:
            due = due or not self._first_task
            at_ms = newest_ms
        if due:
            self.events.append(event(self._next, at_ms, self._scheduled()))

    def _add_messages(self, mail: Iterable[Mail]) -> int | None:
        """Signals and cancel requests; the time of the last one, None if there are none."""
        at_ms = None
        for letter in mail:
            reapplied = letter.topic == UPDATE and '"reapplied":' in letter.message
            if letter.topic in (UPDATE, ACTIVITY, OUTCOME) and not reapplied:
                continue  # none of these has an event before the task that handles it
            at_ms = letter.created_ms
            if reapplied:
                self.events.append(event(self._next, at_ms, admitted(_message(letter))))
                continue
            if letter.topic == CHILD:
                self.events += self.others.told(letter, self._next)
                continue
            message = _message(letter)
            if letter.topic == CANCEL:
                self.events.append(cancel_requested(self._next, at_ms, message))
            else:
                name = "" if letter.topic == NULL_TOPIC else letter.topic
                self.events.append(signaled(self._next, at_ms, name, message))
        return at_ms

    def add_close(
        self, *, task_completed: int, continued: WorkflowExecutionContinuedAsNewEventAttributes | None = None
    ) -> None:
        self.closed = True
        self.events.append(
            close_event(self.run, event_id=self._next, task_completed=task_completed, continued=continued)
        )

    @property
    def _next(self) -> int:
        return self.events[-1].event_id + 1


def begins(run: RunRow, mail: Iterable[Mail], now_ms: int) -> bool:
    """Is the first task of a run due? A delay is cut short by a cancel request and by an update, not by a signal."""
    delay_over = run.execution_ms <= max(run.start_ms, now_ms)
    return delay_over or any(letter.topic in (CANCEL, UPDATE) for letter in mail)


def _started(loaded: LoadedRun) -> WorkflowExecutionStartedEventAttributes:
    """The start as it was recorded; what the record leaves to the row (and a replay needs) is filled in."""
    run = loaded.run
    attributes = started(loaded.inputs)
    attributes.workflow_type.name = attributes.workflow_type.name or run.workflow_type
    if not attributes.task_queue.name:
        attributes.task_queue.CopyFrom(task_queue(run.task_queue))
    attributes.original_execution_run_id = attributes.original_execution_run_id or run.run_id
    attributes.first_execution_run_id = attributes.first_execution_run_id or run.first_run_id
    attributes.workflow_id = attributes.workflow_id or run.workflow_id
    attributes.attempt = attributes.attempt or 1
    if not attributes.input.payloads:
        attributes.ClearField("input")
    return attributes


def _message(mail: Mail) -> Record:
    """A message of ours, or the value that a stock DBOS tool has sent (shown once it is delivered, if not JSON)."""
    if mail.mail_id.startswith(OWN_ID):
        message: Record = json.loads(mail.message)
        return message
    if mail.serialization == "portable_json":
        return {"args": [{"j": json.loads(mail.message)}], "identity": "dbos"}
    return {"identity": "dbos"}
