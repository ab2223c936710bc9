"""A real server's runs that are not as most are: reset ones, and those of a status that the SDK does not know."""

from __future__ import annotations

import asyncio
import json
import shlex
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import PauseWorkflowExecutionRequest
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import UnsandboxedWorkflowRunner, Worker
from typer.testing import CliRunner

from dbos_compat.cli import app
from dbos_shadow.mirror import MemoryLedger, MirrorWorker, Note
from dbos_shadow.reading.live import Namespace
from dbos_shadow.reading.pace import Pace
from dbos_shadow.select import Candidate, Selection
from dbos_shadow.verdict import Verdict
from tests.fixtures.temporal import DYNAMIC_CONFIG, development_server
from tests.fixtures.waiting import eventually
from tests.mirror.support import UNSANDBOXED, all_judged
from tests.unit.shadow.test_resets import Named, reset, tell

pytestmark = [pytest.mark.temporal, pytest.mark.timeout(180)]

NAMED = ["-w", "tests.unit.shadow.test_resets:Named"]
CHOOSING = ["-w", "tests.unit.shadow.test_resets:Choosing"]


async def command(*words: object) -> Any:
    return await asyncio.to_thread(CliRunner().invoke, app, ["shadow", *map(str, words)])


@pytest.fixture
async def queue(temporal_client: Client) -> AsyncIterator[str]:
    """With a worker that has ``Named``."""
    queue = f"states-{uuid.uuid4().hex[:8]}"
    async with Worker(
        temporal_client,
        task_queue=queue,
        workflows=[Named],
        activities=[tell],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        yield queue


@pytest.fixture
async def chain(temporal_client: Client, queue: str) -> list[str]:
    """Run ids of a run, of what became of it after a reset, and of what became of that after another one."""
    handle = await temporal_client.start_workflow(Named.run, id=queue, task_queue=queue)
    await handle.signal(Named.go)
    await handle.signal(Named.go)
    await handle.result()
    ids = [str(handle.result_run_id)]
    for task in (1, -2):
        ids.append(await reset(temporal_client, handle, ids[-1], task))
    return ids


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DBOS_COMPAT_DATA_DIR", str(tmp_path / "data"))
    return tmp_path


async def test_reset_runs_from_files_and_live(
    temporal_client: Client, temporal_address: str, queue: str, chain: list[str], elsewhere: Path
) -> None:
    async def listed() -> bool:
        return (await temporal_client.count_workflows(f"TaskQueue = '{queue}' AND CloseTime IS NOT NULL")).count == 3

    await eventually(listed, within=60)
    where = ["--address", temporal_address, "-q", f"TaskQueue = '{queue}'"]
    exported = await command("export", "histories", *where)
    assert "3 histories written" in exported.output
    for words in (["replay", "histories"], ["run", *where, "--sample-floor", 1]):
        answer = await command(*words, *NAMED, "--json")
        report = json.loads(answer.stdout)
        assert (answer.exit_code, report["counts"]["match"], report["campaign"]["selected"]) == (0, 3, 3), words
        assert report["campaign"]["repeated"] == 0
    # The command by which one is shown again finds it, and nothing but it.
    answer = await command("replay", "histories", *CHOOSING, "--json")
    again = json.loads(answer.stdout)["groups"][0]["exemplar"]
    assert again["run_id"] in chain[1:]
    answer = await command(*shlex.split(again["command"])[2:], "--json")
    assert (answer.exit_code, json.loads(answer.stdout)["counts"]["mismatch"]) == (1, 1)


@pytest.mark.parametrize("cached", [0, 1000])
async def test_a_mirror_follows_reset_runs(temporal_client: Client, queue: str, chain: list[str], cached: int) -> None:
    ledger = MemoryLedger()
    query = f"TaskQueue = '{queue}'"
    async with MirrorWorker(
        temporal_client,
        ledger=ledger,
        workflows=[Named],
        workflow_runner=UNSANDBOXED,
        query=query,
        max_cached_workflows=cached,
    ):

        async def noted() -> bool:
            return len(await ledger.entries()) == 3

        await eventually(noted, within=60)
        entries = await all_judged(ledger)
    assert {entry.note.run_id: entry.verdict for entry in entries} == dict.fromkeys(chain, Verdict.MATCH)


async def test_a_paused_run_is_an_open_one(elsewhere: Path) -> None:
    with development_server({**DYNAMIC_CONFIG, "frontend.WorkflowPauseEnabled": "true"}) as address:
        client = await Client.connect(address)
        async with Worker(
            client, task_queue="q", workflows=[Named], activities=[tell], workflow_runner=UnsandboxedWorkflowRunner()
        ):
            other = await client.start_workflow(Named.run, id="other", task_queue="q")
            paused = await client.start_workflow(Named.run, id="paused", task_queue="q")
            await eventually(lambda: both_wait(other, paused), within=60)
            request = PauseWorkflowExecutionRequest(
                namespace="default", workflow_id=paused.id, request_id="r", identity="test", reason="test"
            )
            await client.workflow_service.pause_workflow_execution(request)
            found = await listed_as_paused(client)
        assert (found.is_open, found.close_ms) == (True, 0)
        source = Namespace(client, Pace(per_second=1000))
        read = await source.read(found)
        assert read is not None
        assert read.closed is False
        only = [run.workflow_id async for run in source.candidates(Selection(statuses=("paused",)))]
        assert only == [paused.id]
        answer = await command("run", "--address", address, *NAMED, "--sample-floor", 1, "--json")
        assert (answer.exit_code, json.loads(answer.stdout)["counts"]["match"]) == (0, 2), answer.output
        ledger = MemoryLedger()
        async with MirrorWorker(
            client, ledger=ledger, workflows=[Named], workflow_runner=UNSANDBOXED, query="WorkflowType = 'Named'"
        ):

            async def noted() -> bool:
                return {entry.note.workflow_id for entry in await ledger.entries()} == {"other", "paused"}

            await eventually(noted, within=60)
        # Nor does a message to it, of which a front notes the workflow's id alone.
        ledger = MemoryLedger()
        await ledger.note([Note(workflow_id=paused.id)])
        async with MirrorWorker(client, ledger=ledger, workflows=[Named], workflow_runner=UNSANDBOXED):

            async def resolved() -> bool:
                return paused.first_execution_run_id in {entry.note.run_id for entry in await ledger.entries()}

            await eventually(resolved, within=60)


async def both_wait(*handles: WorkflowHandle[Any, Any]) -> bool:
    """For the signal: their first activity has ended, and code of theirs was told so."""
    histories = [await handle.fetch_history() for handle in handles]
    kinds = [[event.event_type for event in history.events] for history in histories]
    return all(found.count(EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED) == 2 for found in kinds)


async def listed_as_paused(client: Client) -> Candidate:
    source = Namespace(client, Pace(per_second=1000))

    async def listed() -> list[Candidate]:
        return [run async for run in source.candidates(Selection()) if run.status == "paused"]

    (found,) = await eventually(listed, within=60)
    return found
