"""MemoryStore: the promises of ``base.Store`` in dictionaries, on any clock.

For tests, for the determinism kit and for a time-skipping test environment. What survives here is what survives the
*kernel*: several kernels share one store as several processes share a database, and a kernel that is dropped without a
word is a process that died. ``tests/store`` holds this store and Postgres to the same page.

Faults: the failpoints ``memory.before_apply`` and ``memory.after_apply`` stand around the applying of a flush, so that
``StoreUnavailable`` raised there is a lost request or a lost answer.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from dbos_core import failpoints
from dbos_core.activities.spec import ActivityRow
from dbos_core.clock import Clock
from dbos_core.commit import (
    Close,
    Commit,
    LoadedRun,
    Mail,
    NewRun,
    Reset,
    RunRow,
    RunStatus,
    StartAnswer,
    UpdateRow,
    Verdict,
)
from dbos_core.mailbox import ACTIVITY, OWN_ID
from dbos_core.search import Count, Page, Query
from dbos_core.store import memory_flush, memory_search
from dbos_core.store.base import (
    HeartbeatAnswer,
    KnownProcess,
    OfferedActivity,
    ProcessInfo,
    Pulse,
    RequestRow,
    Wake,
    WakeKind,
)
from dbos_core.store.memory_jobs import MemoryJobs
from dbos_core.store.memory_policy import reset, start_by_policy
from dbos_core.store.memory_schedules import MemorySchedules
from dbos_core.store.memory_tables import Lease, Request, Run, Tables


class MemoryStore(MemorySchedules):
    """One connection to a database in memory. Several kernels may share it, or each have a :meth:`sibling`."""

    def __init__(self, clock: Clock, tables: Tables | None = None) -> None:
        self.clock = clock
        self.tables = Tables() if tables is None else tables
        self._callbacks: list[Callable[[Wake], None]] = []
        self._opened = 0
        self.jobs = MemoryJobs(clock, self.tables.jobs)

    def sibling(self) -> MemoryStore:
        """Another connection to the same rows; closing one leaves the listeners of the others alone."""
        return MemoryStore(self.clock, self.tables)

    async def open(self) -> None:
        self._opened += 1

    async def close(self) -> None:
        self._opened -= 1
        if self._opened <= 0:
            for callback in self._callbacks:
                self.tables.listeners.remove(callback)
            self._callbacks.clear()

    async def now_ms(self) -> int:
        return self.clock.now_ms()

    def listen(self, callback: Callable[[Wake], None]) -> None:
        self._callbacks.append(callback)
        self.tables.listeners.append(callback)

    # -- processes -----------------------------------------------------------------------------------------------

    async def register(self, process: ProcessInfo, lease_ms: int) -> None:
        self.tables.leases[process.process_id] = Lease(replace(process), self.clock.now_ms() + lease_ms)

    async def pulse(self, process: ProcessInfo, lease_ms: int) -> Pulse:
        tables, now, me = self.tables, self.clock.now_ms(), process.process_id
        queues = process.task_queues
        alive = not tables.lapsed(me, now)
        tables.leases[me] = Lease(replace(process), now + lease_ms)
        leases = tables.leases.items()
        return Pulse(
            alive=alive,
            lapsed=tuple(sorted(other for other in tables.busy_processes() if tables.lapsed(other, now))),
            runnable=tables.next_runnable(queues, now) is not None,
            offered=bool(tables.free_activities(queues, now)),
            requests=any(self._is_for(me, queues, request) for request in tables.requests.values()),
            expired=bool(tables.expired(now)),
            schedule_due_in_ms=tables.schedule_due_in(now),
            jobs=self.jobs.free(),
            sharers={
                queue: sum(
                    queue in lease.process.limited_queues and not tables.lapsed(other, now) for other, lease in leases
                )
                for queue in process.limited_queues
            },
            next_due_in_ms=tables.next_due_in(queues, now),
            now_ms=now,
            touched=tuple(uuid for uuid, run in tables.owned.get(me, {}).items() if not run.owned_by(me)),
        )

    async def served_elsewhere(self, process_id: str, task_queue: str) -> bool:
        tables, now = self.tables, self.clock.now_ms()
        return any(
            other != process_id and task_queue in lease.process.task_queues and not tables.lapsed(other, now)
            for other, lease in tables.leases.items()
        )

    async def known_processes(self, process_ids: Sequence[str]) -> dict[str, KnownProcess]:
        now, leases = self.clock.now_ms(), self.tables.leases
        return {
            process_id: KnownProcess(leases[process_id].process.identity, leases[process_id].until_ms > now)
            for process_id in process_ids
            if process_id in leases
        }

    async def keep_lease(self, process_id: str, lease_ms: int) -> bool:
        tables, now = self.tables, self.clock.now_ms()
        if process_id not in tables.leases or tables.lapsed(process_id, now):
            return False
        tables.leases[process_id].until_ms = now + lease_ms
        return True

    async def unregister(self, process_id: str) -> None:
        now = self.clock.now_ms()
        for run in list(self.tables.owned.get(process_id, {}).values()):
            self.tables.let_go(run, now, now)
        self._give_back_activities({process_id}, now)
        self.tables.leases.pop(process_id, None)
        self._send_wakes()

    async def take_over(self, process_id: str, lapsed: Sequence[str], queues: Sequence[str], limit: int) -> list[str]:
        tables, now = self.tables, self.clock.now_ms()
        dead = {other for other in lapsed if other != process_id and tables.lapsed(other, now)}
        taken = [
            run
            for other in sorted(dead)
            for run in tables.owned.get(other, {}).values()
            if run.owned_by(other) and run.row.task_queue in queues
        ][:limit]
        for run in taken:
            tables.own(run, process_id)
        self._give_back_activities(dead, now)
        self._send_wakes()
        return [run.row.workflow_uuid for run in taken]

    def _give_back_activities(self, dead: set[str], now: int) -> None:
        """Tell the runs whose attempts died with another process. The attempt is over: it is offered no more."""
        for row in [row for row in self.tables.offered.values() if row.worker in dead]:
            run = self.tables.runs[row.workflow_uuid]
            self.tables.put_activity(run, replace(row, worker=None, offered=False), now)
            mail_id = f"{OWN_ID}lost:{row.workflow_uuid}:{row.seq}:{row.attempt}"
            if mail_id not in self.tables.mail_ids:
                message = json.dumps({"seq": row.seq, "attempt": row.attempt, "lost": True})
                lost = Mail(mail_id=mail_id, workflow_uuid=row.workflow_uuid, topic=ACTIVITY, message=message)
                self.tables.add_mail(run, lost, now)

    # -- runs ----------------------------------------------------------------------------------------------------

    async def flush(self, process_id: str, commits: Sequence[Commit], *, again: bool) -> list[Verdict]:
        # Others get a turn while the request and its answer are on their way, as with a database.
        await asyncio.sleep(0)
        failpoints.hit("memory.before_apply")
        verdicts = memory_flush.flush(self.tables, process_id, commits, again=again, now_ms=self.clock.now_ms())
        self._send_wakes()
        failpoints.hit("memory.after_apply")
        await asyncio.sleep(0)
        return verdicts

    async def start_by_policy(
        self,
        process_id: str,
        run: NewRun,
        derived_uuid: str,
        terminate_record: str,
        *,
        mail: Sequence[Mail] = (),
        updates: Sequence[UpdateRow] = (),
    ) -> StartAnswer:
        start = Commit(
            workflow_uuid=run.workflow_uuid, fenced=False, start=run, mail=tuple(mail), updates=tuple(updates)
        )
        memory_flush.refuse_bad_values(start)
        memory_flush.refuse_bad_text(run.workflow_uuid, terminate_record)
        answer = start_by_policy(self.tables, process_id, start, derived_uuid, terminate_record, self.clock.now_ms())
        self._send_wakes()
        return answer

    async def reset(self, process_id: str, plan: Reset) -> StartAnswer | None:
        texts = Commit(
            workflow_uuid=plan.new.workflow_uuid, start=plan.new, entry=plan.entry, mail=plan.mail, updates=plan.updates
        )
        memory_flush.refuse_bad_values(texts)
        answer = reset(self.tables, process_id, plan, self.clock.now_ms())
        self._send_wakes()
        return answer

    async def claim(
        self, process_id: str, queues: Sequence[str], limit: int, passing_over: Sequence[str] = ()
    ) -> list[str]:
        now, claimed = self.clock.now_ms(), list[str]()
        while len(claimed) < limit and (run := self.tables.next_runnable(queues, now, passing_over)) is not None:
            self.tables.own(run, process_id)
            claimed.append(run.row.workflow_uuid)
        return claimed

    async def owned(self, process_id: str) -> list[str]:
        return [uuid for uuid, run in self.tables.owned.get(process_id, {}).items() if run.row.status == 1]

    async def claim_one(self, process_id: str, workflow_uuid: str) -> bool:
        run = self.tables.runs.get(workflow_uuid)
        if run is None or not run.claimable:
            return False
        self.tables.own(run, process_id)
        return True

    async def release(self, process_id: str, workflow_uuids: Sequence[str]) -> None:
        now = self.clock.now_ms()
        for uuid in workflow_uuids:
            run = self.tables.runs.get(uuid)
            if run is not None and run.row.owner == process_id:
                self.tables.let_go(run, now, now)
        self._send_wakes()

    async def load(self, workflow_uuids: Sequence[str]) -> list[LoadedRun]:
        return [run.loaded() for run in self._known(workflow_uuids)]

    async def note_task_failure(self, process_id: str, workflow_uuid: str, attempt: int, record: str | None) -> None:
        if record is not None:
            memory_flush.refuse_bad_text(workflow_uuid, record)
        run = self.tables.runs.get(workflow_uuid)
        if run is not None and run.owned_by(process_id):
            run.row.task_attempt, run.row.task_failure = attempt, record

    async def mail(self, workflow_uuids: Sequence[str]) -> list[Mail]:
        return [replace(mail) for run in self._known(workflow_uuids) for mail in run.mail.values()]

    def deliver_from_outside(self, mail: Mail) -> None:
        """A row of ``notifications`` that somebody else inserted (stock ``send``): ordered and announced like ours."""
        run = self.tables.runs[mail.workflow_uuid]
        if mail.mail_id not in self.tables.mail_ids:
            self.tables.add_mail(run, mail, self.clock.now_ms())
            self._send_wakes()

    async def terminate(self, process_id: str, workflow_uuid: str, close: Close) -> Verdict:
        memory_flush.refuse_bad_values(Commit(workflow_uuid=workflow_uuid, close=close))
        run = self.tables.runs.get(workflow_uuid)
        if run is None or not run.open:
            return Verdict.RUN_CLOSED
        self.tables.close_run(run, close, process_id, self.clock.now_ms())
        self._send_wakes()
        return Verdict.COMMITTED

    async def set_history_length(self, workflow_uuid: str, history_length: int) -> None:
        run = self.tables.runs.get(workflow_uuid)
        if run is not None and not run.open:
            run.row.history_length = history_length

    async def take_outbox(self, process_id: str, lapsed: Sequence[str], limit: int) -> list[str]:
        tables, now = self.tables, self.clock.now_ms()
        dead = {other for other in lapsed if other == process_id or tables.lapsed(other, now)}
        taken = [uuid for uuid, sender in tables.outbox.items() if sender in dead][:limit]
        tables.outbox.update(dict.fromkeys(taken, process_id))
        return taken

    async def open_children(self, run_id: str) -> list[RunRow]:
        found = [
            run.row
            for run in self.tables.runs.values()
            if run.open and run.row.parent is not None and run.row.parent.run_id == run_id
        ]
        return [replace(row) for row in sorted(found, key=lambda row: row.parent.seq if row.parent else 0)]

    async def closed_children(self, parent: RunRow) -> list[RunRow]:
        runs = self.tables.runs.values()
        found = [run.row for run in runs if not run.open and run.row.parent is not None]
        return [replace(row) for row in found if row.parent is not None and row.parent.run_id == parent.run_id]

    async def posted(self, mail_ids: Sequence[str]) -> set[str]:
        return {mail_id for mail_id in mail_ids if mail_id in self.tables.mail_ids}

    async def expired(self, limit: int) -> list[str]:
        return [run.row.workflow_uuid for run in self.tables.expired(self.clock.now_ms())[:limit]]

    async def find(self, workflow_id: str, run_id: str | None) -> RunRow | None:
        run = self.tables.current.get(workflow_id) if run_id is None else self.tables.by_run_id.get(run_id)
        return None if run is None or run.row.workflow_id != workflow_id else replace(run.row)

    async def rows(self, workflow_uuids: Sequence[str], *, watch: bool) -> list[RunRow]:
        runs = self._known(workflow_uuids)
        if watch:
            for run in runs:
                run.watched = True
        return [replace(run.row) for run in runs]

    async def search(self, query: Query) -> Page:
        page = memory_search.search([run.row for run in self.tables.runs.values()], query)
        return Page(rows=[replace(row) for row in page.rows], next=page.next)

    async def count(self, query: Query) -> Count:
        return memory_search.count([run.row for run in self.tables.runs.values()], query)

    async def attribute_types(self) -> dict[str, str]:
        return dict(self.tables.attribute_types)

    async def declare_attributes(self, changes: Mapping[str, str | None]) -> None:
        for name, kind in changes.items():
            if kind is None:
                self.tables.attribute_types.pop(name, None)
            else:
                self.tables.attribute_types[name] = kind

    async def reopened(self, process_id: str, queues: Sequence[str], limit: int) -> list[str]:
        now = self.clock.now_ms()
        touched = [run for run in self.tables.runs.values() if self._concerns(process_id, queues, run)][:limit]
        for run in touched:
            if run.dbos_status == "CANCELLED":
                record = json.dumps({"canceled_by": "dbos"})
                close = Close(status=RunStatus.CANCELED, close_ms=now, record=record, reaches_others=True)
                self.tables.close_run(run, close, process_id, now)
            else:
                self.tables.reopen(run, now)
        self._send_wakes()
        return [run.row.workflow_uuid for run in touched]

    @staticmethod
    def _concerns(process_id: str, queues: Sequence[str], run: Run) -> bool:
        ours = run.row.owner == process_id or (run.row.owner is None and run.row.task_queue in queues)
        return ours and (run.dbos_status == "ENQUEUED" or (run.dbos_status == "CANCELLED" and run.open))

    def _known(self, workflow_uuids: Sequence[str]) -> list[Run]:
        runs = self.tables.runs
        return [runs[uuid] for uuid in dict.fromkeys(workflow_uuids) if uuid in runs]

    # -- updates -------------------------------------------------------------------------------------------------

    async def admit_update(
        self, workflow_uuid: str, update_id: str, mail: Mail, *, watch: bool = False
    ) -> tuple[Verdict, UpdateRow | None]:
        row = UpdateRow(update_id=update_id, stage=1)
        memory_flush.refuse_bad_values(Commit(workflow_uuid=workflow_uuid, mail=(mail,), updates=(row,)))
        run = self.tables.runs.get(workflow_uuid)
        if run is None:
            return Verdict.RUN_CLOSED, None
        if (known := run.updates.get(update_id)) is not None and known.stage > 0:
            return Verdict.DUPLICATE, replace(known)
        if not run.open:
            return Verdict.RUN_CLOSED, None
        run.updates[update_id] = row
        run.watched_updates.discard(update_id)
        if watch:
            run.watched_updates.add(update_id)
        if mail.mail_id not in self.tables.mail_ids:
            self.tables.add_mail(run, mail, self.clock.now_ms())
        self._send_wakes()
        return Verdict.COMMITTED, replace(row)

    async def update_row(self, workflow_uuid: str, update_id: str, *, watch: bool) -> UpdateRow | None:
        run = self.tables.runs.get(workflow_uuid)
        row = None if run is None else run.updates.get(update_id)
        if run is None or row is None:
            return None
        if row.stage == 0:  # a rejection is told once and leaves no trace
            del run.updates[update_id]
            run.watched_updates.discard(update_id)
        elif watch:
            run.watched_updates.add(update_id)
        return replace(row)

    # -- activities ----------------------------------------------------------------------------------------------

    async def claim_activities(self, process_id: str, queues: Sequence[str], limit: int) -> list[OfferedActivity]:
        now = self.clock.now_ms()
        taken = self.tables.free_activities(queues, now)[:limit]
        for row in taken:
            row.worker, row.started_ms = process_id, now
        return [self._offered(row) for row in taken]

    def _offered(self, row: ActivityRow) -> OfferedActivity:
        run = self.tables.runs[row.workflow_uuid].row
        return OfferedActivity(
            row=replace(row), workflow_id=run.workflow_id, run_id=run.run_id, workflow_type=run.workflow_type
        )

    async def withdraw_activity(self, workflow_uuid: str, seq: int, attempt: int, *, keep: bool = False) -> bool:
        run = self.tables.runs.get(workflow_uuid)
        row = None if run is None else run.activities.get(seq)
        if run is None or row is None or row.attempt != attempt or row.worker is not None:
            return False
        if keep:
            self.tables.put_activity(run, replace(row, offered=False), self.clock.now_ms())
        else:
            self.tables.drop_activity(run, seq)
        return True

    async def heartbeat(
        self, workflow_uuid: str, seq: int, attempt: int, details: str | None, worker: str
    ) -> HeartbeatAnswer:
        now, run = self.clock.now_ms(), self.tables.runs.get(workflow_uuid)
        if run is None or not run.open:
            return HeartbeatAnswer(False)
        row = run.activities.get(seq)
        if row is None:
            if run.row.owner != worker:  # only an owner may run an attempt that has no row
                return HeartbeatAnswer(False)
            row = ActivityRow(
                workflow_uuid=workflow_uuid,
                seq=seq,
                task_queue=run.row.task_queue,
                attempt=attempt,
                scheduled_ms=now,
                due_ms=now,
                started_ms=now,
            )
        elif row.attempt != attempt or (row.worker or run.row.owner) != worker:
            return HeartbeatAnswer(False)
        if details is not None:
            memory_flush.refuse_bad_text(workflow_uuid, details)
        run.activities[seq] = row
        row.worker, row.heartbeat, row.heartbeat_at_ms = worker, details, now
        return HeartbeatAnswer(True, row.cancel_requested, row.operator)

    # -- requests between processes --------------------------------------------------------------------------------

    async def ask(self, request: RequestRow) -> None:
        if request.request_id not in self.tables.requests:
            self.tables.requests[request.request_id] = Request(replace(request))
        self.tables.wake(WakeKind.REQUEST, request.task_queue)
        self._send_wakes()

    async def take_requests(self, process_id: str, queues: Sequence[str], limit: int) -> list[RequestRow]:
        for_us = [request for request in self.tables.requests.values() if self._is_for(process_id, queues, request)]
        for request in for_us[:limit]:
            request.worker = process_id
        return [replace(request.row) for request in for_us[:limit]]

    def _is_for(self, process_id: str, queues: Sequence[str], request: Request) -> bool:
        run = self.tables.runs.get(request.row.workflow_uuid)
        if run is None or request.worker is not None or request.row.response is not None:
            return False
        if request.row.deadline_ms <= self.clock.now_ms():
            return False
        return run.row.owner == process_id or (run.row.owner is None and request.row.task_queue in queues)

    async def answer(self, request_id: str, response: str) -> None:
        request = self.tables.requests.get(request_id)
        if request is not None and request.row.response is None:
            request.row.response = response
            self.tables.wake(WakeKind.ANSWER, request_id)
            self._send_wakes()

    async def response(self, request_id: str) -> str | None:
        request = self.tables.requests.get(request_id)
        if request is None or request.row.response is None:
            return None
        del self.tables.requests[request_id]
        return request.row.response

    # -- upkeep ----------------------------------------------------------------------------------------------------

    async def delete_run(self, workflow_uuid: str) -> bool:
        run = self.tables.runs.get(workflow_uuid)
        if run is None or run.open:
            return False
        self.tables.delete_run(run)
        return True

    async def delete_finished(self, before_ms: int, limit: int) -> int:
        closed = [(run.row.close_ms, run) for run in self.tables.runs.values() if run.row.close_ms is not None]
        told = [pair for pair in closed if pair[0] < before_ms and pair[1].row.workflow_uuid not in self.tables.outbox]
        old = sorted(told, key=lambda pair: pair[0])[:limit]
        for _, run in old:
            self.tables.delete_run(run)
        return len(old)

    def _send_wakes(self) -> None:
        if not self.tables.wakes:
            return
        loop = asyncio.get_running_loop()
        for wake in self.tables.wakes:
            for callback in self.tables.listeners:
                loop.call_soon(self._deliver, callback, wake)
        self.tables.wakes.clear()

    def _deliver(self, callback: Callable[[Wake], None], wake: Wake) -> None:
        if callback in self.tables.listeners:  # not closed meanwhile
            callback(wake)
