"""ShadowRun: one mirrored run in the shadow's kernel, from its start to its end."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

from dbos_compat.bridge.guided import RecordedTask
from dbos_compat.convert.records import CloseRecord, close_text
from dbos_core.commit import Close, NewRun, RunRow, RunStatus, StartResult
from dbos_core.kernel import Kernel
from dbos_core.phase import Phase
from dbos_core.runner import Decision, Event, EventKind
from dbos_shadow.mirror.muted import Beginning, Heard
from dbos_shadow.mirror.patience import patiently
from dbos_shadow.sources import journal
from dbos_shadow.trace import Trace

__all__ = ["ShadowRun", "shadow_id"]

LOOK_EVERY_S = 1.0
"""A run that another process has owned comes here when that one's lease has lapsed. Nobody tells us; we look."""


_FROM_OUTSIDE = frozenset({RunStatus.TERMINATED, RunStatus.TIMED_OUT})


def shadow_id(prefix: str, workflow_id: str, run_id: str) -> str:
    """What a mirrored run is called in the shadow's store: each run for itself, whatever became of the one before."""
    return f"{prefix}{workflow_id}~{run_id}"


class ShadowRun:
    """What the mirror's worker does with the core's side of one run."""

    def __init__(self, kernel: Kernel, heard: Heard, beginning: Beginning, prefix: str) -> None:
        self._kernel = kernel
        self._heard = heard
        self._run_id = beginning.row.run_id
        self.workflow_uuid = shadow_id(prefix, beginning.row.workflow_id, self._run_id)
        self._beginning = beginning
        heard.beginning = beginning

    async def ended(self) -> bool:
        """Has it ended, or is there no such run?"""
        row = await self._row()
        return row is None or row.status is not RunStatus.RUNNING

    async def _row(self) -> RunRow | None:
        return await patiently(lambda: self._kernel.store.find(self.workflow_uuid, self._run_id))

    async def ended_by_itself(self) -> bool:
        """Has its code ended it? One that was ended from outside, and has no verdict, is deleted: it begins anew."""
        found = await self._row()
        if found is not None and found.status in _FROM_OUTSIDE:
            await self.forget()
            return False
        return found is not None and found.status is not RunStatus.RUNNING

    async def _begin(self) -> None:
        """Enter it into the store, unless it is there: then some process has begun with it, and it comes here."""
        if await self._row() is not None:
            return
        row, now_ms = self._beginning.row, self._kernel.clock.now_ms()
        new = NewRun(
            workflow_uuid=self.workflow_uuid,
            workflow_id=self.workflow_uuid,
            run_id=self._run_id,
            first_run_id=self._run_id,
            workflow_type=row.workflow_type,
            task_queue=row.task_queue,
            inputs=self._beginning.inputs,
            start_ms=now_ms,
            execution_ms=now_ms,
            claimed=False,
            memo=row.memo,
            search_attributes=row.search_attributes,
            metadata=row.metadata,
        )
        answer = await self._kernel.start(new, derived_uuid=self.workflow_uuid, terminate_record="{}")
        if answer.result is not StartResult.STARTED:
            raise RuntimeError(f"shadow run {self.workflow_uuid!r} is there although it was not a moment ago")

    async def take(self, told: RecordedTask) -> Decision:
        """Let it take a recorded task, and wait until that is in its journal."""
        heard, index = self._heard, len(self._heard.tasks)
        heard.tasks.append(told)
        heard.wake()
        if index == 0:
            await patiently(self._begin)
        while heard.failure is None and not self._journalled(index):
            run = self._kernel.live(self.workflow_uuid)
            if run is None or run.phase is Phase.GONE:
                if await self.ended():
                    raise RuntimeError(f"shadow run {self.workflow_uuid!r} was ended by somebody else")
            elif run.failing is not None and run.failing.failure is not None:
                heard.failure = run.failing.failure  # not the code's, but of what the database refuses
                break
            elif not run.busy:
                run.deliver(Event(EventKind.RESUME))
            await self._change()
        if heard.failure is not None:
            return Decision(record=None, name="", failure=heard.failure)
        return heard.decisions[index]

    def _journalled(self, index: int) -> bool:
        """Was this task taken, and is what came of it in the journal?"""
        positions = self._heard.positions
        return len(positions) > index and self._heard.position >= positions[index]

    async def _change(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_EVERY_S):
                await self._heard.change()

    async def end(self, status: RunStatus, record: str) -> None:
        """End it from outside, as Temporal's record says."""
        close = Close(status=status, close_ms=self._kernel.clock.now_ms(), record=record, mail_seen_ms=None)
        await patiently(lambda: self._kernel.terminate(self.workflow_uuid, close))

    async def trace(self) -> Trace:
        """What it has done so far, by its journal."""
        loaded = await patiently(lambda: self._kernel.load(self.workflow_uuid))
        if loaded is None:
            raise RuntimeError(f"shadow run {self.workflow_uuid!r} has been deleted by somebody else")
        return replace(journal.trace(loaded), workflow_id=self._beginning.row.workflow_id)

    async def stop(self) -> None:
        """Nothing more happens to it; its journal stays."""
        if not await self.ended():
            record = CloseRecord(kind="terminated", reason="the mirror is done with it")
            await self.end(RunStatus.TERMINATED, close_text(record))

    async def forget(self) -> None:
        """Delete all that there is of it."""
        await self.stop()
        await patiently(lambda: self._kernel.store.delete_run(self.workflow_uuid))
