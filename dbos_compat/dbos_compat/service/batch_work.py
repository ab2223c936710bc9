"""Carrying a batch operation on: page by page through what its filter finds, noting progress as it goes.

The place that is noted is that of the last run of which everything before is done, in the order of listings. That order
stays put while runs are closed and deleted under it, and runs that are started meanwhile are not met.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

from google.protobuf.json_format import Parse
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, ResetType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest, StartBatchOperationRequest
from temporalio.service import RPCError, RPCStatusCode

from dbos_compat.errors import from_kernel, invalid, no_run
from dbos_compat.history.events import events
from dbos_compat.service.batch_orders import KINDS, OrderKind
from dbos_compat.service.common import Context, find_run
from dbos_compat.service.listing import cursor_text, read_cursor, read_query
from dbos_core.commit import RunStatus
from dbos_core.errors import DBOSCompatError, StoreUnavailable
from dbos_core.jobs import JobRow, JobState, Work
from dbos_core.search import And, Compare, Field, Op, Query

logger = logging.getLogger(__name__)

AT_ONCE = 10
"""Runs that one job works on at the same time."""
PAGE = 500
NOTE_EVERY_S = 1.0

Note = Callable[[JobRow], Awaitable[None]]


def work_of(context: Context) -> Work:
    """What the kernel calls to carry on a job."""

    async def work(job: JobRow, note: Note) -> None:
        await _Batch(context, job, note).carry_on()

    return work


class _Batch:
    def __init__(self, context: Context, job: JobRow, note: Note) -> None:
        self.context = context
        self.job = job
        self.note = note
        self.order = Parse(job.order, StartBatchOperationRequest(), ignore_unknown_fields=True)
        self.kind: OrderKind = KINDS[self.order.WhichOneof("operation") or ""]
        self.pace = _Pace(self.order.max_operations_per_second)
        self.noted_s = asyncio.get_running_loop().time()

    async def carry_on(self) -> None:
        try:
            query = await self.query() if self.order.visibility_query else None
        except RPCError as error:
            logger.warning("batch operation %s: %s", self.job.job_id, error.message)
            await self.end(JobState.FAILED)
            return
        if self.job.position is None:
            found = await self.context.kernel.store.count(query) if query is not None else None
            self.job.total = len(self.targets()) if found is None else found.total
            await self.note(self.job)
        async for runs, position in self.chunks(query):
            results = await asyncio.gather(*(self.do(run) for run in runs), return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException):
                    raise result  # none of them is under way any more
            self.job.done += results.count(True)
            self.job.failed += results.count(False)
            self.job.position = position
            if asyncio.get_running_loop().time() - self.noted_s > NOTE_EVERY_S:
                await self.note(self.job)
                self.noted_s = asyncio.get_running_loop().time()
        await self.end(JobState.COMPLETED)

    async def end(self, state: JobState) -> None:
        await self.note(replace(self.job, state=state, close_ms=self.context.kernel.clock.now_ms()))

    async def query(self) -> Query:
        """The runs that are meant."""
        query = await read_query(self.context, self.order.visibility_query)
        if query.order or query.group_by is not None:
            raise invalid("a batch operation takes a filter without ORDER BY and GROUP BY")
        if not self.kind.open_only:
            return query
        running = Compare(Field.STATUS, Op.EQ, int(RunStatus.RUNNING))
        return replace(query, where=running if query.where is None else And((query.where, running)))

    def targets(self) -> list[WorkflowExecution]:
        """The runs that are named one by one."""
        named = [WorkflowExecution(workflow_id=e.business_id, run_id=e.run_id) for e in self.order.target_executions]
        return named or list(self.order.executions)

    async def chunks(self, query: Query | None) -> AsyncIterator[tuple[list[WorkflowExecution], str]]:
        """Runs that are still to do, a few at a time, each with the place that is reached behind them."""
        if query is None:
            targets = self.targets()
            for at in range(int(self.job.position or 0), len(targets), AT_ONCE):
                yield targets[at : at + AT_ONCE], str(at + AT_ONCE)
            return
        after = read_cursor(self.job.position) if self.job.position is not None else None
        while True:
            page = await self.context.kernel.store.search(replace(query, limit=PAGE, after=after))
            for at in range(0, len(page.rows), AT_ONCE):
                rows = page.rows[at : at + AT_ONCE]
                yield (
                    [WorkflowExecution(workflow_id=row.workflow_id, run_id=row.run_id) for row in rows],
                    cursor_text(rows[-1]),
                )
            if page.next is None:
                return
            after = page.next

    async def do(self, run: WorkflowExecution) -> bool:
        """Do it to one run. A run that is not there, or closed meanwhile, needs nothing done."""
        from dbos_compat.service.table import WORKFLOW  # which has our own handlers, too

        await self.pace.next()
        try:
            request = self.kind.make(self.order, run)
            if isinstance(request, ResetWorkflowExecutionRequest):
                request.workflow_task_finish_event_id = await self.reset_point(run)
            await WORKFLOW[self.kind.rpc](self.context, request)
        except StoreUnavailable:
            raise
        except (RPCError, DBOSCompatError) as raised:
            error = raised if isinstance(raised, RPCError) else from_kernel(raised)
            if error.status is RPCStatusCode.NOT_FOUND:
                return True
            logger.warning("batch operation %s, workflow %r: %s", self.job.job_id, run.workflow_id, error.message)
            return False
        return True

    async def reset_point(self, run: WorkflowExecution) -> int:
        """The workflow task that the order names, in the history of this run."""
        row = await find_run(self.context, run)
        loaded = await self.context.kernel.load(row.workflow_uuid)
        if loaded is None:
            raise no_run(run.workflow_id, run.run_id)
        reset = self.order.reset_operation
        target = reset.options.WhichOneof("target") if reset.HasField("options") else None
        if target == "workflow_task_id":
            return int(reset.options.workflow_task_id)
        if target == "build_id":
            raise invalid("a batch reset to a build id is not supported: name a workflow task")
        first = target == "first_workflow_task" or reset.reset_type == ResetType.RESET_TYPE_FIRST_WORKFLOW_TASK
        return _task(events(loaded), first=first)


def _task(history: list[HistoryEvent], *, first: bool) -> int:
    """The first or last completed workflow task; one behind the first scheduled task where none was completed."""
    completed = [e.event_id for e in history if e.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED]
    if completed:
        return completed[0 if first else -1]
    scheduled = [e.event_id for e in history if e.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED]
    if not scheduled:
        raise invalid("unable to find any scheduled or completed task")
    return scheduled[0] + 1


class _Pace:
    """So many a second, evenly; 0: as many as there are."""

    def __init__(self, per_second: float) -> None:
        self.every_s = 1 / per_second if per_second > 0 else 0.0
        self.next_s = asyncio.get_running_loop().time()

    async def next(self) -> None:
        if not self.every_s:
            return
        now = asyncio.get_running_loop().time()
        at = self.next_s = max(self.next_s + self.every_s, now)
        if at > now:
            await asyncio.sleep(at - now)
