"""An interpreter that is told what was recorded elsewhere: a run's past as a Temporal server has it, task by task.

A live run decides by itself how long its history is, which patches it has and what time it is; a replay reads that in our
own journal. Here a Temporal history says it. Everything else is the live run's way: events become journal records, the
jobs are made of these, commands are checked as live ones are, and a journal record is written. So what the core does is
what is seen, and not what it does when it has been told the answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.history.v1 import WorkflowExecutionStartedEventAttributes
from temporalio.bridge.proto.workflow_activation import WorkflowActivation, WorkflowActivationJob

from dbos_compat.bridge.activations import ordered, reseed
from dbos_compat.bridge.runner import TemporalInterpreter
from dbos_compat.bridge.task import Task
from dbos_compat.convert.payloads import loads
from dbos_compat.history.numbering import EventIds, TaskIds
from dbos_core.commit import RunRow
from dbos_core.runner import Decision

if TYPE_CHECKING:
    from dbos_compat.bridge.runner import TemporalRunner

__all__ = ["GuidedInterpreter", "HintedInterpreter", "RecordedTask"]


@dataclass(slots=True, kw_only=True)
class RecordedTask:
    """One workflow task as it was recorded: what it was told, and what it had happened before it."""

    at: Timestamp
    """What ``workflow.now()`` was."""
    events: list[str] = field(default_factory=list)
    """What had happened, as journal records (``activations.record_text``), in the order of the history."""
    event_ids: list[int] = field(default_factory=list)
    """Of each event its id in that history."""
    started_id: int = 0
    """The event at which the task started: the length of the history as the workflow was told it."""
    size_bytes: int = 0
    suggested: bool = False
    """The workflow was told to continue as new."""
    patches: Sequence[str] = ()
    """Ids of the patches whose markers this task has recorded."""
    flags: Sequence[int] = ()
    """The SDK's internal flags that were set by the end of this task."""
    build_id: str = ""
    deployment: str = ""
    reseeds: Sequence[str] = ()
    """Run ids from which the workflow's random numbers come anew: the run was reset before this task."""

    @property
    def at_ms(self) -> int:
        return self.at.seconds * 1000 + self.at.nanos // 1_000_000


class GuidedInterpreter(TemporalInterpreter):
    """A run that takes the tasks that another engine has recorded."""

    __slots__ = ("_began", "_told")

    def __init__(
        self, runner: TemporalRunner, row: RunRow, inputs: str, native: WorkflowExecutionStartedEventAttributes | None
    ) -> None:
        super().__init__(runner, row, inputs, native)
        self._ids: _GuidedIds = _GuidedIds()
        self._told = RecordedTask(at=Timestamp())
        self._began: Timestamp | None = None

    def begin(self, began: Timestamp) -> None:
        """When the run started, to the nanosecond. Without it, to the millisecond of its row."""
        self._began = began

    def follow(self, told: RecordedTask) -> Decision | Awaitable[Decision]:
        """Take one recorded task. The decision's record is what the engine would journal."""
        self._told = told
        texts, event_ids = told.events, told.event_ids
        records: list[dict[str, Any]] = [loads(text) for text in texts]
        if len(records) > 1:
            order = ordered(records)
            texts, records = [texts[i] for i in order], [records[i] for i in order]
            event_ids = [event_ids[i] for i in order]
        self._ids.told(event_ids, told.started_id)
        self._flags.update(told.flags)
        self._build.current = told.build_id or self._runner.build_id
        task = Task(at_ms=told.at_ms, texts=texts, records=records, replaying=False, flags=sorted(self._flags))
        task.as_replay = True
        task.announce = [{"k": "patch", "id": patch} for patch in told.patches]
        return self._run(task)

    def _first_jobs(self, task: Task) -> list[WorkflowActivationJob]:
        jobs = super()._first_jobs(task)
        if any(record["k"] == "update" for record in task.records):
            for job in jobs:
                if job.HasField("do_update"):
                    job.do_update.run_validator = True  # it ran then, and code that has changed may refuse
        first = 1 if _began_at(jobs, self._began) else 0
        if self._told.reseeds:
            jobs[first:first] = [reseed(run_id) for run_id in self._told.reseeds]
        return jobs

    def _jobs(self, task: Task, jobs: Sequence[WorkflowActivationJob]) -> WorkflowActivation:
        activation = super()._jobs(task, jobs)
        self._suggested = self._told.suggested
        return activation

    def _activation(self, at_ms: int, history_length: int, replaying: bool, flags: Sequence[int]) -> WorkflowActivation:
        """As it was told then, and not as the core would count."""
        told = self._told
        activation = WorkflowActivation(
            run_id=self._row.run_id,
            timestamp=told.at,
            is_replaying=replaying,
            history_length=told.started_id,
            available_internal_flags=flags,
            history_size_bytes=told.size_bytes,
            continue_as_new_suggested=told.suggested,
        )
        version = activation.deployment_version_for_current_task
        version.build_id = self._build.current
        if told.deployment:
            version.deployment_name = told.deployment
        return activation


