"""Memory tables: the rows of a MemoryStore and the few indexes that keep it quick.

What Postgres keeps in tables and indexes is here in dictionaries; nothing in this module awaits, so every change made
between two awaits is a transaction. ``memory_flush`` and ``memory`` decide, this module only stores and finds.
"""

from __future__ import annotations

import heapq
import itertools
import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from dbos_core.activities.spec import ASYNC_WORKER, ActivityRow
from dbos_core.commit import (
    PARK_FOREVER,
    Close,
    Entry,
    JournalRow,
    LoadedRun,
    Mail,
    NewRun,
    ParentClosePolicy,
    RunRow,
    RunStatus,
    UpdateRow,
    row_of,
)
from dbos_core.schedules.rows import SCHEDULED_BY, ScheduleRow
from dbos_core.store.base import ProcessInfo, RequestRow, Wake, WakeKind
from dbos_core.store.memory_jobs import Held

PENDING = "PENDING"
"""The DBOS status of every open run of ours, owned or not."""


@dataclass(slots=True, eq=False)
class Run:
    """A run with all its rows. ``row.owner`` is ours; ``dbos_status`` and ``owner_xid`` are what stock tools change."""

    row: RunRow
    inputs: str
    dbos_status: str = PENDING
    owner_xid: str | None = None
    watched: bool = False
    journal: dict[int, JournalRow] = field(default_factory=dict)
    mail: dict[str, Mail] = field(default_factory=dict)
    """Unconsumed, in order of ``created_ms``."""
    mail_ids: set[str] = field(default_factory=set)
    activities: dict[int, ActivityRow] = field(default_factory=dict)
    updates: dict[str, UpdateRow] = field(default_factory=dict)
    watched_updates: set[str] = field(default_factory=set)

    @property
    def open(self) -> bool:
        return self.row.status is RunStatus.RUNNING

    def owned_by(self, process_id: str) -> bool:
        """The fence of every owner's write."""
        return self.owner_xid == process_id and self.dbos_status == PENDING and self.open

    @property
    def claimable(self) -> bool:
        return self.open and self.row.owner is None and self.dbos_status in (PENDING, "ENQUEUED")

    def newest_waiting_ms(self) -> int:
        """Time of the newest mail that is not consumed; 0 if there is none."""
        for mail in reversed(self.mail.values()):
            return mail.created_ms
        return 0

    def loaded(self) -> LoadedRun:
        return LoadedRun(
            run=replace(self.row),
            inputs=self.inputs,
            entries=[
                Entry(position=row.position, name=row.name, record=row.record)
                for _, row in sorted(self.journal.items())
            ],
            mail=[replace(mail) for mail in self.mail.values()],
            activities=[replace(row) for _, row in sorted(self.activities.items())],
            updates=[replace(row) for row in self.updates.values()],
        )


@dataclass(slots=True)
class Lease:
    process: ProcessInfo
    until_ms: int


@dataclass(slots=True)
class Request:
    row: RequestRow
    worker: str | None = None


