"""What the tests of the mirror share: waiting for verdicts, and what replay says of the same runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner

from dbos_compat.workbench import Workbench
from dbos_shadow.mirror import Entry, Ledger
from dbos_shadow.recorded import Recorded
from dbos_shadow.replay import replay_recorded
from dbos_shadow.verdict import Judgement
from tests.fixtures.waiting import eventually
from tests.mirror.programs import WORKFLOWS

UNSANDBOXED = UnsandboxedWorkflowRunner()


async def all_judged(ledger: Ledger, within_s: float = 60.0) -> list[Entry]:
    """The entries, once there is a verdict for each."""

    async def judged() -> list[Entry]:
        entries = await ledger.entries()
        return entries if entries and all(entry.verdict is not None for entry in entries) else []

    return await eventually(judged, within=within_s, what="every mirrored run has a verdict")


async def replayed(
    temporal: Client, entries: list[Entry], workflows: Sequence[type] = WORKFLOWS
) -> Mapping[str, Judgement]:
    """What replay says of the same runs, by run id."""
    verdicts = {}
    async with Workbench(workflows, workflow_runner=UNSANDBOXED) as bench:
        for entry in entries:
            note = entry.note
            history = await temporal.get_workflow_handle(note.workflow_id, run_id=note.run_id).fetch_history()
            recorded = Recorded(
                workflow_id=note.workflow_id,
                run_id=note.run_id,
                workflow_type=note.workflow_type,
                events=list(history.events),
                source="temporal:default",
                closed=True,
            )
            verdicts[note.run_id] = await replay_recorded(recorded, bench)
    return verdicts
