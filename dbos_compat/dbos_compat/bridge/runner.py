"""TemporalRunner: the kernel's interpreter, made of temporalio's own workflow instances.

One journal row is one Temporal workflow task: the activations that it takes (one for what happened, one more for each
round of immediate answers such as a TRY_CANCEL), the events that went in and the commands that came out.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from temporalio.api.history.v1 import WorkflowExecutionStartedEventAttributes
from temporalio.bridge.proto.workflow_activation import InitializeWorkflow, WorkflowActivation, WorkflowActivationJob
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion

from dbos_compat.bridge.activations import (
    PendingActivity,
    canceled_at_once,
    initialize,
    job,
    ordered,
    rank,
    record_text,
    reseed,
    timestamp,
)
from dbos_compat.bridge.activity_tasks import prepare_start
from dbos_compat.bridge.added_attributes import AddedAttributes
from dbos_compat.bridge.build_ids import BuildId
from dbos_compat.bridge.command_checks import Checks
from dbos_compat.bridge.commands import (
    ABANDON,
    TRY_CANCEL,
    UNCHECKED,
    Command,
    Rejected,
    UnsupportedCommand,
    as_recorded,
    digest,
    normalise,
    read,
    update_failed,
)
from dbos_compat.bridge.decisions import Builder, consumed
from dbos_compat.bridge.local_activities import cancel_marker, marker, pending_of
from dbos_compat.bridge.local_activities import canceled_at_once as local_canceled_at_once
from dbos_compat.bridge.misfit import JournalMisfit
from dbos_compat.bridge.patches import Patches, announced, missing
from dbos_compat.bridge.refusals import (
    TaskFailed,
    application_failure,
    check_activity_ids,
    check_sizes,
    limited,
    names_its_activities,
)
from dbos_compat.bridge.stock_messages import why_unreadable
from dbos_compat.bridge.task import Task
from dbos_compat.chains.successor import NewId
from dbos_compat.convert.answers import Answer, answer_text, question
from dbos_compat.convert.payloads import dumps, loads
from dbos_compat.convert.records import started
from dbos_compat.errors import Unsupported
from dbos_compat.history.failed_tasks import cause_name
from dbos_compat.history.numbering import EventIds, TaskIds
from dbos_compat.metrics import WorkerMetrics
from dbos_compat.private import SDK_VERSION, WorkflowHost
from dbos_core.activities.local import LocalLane
from dbos_core.activities.spec import ActivitySpec
from dbos_core.commit import Entry, Mail, RunRow
from dbos_core.runner import Activation, Decision, Interpreter

logger = logging.getLogger("dbos_compat")

SUGGEST_AFTER_EVENTS = 4096
SUGGEST_AFTER_BYTES = 4 * 1024 * 1024
"""Where Temporal's server begins to suggest continue-as-new."""

_ANSWERED = frozenset({"cancel_activity", "cancel_local", "cancel_child", "cancel_signal", "cancel_timer"})
"""Commands to which the workflow may get an answer within the task, or that may come too late."""

_ROUNDS_MAX = 1000
"""Activations within one task: far more than any workflow that makes progress needs."""


