"""Updates: admitted durably, awaited by whoever asked, told of at once where they happen.

What becomes of an update in this process is remembered for a while, so that its waiter needs no look at the database;
the rejection of an update (stage 0) leaves no row at all and is known only so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbos_core.commit import Mail, RunRow, RunStatus, UpdateRow, Verdict
from dbos_core.waiting import update_settled

if TYPE_CHECKING:
    from dbos_core.kernel import Kernel

REMEMBER_S = 30.0
"""How long a waiter may take to come and hear of what has happened."""


class UpdateAborted(Exception):
    """The run closed while the update was only admitted."""


class Updates:
    """Part of a :class:`~dbos_core.kernel.Kernel`."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._changed: dict[tuple[str, str], UpdateRow] = {}

    async def admit(self, run: RunRow, update_id: str, mail: Mail) -> tuple[Verdict, UpdateRow | None]:
        """Make an update request durable: COMMITTED; DUPLICATE with what is known of it; RUN_CLOSED."""
        kernel, uuid = self._kernel, run.workflow_uuid
        self._changed.pop((uuid, update_id), None)  # a rejected id may be used again
        verdict, row = await kernel.store.admit_update(uuid, update_id, mail, watch=uuid not in kernel.live_runs)
        if verdict is Verdict.COMMITTED:
            kernel.post.posted(mail)
        return verdict, row

    async def wait(self, workflow_uuid: str, update_id: str, stage: int, timeout_s: float) -> UpdateRow | None:
        """The update's row once it reached ``stage`` (stage 0: rejected, with the reason as outcome).

        None: not within ``timeout_s``, or no such update.

        Raises:
            UpdateAborted: the run closed while the update was only admitted.
        """
        kernel = self._kernel
        key = (workflow_uuid, update_id)
        deadline = kernel.loop.time() + timeout_s
        while True:
            with kernel.waiting.update_moves(workflow_uuid, update_id) as moved:
                here = workflow_uuid in kernel.live_runs
                row = self._changed.get(key)
                if row is None or not update_settled(row, stage):
                    row = await kernel.store.update_row(workflow_uuid, update_id, watch=not here)
                elif row.stage == 0:
                    del self._changed[key]  # heard; the id is free again
                remaining = deadline - kernel.loop.time()
                if update_settled(row, stage) or row is None or remaining <= 0:
                    return row if update_settled(row, stage) else None
                if not here:
                    rows = await kernel.store.rows([workflow_uuid], watch=False)
                    if not rows or rows[0].status is not RunStatus.RUNNING:
                        row = await kernel.store.update_row(workflow_uuid, update_id, watch=False)
                        if row is not None and row.stage == 1:
                            raise UpdateAborted(update_id)
                        return row
                await kernel.waiting.hear(moved, remaining)

    def changed(self, workflow_uuid: str, row: UpdateRow) -> None:
        """A run that lives here has journalled what became of an update."""
        kernel, key = self._kernel, (workflow_uuid, row.update_id)
        if row.stage == 0 or kernel.waiting.awaits_update(workflow_uuid, row.update_id):
            self._changed[key] = row
            kernel.loop.call_later(REMEMBER_S, self._forget, key, row)
        kernel.waiting.update_changed(workflow_uuid, row.update_id)

    def _forget(self, key: tuple[str, str], row: UpdateRow) -> None:
        if self._changed.get(key) is row:
            del self._changed[key]