class Tables:
    """All rows, whoever looks at them."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.attribute_types: dict[str, str] = {}
        self.current: dict[str, Run] = {}
        """By workflow id; a closed run stays current until the id is used again."""
        self.by_run_id: dict[str, Run] = {}
        self.mail_ids: dict[str, int] = {}
        """Every mail id ever accepted, consumed or not, and its time: what makes a message arrive once."""
        self.owned: dict[str, dict[str, Run]] = {}
        self.offered: dict[tuple[str, int], ActivityRow] = {}
        self.leases: dict[str, Lease] = {}
        self.requests: dict[str, Request] = {}
        self.jobs: dict[str, Held] = {}
        self.outbox: dict[str, str] = {}
        """workflow_uuid → process."""
        self.schedules: dict[str, ScheduleRow] = {}
        self.schedule_news: list[str] = []
        """Schedules of which a run has closed since somebody looked."""
        self.listeners: list[Callable[[Wake], None]] = []
        self.wakes: dict[Wake, None] = {}
        """Wakes of the transaction under way; like NOTIFY, the same one is sent once."""
        self._runnable: dict[str, list[tuple[int, int, str]]] = {}
        """Per queue a heap of (wake time, order of arrival, uuid). Entries that no longer hold are skipped when met."""
        self._arrivals = itertools.count()

    # -- runs ----------------------------------------------------------------------------------------------------

    def may_begin(self, new: NewRun) -> bool:
        """A child of a closed parent may not, unless it was to outlive it."""
        if new.parent is None or new.parent.policy is ParentClosePolicy.ABANDON:
            return True
        parent = self.runs.get(new.parent.workflow_uuid)
        return parent is not None and parent.open

    def add_run(self, new: NewRun, workflow_uuid: str, owner: str | None, now_ms: int, *, current: bool = True) -> Run:
        """Insert the row of a new run and make it the current one of its workflow id."""
        run = Run(row=replace(row_of(new, None), workflow_uuid=workflow_uuid), inputs=new.inputs)
        self.runs[workflow_uuid] = run
        if current:
            self.current[new.workflow_id] = run
        self.by_run_id[new.run_id] = run
        if owner is None:
            self.let_go(run, new.execution_ms, now_ms)
        else:
            self.own(run, owner)
        return run

    def own(self, run: Run, process_id: str) -> None:
        self._forget_owner(run)
        run.row.owner = run.owner_xid = process_id
        run.row.wake_at_ms = None
        run.dbos_status = PENDING
        self.owned.setdefault(process_id, {})[run.row.workflow_uuid] = run

    def let_go(self, run: Run, wake_at_ms: int, now_ms: int) -> None:
        """Nobody's from now on, runnable at that time; whoever serves the queue hears of it if that is now."""
        self._forget_owner(run)
        run.row.wake_at_ms = None if wake_at_ms >= PARK_FOREVER else wake_at_ms
        if run.row.wake_at_ms is not None:
            heap = self._runnable.setdefault(run.row.task_queue, [])
            heapq.heappush(heap, (wake_at_ms, next(self._arrivals), run.row.workflow_uuid))
        if wake_at_ms <= now_ms:
            self.wake(WakeKind.WORK, run.row.task_queue)

    def close_run(self, run: Run, close: Close, process_id: str, now_ms: int) -> None:
        """The end of a run, by that process, which also sees to what follows for others; and the beginning of the run
        that follows it."""
        if close.reaches_others:
            self.outbox.setdefault(run.row.workflow_uuid, process_id)
        self._forget_owner(run)
        self._tell_schedule(run)
        row = run.row
        row.status, row.close_ms, row.close, row.wake_at_ms = close.status, close.close_ms, close.record, None
        run.dbos_status = close.status.dbos
        for seq in list(run.activities):
            self.drop_activity(run, seq)
        if run.watched:
            self.wake(WakeKind.CLOSED, row.workflow_uuid)
        if (new := close.successor) is not None:
            current = self.current.get(row.workflow_id) is run
            owner = process_id if new.claimed else None
            self.add_run(new, new.workflow_uuid, owner, now_ms, current=current)

    def reopen(self, run: Run, now_ms: int) -> None:
        """What a stock resume asks for: open again, nobody's, due now."""
        row = run.row
        row.status, row.close_ms, row.close = RunStatus.RUNNING, None, None
        run.dbos_status = PENDING
        self.let_go(run, now_ms, now_ms)

    def delete_run(self, run: Run) -> None:
        row = run.row
        self._tell_schedule(run)
        del self.runs[row.workflow_uuid], self.by_run_id[row.run_id]
        if self.current.get(row.workflow_id) is run:
            del self.current[row.workflow_id]
        for seq in list(run.activities):
            self.drop_activity(run, seq)
        for mail_id in run.mail_ids:
            del self.mail_ids[mail_id]

    @property
    def queues(self) -> Iterable[str]:
        """The task queues on which runs ever waited for an owner."""
        return self._runnable.keys()

    def next_runnable(self, queues: Iterable[str], now_ms: int, passing_over: Collection[str] = ()) -> Run | None:
        """The due and unowned run of these queues that has waited longest. It stays where it is."""
        best: tuple[int, int, str] | None = None
        for queue in queues:
            heap = self._runnable.get(queue)
            while heap and not self._still_waits(heap[0]):
                heapq.heappop(heap)
            first = heap[0] if heap else None
            if heap and heap[0][2] in passing_over:
                others = [entry for entry in heap if entry[2] not in passing_over and self._still_waits(entry)]
                first = min(others, default=None)
            if first is not None and first[0] <= now_ms and (best is None or first < best):
                best = first
        return None if best is None else self.runs[best[2]]

    def next_due_in(self, queues: Iterable[str], now_ms: int) -> int | None:
        """Milliseconds until the next unowned run of these queues that is not due yet."""
        waits = [
            entry[0] - now_ms
            for queue in queues
            for entry in self._runnable.get(queue, ())
            if entry[0] > now_ms and self._still_waits(entry)
        ]
        return min(waits, default=None)

    def expired(self, now_ms: int) -> list[Run]:
        """Open, unowned runs past their deadline, earliest deadline first."""
        late = [
            (run.row.deadline_ms, run)
            for run in self.runs.values()
            if run.open and run.row.owner is None and run.row.deadline_ms is not None and run.row.deadline_ms <= now_ms
        ]
        return [run for _, run in sorted(late, key=lambda pair: pair[0])]

    def _still_waits(self, entry: tuple[int, int, str]) -> bool:
        run = self.runs.get(entry[2])
        return run is not None and run.row.wake_at_ms == entry[0] and run.claimable

    def _forget_owner(self, run: Run) -> None:
        if run.row.owner is not None:
            del self.owned[run.row.owner][run.row.workflow_uuid]
        run.row.owner = run.owner_xid = None

    # -- mail ----------------------------------------------------------------------------------------------------

    def add_mail(self, run: Run, mail: Mail, now_ms: int) -> None:
        """Append to the mailbox and say when on ``mail`` itself; a run that nobody owns becomes runnable now."""
        row = run.row
        mail.follows_ms = row.last_mail_ms
        row.last_mail_ms = mail.created_ms = max(now_ms, row.last_mail_ms + 1)
        run.mail[mail.mail_id] = replace(mail, workflow_uuid=row.workflow_uuid, follows_ms=None)
        self.mail_ids[mail.mail_id] = mail.created_ms
        run.mail_ids.add(mail.mail_id)
        self.wake(WakeKind.MAIL, row.workflow_uuid)
        if row.owner is None and run.open:
            self.let_go(run, now_ms if row.wake_at_ms is None else min(now_ms, row.wake_at_ms), now_ms)

    # -- activities ----------------------------------------------------------------------------------------------

    def put_activity(self, run: Run, row: ActivityRow, now_ms: int) -> None:
        """Insert or overwrite. What other processes wrote stays: heartbeats, and who has taken this very attempt."""
        row, before = replace(row), run.activities.get(row.seq)
        if before is not None:
            if row.heartbeat is None:
                row.heartbeat = before.heartbeat
            if row.heartbeat_at_ms is None:
                row.heartbeat_at_ms = before.heartbeat_at_ms
            if row.offered and before.offered and row.attempt == before.attempt:
                row.started_ms = before.started_ms if row.started_ms is None else row.started_ms
                row.worker = before.worker if row.worker is None else row.worker
        run.activities[row.seq] = row
        if row.offered:
            self.offered[row.workflow_uuid, row.seq] = row
            if row.worker is None and row.due_ms <= now_ms:
                self.wake(WakeKind.ACTIVITY, row.task_queue)
        else:
            self.offered.pop((row.workflow_uuid, row.seq), None)

    def drop_activity(self, run: Run, seq: int) -> None:
        run.activities.pop(seq, None)
        self.offered.pop((run.row.workflow_uuid, seq), None)

    def free_activities(self, queues: Sequence[str], now_ms: int) -> list[ActivityRow]:
        """Offered attempts on these queues that are due and that nobody has taken, longest due first."""
        free = [
            row
            for row in self.offered.values()
            if row.worker is None and row.due_ms <= now_ms and row.task_queue in queues
        ]
        return sorted(free, key=lambda row: row.due_ms)

    # -- schedules -----------------------------------------------------------------------------------------------

    def _tell_schedule(self, run: Run) -> None:
        """An open run is about to end: if a schedule started it, that one is due."""
        attributes = run.row.search_attributes
        if run.open and attributes is not None and SCHEDULED_BY in attributes:
            schedule_id = json.loads(attributes).get(SCHEDULED_BY)
            if schedule_id is not None:
                self.schedule_news.append(schedule_id)
                self.wake(WakeKind.SCHEDULE, "")

    def schedule_due_in(self, now_ms: int) -> int | None:
        """Milliseconds until the next schedule is due; 0 if one is."""
        wakes = [row.wake_at_ms for row in self.schedules.values() if row.wake_at_ms is not None]
        if self.schedule_news:
            return 0
        return max(min(wakes) - now_ms, 0) if wakes else None

    # -- processes -----------------------------------------------------------------------------------------------

    def lapsed(self, process_id: str, now_ms: int) -> bool:
        if process_id == ASYNC_WORKER:
            return False
        lease = self.leases.get(process_id)
        return lease is None or lease.until_ms <= now_ms

    def busy_processes(self) -> set[str]:
        """Processes that own runs or have taken activities."""
        busy = {process_id for process_id, runs in self.owned.items() if runs}
        busy.update(row.worker for row in self.offered.values() if row.worker is not None)
        busy.update(self.outbox.values())
        return busy

    # -- wakes ---------------------------------------------------------------------------------------------------

    def wake(self, kind: WakeKind, key: str) -> None:
        self.wakes[Wake(kind, key)] = None
