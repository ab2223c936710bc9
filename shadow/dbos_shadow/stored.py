"""The journal of a replay, through a store and back: written, loaded, replayed from its rows.

With a Postgres store this is what the core does to a run whose process has died. The rows are the shadow's own, under a
key that no run has, and are deleted afterwards. Use a store in a schema of its own all the same.
"""

from __future__ import annotations

import uuid
from dataclasses import replace

from dbos_compat.workbench import Workbench
from dbos_core.commit import Commit, JournalRow, NewRun, Verdict
from dbos_core.errors import DBOSCompatError
from dbos_core.runner import Decision
from dbos_core.store.base import ProcessInfo, Store
from dbos_shadow.sources import journal
from dbos_shadow.telling import Replayed
from dbos_shadow.trace import Trace

__all__ = ["Stored", "StoredDiffers"]

LEASE_MS = 600_000


class StoredDiffers(DBOSCompatError):
    """What came back from the store is not what went in, or the code decided differently when it was replayed from it."""

    code = "DC410"


class Stored:
    """Takes replays through a store. One for as many replays as are wanted::

    async with Stored(store) as stored:
        trace = await stored.trace(replayed, bench)
    """

    def __init__(self, store: Store) -> None:
        """``store`` is not open yet; it is closed at the end."""
        self._store = store
        self._process = ProcessInfo(
            process_id=str(uuid.uuid4()), identity="dbos-compat shadow", application_version="1"
        )

    async def __aenter__(self) -> Stored:
        await self._store.open()
        await self._store.register(self._process, LEASE_MS)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._store.unregister(self._process.process_id)
        await self._store.close()

    async def trace(self, replayed: Replayed, bench: Workbench) -> Trace:
        """Write a journal, load it, replay it from its rows; the trace as the rows have it.

        Raises:
            StoredDiffers: see there.
            StoreUnavailable: the database is away.
        """
        key = f"~shadow~{uuid.uuid4()}"
        await self._write(key, replayed)
        try:
            (loaded,) = await self._store.load([key])
            if [(e.name, e.record) for e in loaded.entries] != replayed.entries:
                raise StoredDiffers(f"The journal of workflow {replayed.run.workflow_id!r} was changed by the store.")
            loaded.run = replace(replayed.run, workflow_uuid=key)
            if not replayed.reset:
                await self._replay(replayed, bench, key)
            return journal.trace(loaded)
        finally:
            await self._store.delete_run(key)

    async def _replay(self, replayed: Replayed, bench: Workbench, key: str) -> None:
        (loaded,) = await self._store.load([key])
        interpreter = bench.runner.open(replayed.run, loaded.inputs)
        try:
            for entry in loaded.entries:
                answer = interpreter.replay(entry)
                decision = answer if isinstance(answer, Decision) else await answer
                if decision.failure is not None:
                    raise StoredDiffers(
                        f"Workflow {replayed.run.workflow_id!r} run {replayed.run.run_id}: the code decided differently when "
                        f"its journal was replayed from the store, at position {entry.position} ({decision.failure.cause})."
                    )
        finally:
            leaving = interpreter.evict()
            if leaving is not None:
                await leaving

    async def _write(self, key: str, replayed: Replayed) -> None:
        run = replayed.run
        begin = NewRun(
            workflow_uuid=key,
            workflow_id=key,
            run_id=str(uuid.uuid4()),
            first_run_id=run.first_run_id,
            workflow_type=run.workflow_type,
            task_queue=run.task_queue,
            inputs=replayed.inputs,
            start_ms=run.start_ms,
            execution_ms=run.execution_ms,
            claimed=True,
            memo=run.memo,
            search_attributes=run.search_attributes,
            metadata=run.metadata,
        )
        await self._flush(Commit(workflow_uuid=key, fenced=False, start=begin))
        for position, (name, record) in enumerate(replayed.entries, 1):
            at_ms = run.start_ms
            row = JournalRow(position=position, name=name, record=record, started_ms=at_ms, completed_ms=at_ms)
            last = position == len(replayed.entries)
            close = replace(replayed.close, successor=None, mail_seen_ms=None) if last and replayed.close else None
            await self._flush(
                Commit(
                    workflow_uuid=key,
                    entry=row,
                    close=close,
                    memo=replayed.run.memo if last else None,
                    search_attributes=replayed.run.search_attributes if last else None,
                )
            )

    async def _flush(self, commit: Commit) -> None:
        (verdict,) = await self._store.flush(self._process.process_id, [commit], again=False)
        if verdict is not Verdict.COMMITTED:
            raise StoredDiffers(f"The store refused a part of a shadow's journal: {verdict.value}.")
