"""The front: a client as before, on a real Temporal server, and what is noted of its calls."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta

import pytest
from temporalio import activity, workflow
from temporalio.client import Client, RPCError, WithStartWorkflowOperation, WorkflowUpdateStage
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from dbos_shadow.mirror import MemoryLedger, Mirror, Note

pytestmark = pytest.mark.temporal


@activity.defn
async def greet(name: str) -> str:
    return f"hello {name}"


@workflow.defn
class Talks:
    def __init__(self) -> None:
        self.words: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_condition(lambda: "stop" in self.words)
        return [
            await workflow.execute_activity(greet, w, start_to_close_timeout=timedelta(seconds=20)) for w in self.words
        ]

    @workflow.signal
    def say(self, word: str) -> None:
        self.words.append(word)

    @workflow.update
    def tell(self, word: str) -> int:
        self.words.append(word)
        return len(self.words)

    @workflow.query
    def heard(self) -> int:
        return len(self.words)


async def noted(mirror: Mirror, ledger: MemoryLedger) -> list[Note]:
    await mirror._outbox.end(5)
    return [entry.note for entry in await ledger.entries()]


async def test_a_client_and_a_worker_as_before_and_each_run_is_noted_once(temporal_client: Client) -> None:
    queue = ids = f"mirror-{uuid.uuid4()}"
    ledger = MemoryLedger()
    async with Mirror(temporal_client, ledger=ledger) as mirror:
        client = mirror.client
        async with Worker(
            client, task_queue=queue, workflows=[Talks], activities=[greet], workflow_runner=UnsandboxedWorkflowRunner()
        ):
            started = await client.start_workflow(Talks.run, id=f"{ids}-1", task_queue=queue)
            await started.signal(Talks.say, "one")
            assert await started.query(Talks.heard) == 1
            assert await started.execute_update(Talks.tell, "stop") == 2
            assert await started.result() == ["hello one", "hello stop"]
            signalled = await client.start_workflow(
                Talks.run, id=f"{ids}-2", task_queue=queue, start_signal="say", start_signal_args=["two"]
            )
            await signalled.cancel()
            start = WithStartWorkflowOperation(
                Talks.run, id=f"{ids}-3", task_queue=queue, id_conflict_policy=WorkflowIDConflictPolicy.FAIL
            )
            await client.start_update_with_start_workflow(
                Talks.tell, "three", start_workflow_operation=start, wait_for_stage=WorkflowUpdateStage.COMPLETED
            )
            updated = await start.workflow_handle()
            await updated.terminate()
            with pytest.raises(RPCError):
                await client.get_workflow_handle(f"{ids}-nobody").signal("say", "x")
    notes = await noted(mirror, ledger)
    assert notes == [
        Note(workflow_id=handle.id, run_id=handle.result_run_id or "", workflow_type="Talks")
        for handle in (started, signalled)
    ] + [
        Note(
            workflow_id=f"{ids}-3",
            run_id=updated.result_run_id or updated.first_execution_run_id or "",
            workflow_type="Talks",
        )
    ]


async def test_a_message_to_a_run_that_others_started_makes_it_one_to_follow(temporal_client: Client) -> None:
    ids = f"mirror-{uuid.uuid4()}"
    ledger = MemoryLedger()
    await temporal_client.start_workflow(Talks.run, id=ids, task_queue=ids)
    async with Mirror(temporal_client, ledger=ledger) as mirror:
        handle = mirror.client.get_workflow_handle(ids)
        await handle.signal("say", "x")
        await handle.signal("say", "y")
        await handle.terminate()
    assert await noted(mirror, ledger) == [Note(workflow_id=ids)]


async def test_a_database_that_is_away_is_not_felt(temporal_client: Client) -> None:
    ids = f"mirror-{uuid.uuid4()}"
    async with Mirror(temporal_client, url="postgresql://nobody@127.0.0.1:1/nothing", notes_max=1) as mirror:
        for number in range(3):
            handle = await mirror.client.start_workflow(Talks.run, id=f"{ids}-{number}", task_queue=ids)
            await handle.terminate()
        assert mirror.sent.noted >= 3  # a message to a run that found no room brings it once more
    assert mirror.sent.sent == 0
    assert mirror.sent.dropped == mirror.sent.noted


async def test_a_database_that_never_answers_is_not_felt(temporal_client: Client) -> None:
    ids = f"mirror-{uuid.uuid4()}"
    asked = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()  # until the other side gives up
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with asyncio.timeout(30):
            async with Mirror(temporal_client, url=f"postgresql://nobody@127.0.0.1:{port}/nothing") as mirror:
                handle = await mirror.client.start_workflow(Talks.run, id=ids, task_queue=ids)
                await asked.wait()
                await handle.terminate()
            assert mirror.sent.sent == 0
            assert mirror.sent.dropped == mirror.sent.noted > 0


async def test_what_the_shadow_raises_stays_there(temporal_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(note: Note) -> None:
        raise RuntimeError("a bug of ours")

    ids = f"mirror-{uuid.uuid4()}"
    async with Mirror(temporal_client, ledger=MemoryLedger()) as mirror:
        monkeypatch.setattr(mirror._outbox, "put", broken)
        handle = await mirror.client.start_workflow(Talks.run, id=ids, task_queue=ids)
        await handle.terminate()


async def test_one_of_the_two_ways_to_a_ledger_is_needed(temporal_client: Client) -> None:
    with pytest.raises(ValueError, match="either url=, the Postgres"):
        Mirror(temporal_client)