class HintedInterpreter(TemporalInterpreter):
    """A run that drives by itself, and is told what only a server could know: the time to the nanosecond, how long its
    history is there, and by which build it was taken up."""

    __slots__ = ("_began", "hint")

    def __init__(
        self, runner: TemporalRunner, row: RunRow, inputs: str, native: WorkflowExecutionStartedEventAttributes | None
    ) -> None:
        super().__init__(runner, row, inputs, native)
        self.hint: RecordedTask | None = None
        self._began: Timestamp | None = None

    def begin(self, began: Timestamp) -> None:
        """When the run started, to the nanosecond. Without it, to the millisecond of its row."""
        self._began = began

    def _first_jobs(self, task: Task) -> list[WorkflowActivationJob]:
        jobs = super()._first_jobs(task)
        _began_at(jobs, self._began)
        return jobs

    def _jobs(self, task: Task, jobs: Sequence[WorkflowActivationJob]) -> WorkflowActivation:
        activation = super()._jobs(task, jobs)
        if self.hint is not None:
            self._suggested = self.hint.suggested
        return activation

    def _activation(self, at_ms: int, history_length: int, replaying: bool, flags: Sequence[int]) -> WorkflowActivation:
        activation = super()._activation(at_ms, history_length, replaying, flags)
        hint = self.hint
        if hint is not None:
            if at_ms == hint.at_ms:
                activation.timestamp.CopyFrom(hint.at)
            activation.history_length = hint.started_id
            activation.history_size_bytes = hint.size_bytes
            activation.continue_as_new_suggested = hint.suggested
            version = activation.deployment_version_for_current_task
            version.build_id = hint.build_id or self._build.current
            version.deployment_name = hint.deployment
        return activation


def _began_at(jobs: Sequence[WorkflowActivationJob], began: Timestamp | None) -> bool:
    """Do these jobs begin a run? Then it began at that time, if it is known."""
    if not jobs or not jobs[0].HasField("initialize_workflow"):
        return False
    if began is not None:
        jobs[0].initialize_workflow.start_time.CopyFrom(began)
    return True


class _GuidedIds(EventIds):
    """Event ids as they were recorded. Those of the commands are counted from there, as the server has counted."""

    __slots__ = ("_event_ids", "_started")

    def __init__(self) -> None:
        super().__init__()
        self._event_ids: Sequence[int] = ()
        self._started = 0

    def told(self, event_ids: Sequence[int], started: int) -> None:
        self._event_ids, self._started = event_ids, started

    def begin_task(self, events: Sequence[Mapping[str, Any]]) -> TaskIds:
        goes_on = self._started == self.last_started  # a further activation of the same task: count where it stopped
        return TaskIds(list(self._event_ids[: len(events)]), self.last - 2 if goes_on else self._started - 1)

    def end_task(self, task: TaskIds, commands: Sequence[Mapping[str, Any]]) -> list[int]:
        ids = super().end_task(task, commands)
        self.last_started = self._started
        return ids
