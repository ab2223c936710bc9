"""A recorded past as it is told to the core: task by task, in the recorded order and batching, at the recorded time.

Each request of the code is answered as the request of the recorded step was that it is paired with (``pairing``); what was
never recorded gets no answer. So changed code goes on as far as it makes sense, and nothing hangs: there is nobody to wait
for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.history.v1 import HistoryEvent, WorkflowExecutionStartedEventAttributes

from dbos_compat.bridge.guided import RecordedTask
from dbos_compat.convert.metadata import MetadataRecord, metadata_text
from dbos_compat.convert.payloads import loads, payload_map_text
from dbos_compat.convert.records import CloseRecord, close_text, start_text
from dbos_compat.convert.search_attributes import BadSearchAttribute, column_text
from dbos_compat.convert.times import timestamp_ms
from dbos_compat.workbench import Workbench
from dbos_core.commit import Close, RunRow, RunStatus
from dbos_core.runner import Decision, TaskFailure
from dbos_shadow.names import NameMap
from dbos_shadow.pairing import SAME, Pairing
from dbos_shadow.past import Past, PastTask, attributes, kind
from dbos_shadow.resets import Lives
from dbos_shadow.retelling import complete_time, local_text, retell, step_of, update_text, was_canceled
from dbos_shadow.sources import journal
from dbos_shadow.trace import Status, Trace

__all__ = ["Replayed", "Telling", "replay_past", "row"]

_TASKS_BEYOND_MAX = 1000
"""Tasks that were never recorded and are given to changed code, which is late with something."""


@dataclass(slots=True)
class Replayed:
    """What the core has made of a history."""

    run: RunRow
    started: WorkflowExecutionStartedEventAttributes
    inputs: str
    records: list[dict[str, Any]] = field(default_factory=list)
    """The journal, as values."""
    entries: list[tuple[str, str]] = field(default_factory=list)
    """The journal, as text: name and record of each entry."""
    close: Close | None = None
    failure: TaskFailure | None = None
    """The code failed in a task, without ending the workflow. Nothing comes after that."""
    reset: bool = False
    """The run was reset: its journal would have another beginning, which belongs to the run that it goes back in."""

    @property
    def trace(self) -> Trace:
        return journal.trace_of(self.run, self.started, self.records)


async def replay_past(found: Past, bench: Workbench, *, workflow_id: str, run_id: str) -> Replayed:
    """Feed a history to the core. Raises nothing that user code raises: that is in the answer."""
    work = _Replay(found, bench, workflow_id, run_id)
    try:
        await work.all()
    finally:
        leaving = work.lives.evict()
        if leaving is not None:
            await leaving
    return work.made


def row(found: Past, workflow_id: str, run_id: str) -> RunRow:
    """The run as the engine would have it in its first row."""
    started = found.started
    start_ms = timestamp_ms(found.first.event_time)
    backoff_ms = started.first_workflow_task_backoff.ToMilliseconds()
    try:
        attributes_text = column_text(started.search_attributes.indexed_fields)
    except BadSearchAttribute:
        attributes_text = None
    return RunRow(
        workflow_uuid=workflow_id,
        workflow_id=workflow_id,
        run_id=run_id,
        first_run_id=started.first_execution_run_id or run_id,
        workflow_type=started.workflow_type.name,
        task_queue=started.task_queue.name,
        status=RunStatus.RUNNING,
        start_ms=start_ms,
        execution_ms=start_ms + backoff_ms,
        memo=payload_map_text(started.memo.fields) if started.HasField("memo") else None,
        search_attributes=attributes_text,
        metadata=metadata_text(MetadataRecord(task_timeout_ms=started.workflow_task_timeout.ToMilliseconds())),
    )


class Telling:
    """A recorded past as it is told to the core, task by task. Who takes it (``take``), and when, is not decided here."""

    def __init__(self, found: Past, workflow_id: str, run_id: str, names: NameMap = SAME) -> None:
        run_id = run_id or found.started.original_execution_run_id
        workflow_id = workflow_id or found.started.workflow_id
        self.made = Replayed(row(found, workflow_id, run_id), found.started, start_text(found.started))
        self.made.reset = any(task.reseeds for task in found.tasks)
        self._past = found
        self._pairing = Pairing(found, names)
        self._late: dict[int, list[HistoryEvent]] = {}
        """What has happened to steps that the code has not asked for yet."""
        self._due: list[HistoryEvent] = []
        """The same, now that it has."""
        self._locals: dict[int, str] = {}
        """Local activities that were asked for and have not ended: seq → id."""

    async def take(self, told: RecordedTask) -> Decision:
        """Let the core take a task."""
        raise NotImplementedError

    @property
    def over(self) -> bool:
        """Has the core ended the run, or failed in it?"""
        return self.made.close is not None or self.made.failure is not None

    @property
    def never_recorded(self) -> list[str]:
        """Types of the activities that the core has asked for and the record does not have."""
        return self._pairing.never_recorded

    def expect(self, task: PastTask) -> None:
        """Take note of a task that the history did not have yet when this was made."""
        self._pairing.add(task)

    async def task(self, task: PastTask) -> None:
        """Tell the next task."""
        began = task.started.workflow_task_started_event_attributes
        completed = task.completed.workflow_task_completed_event_attributes
        version = completed.deployment_version
        told = RecordedTask(
            at=task.started.event_time,
            started_id=task.started.event_id,
            size_bytes=began.history_size_bytes,
            suggested=began.suggest_continue_as_new,
            patches=task.patches,
            flags=completed.sdk_metadata.lang_used_flags,
            build_id=version.build_id or completed.worker_version.build_id,
            deployment=version.deployment_name,
            reseeds=task.reseeds,
        )
        self._tell_all(told, task)
        markers = list(task.locals)
        # One that goes on since before this task ended while it was due. Of one that the code cancels in this very task it
        # is told then, and not beforehand.
        self._tell_local(told, [m for m in markers if not was_canceled(m)], markers)
        await self._follow(told)
        # What begins and ends within one task is told as it ends: an activation for each.
        while markers and not self.over:
            more = dataclasses.replace(told, events=[], event_ids=[], patches=(), reseeds=())
            self._tell_local(more, list(markers), markers)
            if not more.events:
                break
            await self._follow(more)
            told = more

    def _tell_all(self, told: RecordedTask, task: PastTask) -> None:
        """What the task was shown, but for the ends of local activities."""
        accepted = {}
        for event in task.updates:
            a = event.workflow_execution_update_accepted_event_attributes
            accepted[a.protocol_instance_id] = event, a
        for event in (*task.arrivals, *self._due):
            if kind(event) != "workflow_execution_update_admitted":
                self._tell(told, event)
                continue
            request = event.workflow_execution_update_admitted_event_attributes.request
            if accepted.pop(request.meta.update_id, None) is not None:
                told.events.append(update_text(event, request.meta.update_id, request, reapplied=True))
                told.event_ids.append(event.event_id)
        self._due = []
        for update_id, (event, a) in accepted.items():
            found = a.accepted_request if a.HasField("accepted_request") else self._past.admitted.get(update_id)
            if found is not None:
                told.events.append(update_text(event, update_id, found))
                told.event_ids.append(told.started_id)

    def _tell(self, told: RecordedTask, event: HistoryEvent) -> None:
        """Put one arrival into a task, if the code has asked for what it resolves."""
        asked = step_of(event)
        seq = 0
        if asked:
            found = self._pairing.seqs.get(asked)
            if found is None:
                self._late.setdefault(asked, []).append(event)
                return
            seq = found
        text = retell(
            event,
            seq,
            begun=self._past.begun,
            child_cancel=asked in self._pairing.child_cancels,
            number=self._pairing.numbers.get(asked, 0),
        )
        told.events.append(text)
        told.event_ids.append(event.event_id)

    def _tell_local(self, told: RecordedTask, of: list[HistoryEvent], markers: list[HistoryEvent]) -> None:
        """Put the first end of a local activity into a task for which the code waits now."""
        for marker in of:
            seq = self._pairing.seqs.get(marker.event_id, 0)
            if seq not in self._locals:
                continue
            told.events.append(local_text(marker, seq, self._locals.pop(seq)))
            told.event_ids.append(marker.event_id)
            markers.remove(marker)
            at = complete_time(marker)
            if at is not None and _ns(at) > _ns(told.at):
                told.at = at
            return

    async def _follow(self, told: RecordedTask) -> None:
        if not told.events:
            return
        decision = await self.take(told)
        made = self.made
        if decision.failure is not None:
            made.failure = decision.failure
            return
        if decision.memo is not None:
            made.run.memo = decision.memo
        if decision.search_attributes is not None:
            made.run.search_attributes = decision.search_attributes
        if decision.record is not None:
            record = loads(decision.record)
            made.records.append(record)
            made.entries.append((decision.name, decision.record))
            self._asked(record["cmds"])
        if decision.close is not None:
            made.close = decision.close

    def _asked(self, commands: Sequence[dict[str, Any]]) -> None:
        for command in commands:
            if command["k"] == "local_activity":
                self._locals[command["seq"]] = command["id"]
            elif command["k"] == "local_marker":  # it was given up, and has ended by that
                self._locals.pop(command["seq"], None)
        for event_id in self._pairing.asked(commands):
            self._due += self._late.pop(event_id, ())

    async def what_is_late(self) -> None:
        """The record is at its end. Changed code may ask for steps later than they were recorded: it is answered still."""
        last = self._past.tasks[-1] if self._past.tasks else None
        for _ in range(_TASKS_BEYOND_MAX):
            if last is None or not self._due or self.over:
                return
            told = RecordedTask(at=last.started.event_time, started_id=last.started.event_id)
            for event in self._due:
                self._tell(told, event)
            self._due = []
            await self._follow(told)

    def end(self) -> None:
        """How the run stands when all has been told."""
        run, close = self.made.run, self.made.close
        if close is not None:
            run.status, run.close, run.close_ms = close.status, close.record, close.close_ms
        elif self._past.ended is not None and self._past.ended_from_outside and self.made.failure is None:
            ended = self._past.ended
            a = attributes(ended)
            how = kind(ended).removeprefix("workflow_execution_")
            run.status = RunStatus.TERMINATED if how == "terminated" else RunStatus.TIMED_OUT
            run.close_ms = timestamp_ms(ended.event_time)
            details = list(a.details.payloads) if how == "terminated" else []
            run.close = close_text(CloseRecord(kind=Status(how).value, details=details))


class _Replay(Telling):
    """One replay under way: told to an interpreter, at once."""

    def __init__(self, found: Past, bench: Workbench, workflow_id: str, run_id: str) -> None:
        super().__init__(found, workflow_id, run_id)
        made = self.made
        self.lives = Lives(bench.runner, made.run, made.inputs, made.started, found.first.event_time)

    async def take(self, told: RecordedTask) -> Decision:
        answer = self.lives.follow(told)
        return answer if isinstance(answer, Decision) else await answer

    async def all(self) -> None:
        for task in self._past.tasks:
            await self.task(task)
            if self.over:
                break
        else:
            await self.what_is_late()
        self.end()


def _ns(time_: Timestamp) -> int:
    return time_.seconds * 1_000_000_000 + time_.nanos