class TemporalRunner:
    """Runs the workflows of one SDK worker."""

    def __init__(
        self,
        host: WorkflowHost,
        *,
        task_queue: str,
        namespace: str,
        identity: str,
        max_cached: int,
        limit_payloads: bool = True,
        new_id: NewId,
        now_ms: Callable[[], int],
        suggest_after: int,
        shortest_timer_ms: int = 0,
        local_lane: LocalLane | None = None,
        metrics: WorkerMetrics | None = None,
        build_id: str = "",
        attributes: AddedAttributes | None = None,
    ) -> None:
        """
        Args:
            limit_payloads: fail tasks whose commands carry more than Temporal takes.
            new_id: gives run ids.
            now_ms: the clock, for what happens outside an activation.
            suggest_after: so many events into a run's history ``is_continue_as_new_suggested()`` becomes true.
            shortest_timer_ms: no timer rings sooner.
            local_lane: runs the local activities.
            build_id: of the code that this worker has.
            attributes: the search attributes that were added.
        """
        self.build_id = build_id
        self.attributes = attributes or AddedAttributes()
        self.new_id = new_id
        self._metrics = metrics
        self.now_ms = now_ms
        self.suggest_after = suggest_after
        self._shortest_timer_ms = shortest_timer_ms
        self.local_lane = local_lane
        self.task_queue = task_queue
        self.identity = identity
        self.max_cached = max_cached
        self.namespace = namespace
        self.limit_payloads = limit_payloads
        self.host = host

    def knows(self, workflow_type: str) -> bool:
        return self.host.dynamic or workflow_type in self.host.workflow_types

    def open(self, run: RunRow, inputs: str, native: Any = None) -> Interpreter:
        interpreter = TemporalInterpreter(self, run, inputs, native)
        return interpreter if self._metrics is None else self._metrics.interpreter(interpreter, run, self.now_ms)

    def builder(self, run: RunRow, inputs: str) -> Builder:
        """For a run that has no past yet."""
        return Builder(self.identity, run, inputs, self.new_id, shortest_timer_ms=self._shortest_timer_ms)

    def why_unreadable(self, message: Mail) -> str | None:
        return why_unreadable(message)

    def prepare(self, run: RunRow, spec: ActivitySpec) -> None:
        prepare_start(spec, run, self.namespace)


