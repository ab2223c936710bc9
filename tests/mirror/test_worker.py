"""Both halves of a mirror, on a real Temporal server: the same verdicts as replay, and no side effect twice."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from temporalio import workflow
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from dbos_core.store.postgres.results import PostgresResults
from dbos_shadow.mirror import MemoryLedger, Mirror, MirrorWorker, PostgresLedger
from dbos_shadow.mirror.shadow_run import ShadowRun
from dbos_shadow.verdict import Judgement, Reason, Verdict
from tests.fixtures.postgres import PrivatePostgres
from tests.fixtures.process import Spawn
from tests.fixtures.waiting import eventually
from tests.mirror.programs import (
    ACTIVITIES,
    EFFECTS,
    SCRIPTS,
    WORKFLOWS,
    Basket,
    Chain,
    Failing,
    Order,
    drive,
    ended,
    executions,
    refund,
)
from tests.mirror.support import UNSANDBOXED, all_judged, replayed, with_codec

pytestmark = pytest.mark.temporal

SOON = timedelta(seconds=30)


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
    if store == "postgres":
        temporal_client = with_codec(temporal_client)  # what is compared is what was encoded
    where: Any = {"ledger": MemoryLedger()} if store == "memory" else {"url": request.getfixturevalue("postgres_url")}
    async with (
        Mirror(temporal_client, **where) as mirror,
        MirrorWorker(
            temporal_client,
            workflows=WORKFLOWS,
            workflow_runner=UNSANDBOXED,
            on_judgement=judgements.append,
            max_cached_workflows=0 if store == "memory" else 1000,  # 0: every task is taken by a new instance
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
        await mirror.flush()
        await worker.caught_up()
        entries = await worker.ledger.entries()
    by_replay = await replayed(temporal_client, entries)
    for entry in entries:
        assert (entry.verdict, entry.said) == (Verdict.MATCH, ""), entry
        assert by_replay[entry.note.run_id].verdict is Verdict.MATCH
    types = Counter(entry.note.workflow_type for entry in entries)
    # The family's three children and the chain's two successors are mirrored as well.
    assert types == {"Order": 2, "Basket": 8, "Family": 1, "Failing": 2, "Chain": 3, "Stubborn": 1}
    assert {j.run_id: j.verdict for j in judgements} == {e.note.run_id: Verdict.MATCH for e in entries}
    no_side_effect_twice()


async def test_a_run_that_ends_before_its_first_task_and_one_at_which_the_shadow_fails(
    temporal_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(self: ShadowRun, told: Any) -> Any:
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(ShadowRun, "take", broken)
    queue = f"ends-{uuid.uuid4()}"
    ledger = MemoryLedger()
    async with (
        Mirror(temporal_client, ledger=ledger) as mirror,
        MirrorWorker(temporal_client, ledger=ledger, workflows=WORKFLOWS, workflow_runner=UNSANDBOXED) as worker,
    ):
        early = await mirror.client.start_workflow(Failing.run, id=f"{queue}-early", task_queue=queue)
        await early.terminate()
        unlucky = await mirror.client.start_workflow(Failing.run, id=f"{queue}-unlucky", task_queue=queue)
        async with Worker(mirror.client, task_queue=queue, workflows=WORKFLOWS, workflow_runner=UNSANDBOXED):
            await ended(unlucky)
        await mirror.flush()
        await worker.caught_up()
        entries = await ledger.entries()
    by_replay = await replayed(temporal_client, entries)
    assert [entry.verdict for entry in entries] == [Verdict.NOT_RUN, Verdict.INCONCLUSIVE]
    assert by_replay[entries[0].note.run_id].verdict is Verdict.NOT_RUN
    assert entries[1].reason is Reason.NOT_MIRRORED
    assert entries[1].said == "The shadow itself failed: RuntimeError."


async def test_what_follows_from_a_run_is_mirrored_though_the_shadow_has_failed_at_it(
    temporal_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = asyncio.Event()
    take = ShadowRun.take

    async def broken_at_first(self: ShadowRun, told: Any) -> Any:
        if not first.is_set():
            first.set()
            raise RuntimeError("a bug of ours")
        return await take(self, told)

    monkeypatch.setattr(ShadowRun, "take", broken_at_first)
    queue = f"follows-{uuid.uuid4()}"
    ledger = MemoryLedger()
    async with (
        Mirror(temporal_client, ledger=ledger) as mirror,
        MirrorWorker(temporal_client, ledger=ledger, workflows=WORKFLOWS, workflow_runner=UNSANDBOXED) as worker,
        Worker(
            mirror.client, task_queue=queue, workflows=WORKFLOWS, activities=ACTIVITIES, workflow_runner=UNSANDBOXED
        ),
    ):
        await ended(await mirror.client.start_workflow(Chain.run, 2, id=queue, task_queue=queue))
        await mirror.flush()
        await worker.caught_up()
        entries = await ledger.entries()
    assert [(entry.verdict, entry.reason) for entry in entries] == [
        (Verdict.INCONCLUSIVE, Reason.NOT_MIRRORED),
        (Verdict.MATCH, None),
        (Verdict.MATCH, None),
    ]


# -- code that has changed -------------------------------------------------------------------------------------------


@workflow.defn(name="Order")
class Greedy:
    """Refunds, which the Order that Temporal runs does not."""

    @workflow.run
    async def run(self, order: str) -> None:
        await workflow.execute_activity(refund, order, start_to_close_timeout=SOON)


@workflow.defn(name="Failing")
class Stuck:
    """Its tasks fail, where those of the Failing that Temporal runs did not."""

    @workflow.run
    async def run(self) -> None:
        raise RuntimeError("a bug")


async def test_what_temporal_has_no_record_of_is_named_and_never_executed(temporal_client: Client) -> None:
    executions.clear()
    queue = f"changed-{uuid.uuid4()}"
    ledger = MemoryLedger()
    judgements: dict[str, Judgement] = {}

    def keep(judgement: Judgement) -> None:
        judgements[judgement.workflow_type] = judgement

    changed: list[type] = [Greedy, Stuck]
    async with (
        Mirror(temporal_client, ledger=ledger) as mirror,
        MirrorWorker(
            temporal_client,
            ledger=ledger,
            workflows=changed,
            activities=ACTIVITIES,  # whatever is given: none is run
            workflow_runner=UNSANDBOXED,
            on_judgement=keep,
        ),
        Worker(
            mirror.client, task_queue=queue, workflows=WORKFLOWS, activities=ACTIVITIES, workflow_runner=UNSANDBOXED
        ),
    ):
        order = f"{queue}-order"
        for handle in (
            await mirror.client.start_workflow(Order.run, order, id=order, task_queue=queue),
            await mirror.client.start_workflow(Failing.run, id=f"{queue}-failing", task_queue=queue),
            await mirror.client.start_workflow("Chain", 0, id=f"{queue}-chain", task_queue=queue),
        ):
            await ended(handle)
        await mirror.flush()
        entries = await all_judged(ledger)
    assert not [what for what in executions if what.startswith("refund")]
    no_side_effect_twice()
    by_replay = await replayed(temporal_client, entries, changed)
    for entry in entries:
        assert entry.verdict is by_replay[entry.note.run_id].verdict
        assert entry.reason is by_replay[entry.note.run_id].reason
    assert judgements["Order"].verdict is Verdict.MISMATCH
    assert judgements["Order"].subject == "refund"
    assert (
        "asked for activity 'refund', which Temporal has no record of. It was not executed" in judgements["Order"].note
    )
    assert judgements["Failing"].verdict is Verdict.MISMATCH
    assert "On the core a workflow task failed" in judgements["Failing"].note
    assert judgements["Failing"].reason is Reason.BASELINE, "Temporal's own replayer refuses it, too"
    assert (judgements["Chain"].verdict, judgements["Chain"].reason) == (Verdict.NOT_RUN, Reason.UNKNOWN_TYPE)


# -- the shadow's database goes away -----------------------------------------------------------------------------------


@pytest.mark.timeout(180)
async def test_an_outage_of_the_shadow_s_database_is_not_felt_and_made_up_for(
    temporal_client: Client, private_postgres: PrivatePostgres
) -> None:
    executions.clear()
    queue = f"outage-{uuid.uuid4()}"
    url = private_postgres.url
    async with (
        Mirror(temporal_client, url=url) as mirror,
        MirrorWorker(temporal_client, url=url, workflows=WORKFLOWS, workflow_runner=UNSANDBOXED) as worker,
        Worker(
            mirror.client, task_queue=queue, workflows=WORKFLOWS, activities=ACTIVITIES, workflow_runner=UNSANDBOXED
        ),
    ):
        open_runs = [await talking(mirror.client, f"{queue}-{number}", queue) for number in range(3)]
        await mirror.flush()
        await eventually(lambda: worker.followed.following == 3)
        await asyncio.to_thread(private_postgres.stop, "immediate")
        late = await talking(mirror.client, f"{queue}-late", queue)
        for handle in (*open_runs, late):
            await handle.signal("close")
            await handle.result()
        assert mirror.sent.noted == 4
        await asyncio.to_thread(private_postgres.start)
        await mirror.flush()
        await worker.caught_up()
        entries = await worker.ledger.entries()
    assert Counter(entry.verdict for entry in entries) == {Verdict.MATCH: 4}, entries
    no_side_effect_twice()


async def talking(client: Client, workflow_id: str, queue: str) -> WorkflowHandle[Any, Any]:
    """An open run in the middle of its life."""
    handle = await client.start_workflow(Basket.run, 60.0, id=workflow_id, task_queue=queue)
    await handle.execute_update(Basket.add, "one")
    return handle


# -- the shadow side is killed ---------------------------------------------------------------------------------------


async def mirror_with_kills(
    temporal: Client, address: str, url: str, spawn: Spawn, folder: Path, monkeypatch: Any, *, runs: int, kills: int
) -> None:
    """Mixed runs, while the process that follows them is killed again and again: the same verdicts as replay."""
    effects = folder / "effects"
    monkeypatch.setenv(EFFECTS, str(effects))
    shadow = spawn("-m", "tests.mirror.shadow_process", address, url, name="shadow")
    queue = prefix = f"killed-{uuid.uuid4()}"
    ledger = PostgresLedger(url, namespace="mirror")
    await ledger.open()
    try:
        async with (
            Mirror(temporal, url=url) as mirror,
            Worker(
                mirror.client,
                task_queue=queue,
                workflows=WORKFLOWS,
                activities=ACTIVITIES,
                workflow_runner=UNSANDBOXED,
            ),
        ):
            await asyncio.to_thread(shadow.wait_for_line, "following")
            for part in range(kills):
                driving = asyncio.create_task(drive(mirror.client, f"{prefix}-{part}", queue, runs // kills))
                await asyncio.to_thread(shadow.wait_for_line, "judged", within=60)
                shadow.kill()
                await driving  # nobody has noticed
                shadow.start()
            await mirror.flush()
            entries = await all_judged(ledger, within_s=300)
    finally:
        await ledger.close()
    by_replay = await replayed(temporal, entries)
    assert Counter(e.verdict for e in entries) == {Verdict.MATCH: len(by_replay)}, [
        e for e in entries if e.verdict is not Verdict.MATCH
    ]
    assert {r: j.verdict for r, j in by_replay.items()} == {e.note.run_id: e.verdict for e in entries}
    assert await kept(url) == {r: (j.verdict.value, "") for r, j in by_replay.items()}
    lines = effects.read_text().splitlines()
    assert {line.split()[0] for line in lines} == {str(os.getpid())}, "an activity ran in the shadow"
    assert len(lines) == len(set(lines)) > runs, "a side effect has happened twice"
    await nothing_is_left_open(url)


async def kept(url: str) -> dict[str, tuple[str, str]]:
    """Verdict and reason of each run, as the results have them."""
    results = PostgresResults(url, create=False)
    await results.open()
    try:
        (campaign,) = await results.campaigns()
        return {row.run_id: (row.verdict, row.reason) async for row in results.read(campaign.config)}
    finally:
        await results.close()


async def nothing_is_left_open(url: str) -> None:
    """The shadow's store has none of the runs that match, and no activity was ever offered to anybody."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        for table in ("dbos_compat_mirror.runs", "dbos_compat_mirror.activities"):
            found = await (await connection.execute(f"select count(*) from {table}")).fetchone()
            assert found == (0,), table


@pytest.mark.timeout(240)
async def test_a_killed_shadow_goes_on_and_says_what_replay_says(
    temporal_client: Client,
    temporal_address: str,
    postgres_url: str,
    spawn: Spawn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = len(SCRIPTS)
    await mirror_with_kills(
        temporal_client, temporal_address, postgres_url, spawn, tmp_path, monkeypatch, runs=runs, kills=1
    )


@pytest.mark.nightly
@pytest.mark.timeout(1200)
async def test_five_hundred_mixed_runs_with_kills(
    temporal_client: Client,
    temporal_address: str,
    postgres_url: str,
    spawn: Spawn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await mirror_with_kills(
        temporal_client, temporal_address, postgres_url, spawn, tmp_path, monkeypatch, runs=500, kills=5
    )
