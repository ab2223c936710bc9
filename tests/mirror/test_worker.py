"""Both halves of a mirror, on a real Temporal server: the same verdicts as replay, and no side effect twice."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Mapping

import pytest
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from dbos_compat.workbench import Workbench
from dbos_shadow.mirror import Entry, Ledger, MemoryLedger, Mirror, MirrorWorker
from dbos_shadow.recorded import Recorded
from dbos_shadow.replay import replay_recorded
from dbos_shadow.verdict import Judgement, Verdict
from tests.fixtures.waiting import eventually
from tests.mirror.programs import ACTIVITIES, SCRIPTS, WORKFLOWS, drive, executions

pytestmark = pytest.mark.temporal

UNSANDBOXED = UnsandboxedWorkflowRunner()


async def all_judged(ledger: Ledger, within_s: float = 60.0) -> list[Entry]:
    """The entries, once there is a verdict for each."""

    async def judged() -> list[Entry]:
        entries = await ledger.entries()
        return entries if entries and all(entry.verdict is not None for entry in entries) else []

    return await eventually(judged, within=within_s, what="every mirrored run has a verdict")


async def replayed(temporal: Client, entries: list[Entry]) -> Mapping[str, Judgement]:
    """What replay says of the same runs, by run id."""
    verdicts = {}
    async with Workbench(WORKFLOWS, workflow_runner=UNSANDBOXED) as bench:
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


def no_side_effect_twice() -> None:
    assert executions, "nothing was executed at all"
    assert {what: count for what, count in executions.items() if count > 1} == {}


@pytest.mark.parametrize("store", ["memory", "postgres"])
async def test_unchanged_code_matches_as_in_replay(
    temporal_client: Client, store: str, request: pytest.FixtureRequest
) -> None:
    executions.clear()
    queue = prefix = f"mixed-{uuid.uuid4()}"
    judgements: list[Judgement] = []
    where = {"ledger": MemoryLedger()} if store == "memory" else {"url": request.getfixturevalue("postgres_url")}
    async with (
        Mirror(temporal_client, **where) as mirror,
        MirrorWorker(
            temporal_client,
            workflows=WORKFLOWS,
            workflow_runner=UNSANDBOXED,
            on_judgement=judgements.append,
            **where,
        ) as worker,
        Worker(
            mirror.client,
            task_queue=queue,
            workflows=WORKFLOWS,
            activities=ACTIVITIES,
            workflow_runner=UNSANDBOXED,
        ),
    ):
        await drive(mirror.client, prefix, queue, len(SCRIPTS))
        await eventually(lambda: mirror.sent.noted == mirror.sent.sent)
        entries = await all_judged(worker._ledger)
    by_replay = await replayed(temporal_client, entries)
    for entry in entries:
        assert (entry.verdict, entry.said) == (Verdict.MATCH, ""), entry
        assert by_replay[entry.note.run_id].verdict is Verdict.MATCH
    types = Counter(entry.note.workflow_type for entry in entries)
    # The family's three children and the chain's two successors are mirrored as well.
    assert types == {"Order": 2, "Basket": 4, "Family": 1, "Failing": 2, "Chain": 3, "Stubborn": 1}
    assert {j.run_id: j.verdict for j in judgements} == {e.note.run_id: Verdict.MATCH for e in entries}
    no_side_effect_twice()