class TemporalInterpreter:
    """One run in memory: an SDK workflow instance and what we must remember beside it."""

    __slots__ = (
        "_ahead",
        "_before",
        "_build",
        "_builder",
        "_flags",
        "_host",
        "_ids",
        "_native",
        "_opened",
        "_patches",
        "_reset",
        "_row",
        "_runner",
        "_size",
        "_start",
        "_suggested",
    )

    def __init__(
        self, runner: TemporalRunner, row: RunRow, inputs: str, native: WorkflowExecutionStartedEventAttributes | None
    ) -> None:
        self._runner = runner
        self._host = runner.host
        self._row = row
        self._ids = EventIds()
        self._flags: set[int] = set()
        self._opened = False
        self._size = len(inputs)
        """Bytes of the journal so far: what the workflow is told as the size of its history."""
        self._suggested = False
        """As the last task was told: the run should be continued as new."""
        self._builder = runner.builder(row, inputs)
        self._patches = Patches()
        self._build = BuildId()
        self._ahead: list[Command] = []
        """What replayed code asks for and the journal does not have: it goes out with the next task, as on Temporal."""
        self._before: list[tuple[Mapping[str, Any], int]] = []
        """What had happened when the task was due to which a reset goes back, with event ids: handled by the next task."""
        self._reset = False
        self._start: InitializeWorkflow | None = None
        self._native = native

    # -- the Interpreter protocol ----------------------------------------------------------------------------------

    def activate(self, activation: Activation) -> Decision | Awaitable[Decision]:
        texts = [record_text(event) for event in activation.events]
        records = [loads(text) for text in texts]
        if len(records) > 1:
            order = ordered(records)
            texts, records = [texts[i] for i in order], [records[i] for i in order]
        self._build.current = self._runner.build_id
        task = Task(
            at_ms=activation.at_ms,
            texts=texts,
            records=records,
            replaying=False,
            flags=sorted(self._flags),
        )
        return self._run(task)

    def replay(self, entry: Entry) -> Decision | Awaitable[Decision]:
        record = loads(entry.record)
        if "reset" in record:
            return self._went_back(record, len(entry.record))
        self._flags.update(record.get("flags", ()))
        self._build.replayed(record)
        task = Task(
            at_ms=record["at"],
            texts=[],
            records=record["ev"],
            replaying=True,
            flags=sorted(self._flags),
            recorded=record,
            position=entry.position,
            size=len(entry.record),
        )
        return self._run(task)

    def _went_back(self, record: Mapping[str, Any], size: int) -> Decision:
        """The row at which a reset run begins to be a run of its own: its events are the next task's."""
        ids = self._ids.begin_task(record["ev"])
        self._before += zip(record["ev"], ids.events, strict=True)
        self._ids.end_task(ids, ())
        self._reset = True
        self._size += size
        decision = Decision(
            record=None, name="reset", at_ms=record["at"], history_length=self._ids.last, unfinished=True
        )
        consumed(decision, record["ev"])
        return decision

    async def query(self, payload: str) -> str:
        asked = question(payload)
        activation = self._activation(self._builder.at_ms, self._ids.last_started, True, sorted(self._flags))
        query = activation.jobs.add().query_workflow
        query.query_id = "q"
        query.query_type = asked.query_type
        query.arguments.extend(asked.args)
        for key, value in asked.headers.items():
            query.headers[key].CopyFrom(value)
        completion = self._host.activate(activation, self._row.workflow_type)
        if not isinstance(completion, WorkflowActivationCompletion):
            completion = await completion
        if completion.HasField("failed"):
            return answer_text(Answer(failure=completion.failed.failure))
        for command in completion.successful.commands:
            if command.HasField("respond_to_query"):
                response = command.respond_to_query
                if response.HasField("failed"):
                    return answer_text(Answer(failure=response.failed))
                return answer_text(limited(response.succeeded.response))
        raise RuntimeError(f"the SDK did not answer query {asked.query_type!r}")

    def evict(self) -> Awaitable[None] | None:
        if not self._opened:
            return None
        return self._host.evict(self._row.run_id, self._row.workflow_type, "evicted by the kernel")

    # -- one task --------------------------------------------------------------------------------------------------

    def _run(self, task: Task) -> Decision | Awaitable[Decision]:
        """All activations of a task, without leaving the caller's turn where the instance allows that."""
        try:
            jobs = self._first_jobs(task)
        except TaskFailed as failed:
            return self._void(task, failed)
        except Exception as error:
            return self._void(task, TaskFailed(application_failure(str(error), type(error).__name__)))
        if not jobs:  # nobody waits for what has happened
            return self._finish(task)
        try:
            while True:
                completion = self._host.activate(self._jobs(task, jobs), self._row.workflow_type)
                if not isinstance(completion, WorkflowActivationCompletion):
                    return self._run_on(task, completion)
                jobs = self._absorb(task, completion)
                if not jobs:
                    return self._finish(task)
        except TaskFailed as failed:
            return self._void(task, failed)

    async def _run_on(self, task: Task, pending: Awaitable[WorkflowActivationCompletion]) -> Decision:
        try:
            while True:
                jobs = self._absorb(task, await pending)
                if not jobs:
                    return self._finish(task)
                completion = self._host.activate(self._jobs(task, jobs), self._row.workflow_type)
                if isinstance(completion, WorkflowActivationCompletion):
                    pending = _ready(completion)
                else:
                    pending = completion
        except TaskFailed as failed:
            return self._void(task, failed)

    def _first_jobs(self, task: Task) -> list[WorkflowActivationJob]:
        task.commands = self._ahead
        task.ids = self._ids.begin_task(task.records)
        jobs = []
        happened = [*self._before, *zip(task.records, task.ids.events, strict=True)]
        if self._before:
            happened.sort(key=lambda pair: rank(pair[0]))
        task.happened = [record for record, _ in happened]
        for record, event_id in happened:
            if record["k"] == "start":
                attributes, self._native = self._native or started(self._builder.inputs), None
                self._start = initialize(self._row, attributes)
            elif record["k"] == "local":
                task.commands.append(self._local_marker(task, record))
            made = job(
                record,
                event_id,
                activities=self._builder.activities,
                others=self._builder.others,
                start=self._start,
                replaying=task.as_replay,
            )
            if made is not None:
                jobs.append(made)
        self._start = None
        after_start = 1 if jobs and jobs[0].HasField("initialize_workflow") else 0
        if self._reset:
            jobs.insert(after_start, reseed(self._row.run_id))
        jobs[after_start:after_start] = announced(task.announce)
        return jobs

    def _activation(self, at_ms: int, history_length: int, replaying: bool, flags: Sequence[int]) -> WorkflowActivation:
        activation = WorkflowActivation(
            run_id=self._row.run_id,
            timestamp=timestamp(at_ms),
            is_replaying=replaying,
            history_length=history_length,
            available_internal_flags=flags,
            history_size_bytes=self._size,
            continue_as_new_suggested=self._suggested,
        )
        activation.deployment_version_for_current_task.build_id = self._build.current
        return activation

    def _jobs(self, task: Task, jobs: Sequence[WorkflowActivationJob]) -> WorkflowActivation:
        assert task.ids is not None
        if task.recorded is None:
            size, started_id = self._size, task.ids.started
            self._suggested = started_id >= self._runner.suggest_after or size >= SUGGEST_AFTER_BYTES
        else:
            self._suggested = "suggest" in task.recorded
        activation = self._activation(task.at_ms, task.ids.started, task.as_replay, task.flags)
        activation.jobs.extend(jobs)
        self._opened = True
        task.rounds += 1
        if task.rounds > _ROUNDS_MAX:
            raise TaskFailed(
                application_failure(
                    f"workflow {self._row.workflow_id!r} keeps asking for and cancelling things without ever waiting"
                )
            )
        return activation

    def _absorb(self, task: Task, completion: WorkflowActivationCompletion) -> list[WorkflowActivationJob]:
        """Take in one completion; the immediate answers that it calls for are the next round."""
        if completion.HasField("failed"):
            raise TaskFailed(completion.failed.failure, cause_name(completion.failed.force_cause))
        successful = completion.successful
        task.used_flags.update(successful.used_internal_flags)
        fresh: list[Command] = []
        for message in successful.commands:
            try:
                command = read(message)
            except UnsupportedCommand as unsupported:
                text = str(Unsupported(unsupported.slug, f"workflow {self._row.workflow_id!r} run {self._row.run_id}"))
                logger.error("%s", text)
                raise TaskFailed(application_failure(text, "Unsupported")) from None
            if command is None:
                continue
            if isinstance(command, Rejected):
                if command.update_id in task.accepted or command.update_id in self._builder.accepted:
                    fresh.append(update_failed(command))
                else:
                    task.rejected.append(command)
                continue
            if command.kind == "update_accepted":
                task.accepted.add(command.update_id)
            elif command.kind == "patch":
                self._patches.asked(command)
            fresh.append(command)
        return self._follow_up(task, fresh)

    def _follow_up(self, task: Task, fresh: list[Command]) -> list[WorkflowActivationJob]:
        if _ANSWERED.isdisjoint([command.kind for command in fresh]):
            task.commands.extend(fresh)
            return []
        scheduled = {c.seq: c for c in (*task.commands, *fresh) if c.kind == "activity"}
        resolved = {r["seq"] for r in task.happened if r["k"] == "activity"}
        rung = {r["seq"] for r in task.happened if r["k"] == "timer"}
        answers: list[WorkflowActivationJob] = self._local_answers(task, fresh)
        for command in fresh:
            if command.kind == "cancel_timer" and command.seq in rung:
                task.void.append(command)  # a message that came with it made it needless: it has rung all the same
            if command.kind != "cancel_activity":
                continue
            unsent = scheduled.get(command.seq)
            if unsent is not None:
                schedule = unsent.message.schedule_activity
                pending = PendingActivity(schedule.activity_id, schedule.activity_type, 0, 0)
                answers.append(canceled_at_once(command.seq, pending))
                continue
            known = self._builder.activities.get(command.seq)
            if known is None or known.cancel_requested or command.seq in resolved:
                task.void.append(command)  # ended already, or asked before: dropped silently
                continue
            command.cancellation_type = known.cancellation_type
            if known.cancellation_type in (TRY_CANCEL, ABANDON) and command.seq not in task.answered:
                task.answered.add(command.seq)
                answers.append(canceled_at_once(command.seq, known))
        jobs, late = self._builder.others.answers(fresh, (*task.commands, *fresh), task.happened)
        task.void += late
        task.commands.extend(fresh)
        return answers + jobs

    def _local_marker(self, task: Task, record: Mapping[str, Any]) -> Command:
        """The marker of a local activity that has ended.

        Raises:
            TaskFailed: on replay, when the code has not asked for it.
        """
        pending = self._builder.locals.get(record["seq"])
        if pending is None or (pending.activity_id, pending.activity_type) != (record["id"], record["type"]):
            came = (
                "nothing of the kind" if pending is None else f"{pending.activity_type!r} (id {pending.activity_id!r})"
            )
            raise self._nondeterminism(
                f"position {task.position}: recorded the end of local activity {record['type']!r} (id {record['id']!r}, "
                f"seq {record['seq']}), but the code has asked for {came}.",
                task.recorded or {},
            )
        return marker(record, pending)

    def _local_answers(self, task: Task, fresh: list[Command]) -> list[WorkflowActivationJob]:
        """What is known at once of local activities that were cancelled; their markers join ``fresh``."""
        answers: list[WorkflowActivationJob] = []
        resolved = {r["seq"] for r in task.happened if r["k"] == "local"}
        for command in [c for c in fresh if c.kind == "cancel_local"]:
            unsent = next(
                (c for c in (*task.commands, *fresh) if c.kind == "local_activity" and c.seq == command.seq), None
            )
            pending = pending_of(unsent, task.at_ms) if unsent is not None else self._builder.locals.get(command.seq)
            if pending is None or pending.cancel_requested or command.seq in resolved or command.seq in task.answered:
                task.void.append(command)
                continue
            command.cancellation_type = pending.cancellation_type
            if unsent is not None:
                task.void += [unsent, command]
            elif pending.cancellation_type not in (TRY_CANCEL, ABANDON):
                continue
            task.answered.add(command.seq)
            fresh.insert(fresh.index(command) + 1, cancel_marker(command.seq, pending, began=unsent is None))
            answers.append(local_canceled_at_once(command.seq, pending))
        return answers

    def _finish(self, task: Task) -> Decision:
        assert task.ids is not None
        commands, _ = normalise([c for c in task.commands if c not in task.void] if task.void else task.commands)
        self._ahead = []
        if task.recorded is not None:
            commands, self._ahead = as_recorded(commands, task.recorded["cmds"])
            mismatch = self._mismatch(task, commands)
            if mismatch is not None:
                return self._void(task, mismatch)
        else:
            try:
                self._check(task, commands)
            except TaskFailed as failed:
                return self._void(task, failed)
        rejected = {r.update_id for r in task.rejected}
        records, texts = task.records, task.texts
        if rejected:
            keep = [i for i, r in enumerate(records) if r["k"] != "update" or r["m"]["update_id"] not in rejected]
            records = [records[i] for i in keep]
            texts = [texts[i] for i in keep]
        silent = not records and not commands
        event_ids: list[int] = []
        if not silent:
            ids = task.ids if not rejected else self._ids.begin_task(records)
            event_ids = self._event_ids(task, ids, commands)
            self._flags.update(task.used_flags)
        decision = self._builder.decision(
            at_ms=task.at_ms,
            records=[*(record for record, _ in self._before), *records],
            commands=commands,
            event_ids=event_ids,
            rejected=task.rejected,
            history_length=self._ids.last,
            live=not task.replaying,
        )
        if not task.replaying and not silent:
            flags = f'"flags":{dumps(sorted(task.used_flags))},' if task.used_flags else ""
            if self._suggested:
                flags += '"suggest":1,'
            decision.record = (
                f'{{"v":1,"at":{task.at_ms},"by":{dumps(self._runner.identity)},"sdk":"{SDK_VERSION}",'
                f"{self._build.field()}{flags}"
                f'"ev":[{",".join(texts)}],"cmds":[{",".join([c.text for c in commands])}],"d":"{digest(commands)}"}}'
            )
            task.size = len(decision.record)
        self._size += task.size
        self._before, self._reset = [], False
        return decision

    def _event_ids(self, task: Task, ids: TaskIds, commands: list[Command]) -> list[int]:
        """Count the task. The ids of the events of these commands; on replay the journal says which there are."""
        if task.recorded is None:
            return self._ids.end_task(ids, [c.record for c in commands])
        recorded = task.recorded["cmds"]
        event_ids = self._ids.end_task(ids, recorded)
        checked = iter([i for i, c in zip(event_ids, recorded, strict=True) if c["k"] not in UNCHECKED])
        return [0 if c.kind in UNCHECKED else next(checked) for c in commands]

    def _check(self, task: Task, commands: list[Command]) -> None:
        """What Temporal's Rust worker would refuse, and then its server."""
        if self._runner.limit_payloads:
            check_sizes(commands)
        Checks(self._row, self._runner.namespace, self._runner.attributes, task.at_ms).check(commands)
        if self._builder.names_activities or names_its_activities(commands):
            self._builder.names_activities = True
            ended = {record["seq"] for record in task.happened if record["k"] == "activity"}
            check_activity_ids(commands, self._builder.activities, ended)

    def _mismatch(self, task: Task, commands: list[Command]) -> TaskFailed | None:
        """Temporal's determinism check: kind, order and identity of the commands (temporal-seam §8.4)."""
        recorded = task.recorded
        assert recorded is not None
        if recorded["d"] == digest(commands):
            gone = missing(recorded["cmds"], commands)
            if gone is None:
                return None
            marker, instead = gone
            came = f"patch {instead!r}" if instead is not None else "no patch at that point"
            return self._nondeterminism(
                f"position {task.position}: recorded patch {marker!r}, but the code now asks for {came}. Non-deprecated "
                f"patch marker encountered for change {marker}, but there is no corresponding change command!",
                recorded,
            )
        then = [_describe(c) for c in recorded["cmds"] if c["k"] not in UNCHECKED]
        now = [_describe(json.loads(c.text)) for c in commands if c.kind not in UNCHECKED]
        index = next((i for i, (a, b) in enumerate(zip(then, now, strict=False)) if a != b), min(len(then), len(now)))
        was = then[index] if index < len(then) else "nothing more"
        came = now[index] if index < len(now) else "nothing more"
        return self._nondeterminism(
            f"position {task.position}, command {index + 1}: recorded {was}, but the code now asks for {came}.",
            recorded,
        )

    def _nondeterminism(self, what: str, recorded: Mapping[str, Any]) -> TaskFailed:
        failure = application_failure(
            f"[TMPRL1100] Nondeterminism error: workflow {self._row.workflow_id!r} run {self._row.run_id}, journal "
            f"{what} Recorded with temporalio {recorded.get('sdk', '?')}, replayed with {SDK_VERSION}. "
            "Deploy the code that began this run, or guard the change with workflow.patched()."
        )
        misfit = None
        if self._host.fails_workflow_on_nondeterminism(self._row.workflow_type):
            runner, row = self._runner, self._row
            builder = runner.builder(row, self._builder.inputs)
            misfit = JournalMisfit(failure, builder, row, identity=runner.identity, build_id=runner.build_id)
        return TaskFailed(failure, "NON_DETERMINISTIC_ERROR", misfit)

    def _void(self, task: Task, failed: TaskFailed) -> Decision:
        return Decision(record=None, name="", failure=failed.result(None if task.replaying else task.texts))


async def _ready(completion: WorkflowActivationCompletion) -> WorkflowActivationCompletion:
    return completion


def _describe(command: Mapping[str, Any]) -> str:
    """A command for people, in the words of its identity."""
    kind = command["k"]
    if kind == "activity":
        return f"activity {command['type']!r} (id {command['id']!r}, seq {command['seq']})"
    if kind == "child":
        return f"child workflow {command['type']!r} (id {command['id']!r}, seq {command['seq']})"
    if "seq" in command:
        return f"{kind} {command['seq']}"
    return str(kind)
