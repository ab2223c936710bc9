"""Unmodified DBOS 3.4, client and command line, on rows that our store wrote."""

from __future__ import annotations

import asyncio
from typing import Any

from dbos_core.commit import Commit, RunStatus, Verdict
from dbos_core.store.postgres import PostgresStore
from tests.postgres import stock
from tests.store.support import QUEUE, Process, close, entry


async def client(url: str, *calls: tuple[str, list[Any]]) -> list[Any]:
    return await asyncio.to_thread(stock.client, url, *calls)


async def command(url: str, *arguments: str) -> Any:
    return await asyncio.to_thread(stock.command, url, *arguments)


async def test_the_client_reads_running_and_finished_runs(ours: Process, postgres_url: str) -> None:
    await ours.start("done", search_attributes='{"city": ["Bern"]}')
    await ours.commit(Commit(workflow_uuid="done", entry=entry(2, name="charge"), close=close(), history_length=7))
    await ours.start("failed")
    await ours.finish("failed", RunStatus.FAILED)
    await ours.start("ended")
    await ours.finish("ended", RunStatus.TERMINATED)
    await ours.start("late")
    await ours.finish("late", RunStatus.TIMED_OUT)
    await ours.start("running")
    await ours.start("waiting", claimed=False)
    await ours.start("delayed", claimed=False, execution_ms=await ours.store.now_ms() + 3_600_000)

    listed, steps, result, failed, ended, status = await client(
        postgres_url,
        ("list_workflows", []),
        ("list_workflow_steps", ["done"]),
        ("get_result", ["done"]),
        ("get_result", ["failed"]),
        ("get_result", ["ended"]),
        ("list_workflows", []),
    )

    states = {row["workflow_id"]: row["status"] for row in listed}
    assert states == {
        "done": "SUCCESS",
        "failed": "ERROR",
        "ended": "CANCELLED",
        "late": "ERROR",
        "running": "PENDING",
        "waiting": "ENQUEUED",
        "delayed": "DELAYED",
    }
    assert [(step["function_id"], step["function_name"], step["output"]) for step in steps] == [
        (1, "step", {"entry": 1}),
        (2, "charge", {"entry": 2}),
    ]
    assert result == "done"
    assert failed == {"raised": "PortableWorkflowError", "message": "no"}
    assert ended["raised"] == "DBOSAwaitedWorkflowCancelledError"
    rows = {row["workflow_id"]: row for row in status}
    assert rows["done"]["name"] == "Order"
    assert rows["done"]["queue_name"] == QUEUE
    assert rows["done"]["app_version"] == "v1"
    assert rows["done"]["executor_id"] == ours.id
    assert rows["done"]["application_name"] == "dbos-compat"
    assert rows["done"]["input"] == {"args": ["book"], "kwargs": {}}
    assert rows["done"]["attributes"] == {"city": ["Bern"]}
    assert rows["ended"]["attributes"] == {"dbos_compat.status": "TERMINATED"}
    assert rows["late"]["attributes"] == {"dbos_compat.status": "TIMED_OUT"}
    assert rows["running"]["attributes"] is None


async def test_attributes_that_are_empty_are_sql_null(ours: Process, postgres_url: str, store: Any) -> None:
    await ours.start("order-42")

    null = "select attributes is null from {dbos}.workflow_status where workflow_uuid = 'order-42'"
    assert await store.database.value("looking", null) is True


async def test_the_command_line_lists_gets_and_shows_steps(ours: Process, postgres_url: str) -> None:
    await ours.start("order-42")
    await ours.finish("order-42")

    [row] = await command(postgres_url, "list")
    assert (row["workflow_id"], row["status"]) == ("order-42", "SUCCESS")
    assert (await command(postgres_url, "get", "order-42"))["name"] == "Order"
    [step] = await command(postgres_url, "steps", "order-42")
    assert (step["function_id"], step["function_name"]) == (1, "step")


async def test_cancel_and_resume_from_the_command_line(ours: Process, postgres_url: str) -> None:
    await ours.start("order-42")

    await command(postgres_url, "cancel", "order-42")

    assert await ours.commit(Commit(workflow_uuid="order-42", entry=entry(2))) is Verdict.CLAIM_LOST
    assert (await ours.pulse()).touched == ("order-42",)
    assert await ours.store.reopened(ours.id, ours.queues, 10) == ["order-42"]
    row = await ours.row("order-42")
    assert (row.status, row.owner) == (RunStatus.CANCELED, None)
    assert (await ours.pulse()).touched == ()

    await command(postgres_url, "resume", "order-42")

    assert await ours.store.reopened(ours.id, ours.queues, 10) == ["order-42"]
    assert (await ours.row("order-42")).status is RunStatus.RUNNING
    assert await ours.claim() == ["order-42"]
    assert await ours.commit(Commit(workflow_uuid="order-42", entry=entry(2))) is Verdict.COMMITTED
    await ours.finish("order-42")
    [result] = await client(postgres_url, ("get_result", ["order-42"]))
    assert result == "done"


async def test_a_parked_run_that_is_cancelled_is_noticed_and_closed(ours: Process, postgres_url: str) -> None:
    await ours.start("order-42")
    await ours.park("order-42")

    await client(postgres_url, ("cancel_workflow", ["order-42"]))

    assert await ours.store.reopened(ours.id, ours.queues, 10) == ["order-42"]
    assert (await ours.row("order-42")).status is RunStatus.CANCELED
    assert await ours.store.reopened(ours.id, ours.queues, 10) == []


async def test_a_cancelled_run_is_closed_however_long_nobody_has_looked(
    ours: Process, postgres_url: str, store: PostgresStore
) -> None:
    assert await ours.store.reopened(ours.id, ours.queues, 10) == []
    for queue in (QUEUE, "later"):
        await ours.start(f"of-{queue}", task_queue=queue)
        await ours.park(f"of-{queue}")
        await client(postgres_url, ("cancel_workflow", [f"of-{queue}"]))
    long_ago = "update {dbos}.workflow_status set completed_at = completed_at - 86400000 where status = 'CANCELLED'"
    await store.database.rows("aging", long_ago)
    await ours.start("terminated")
    await ours.finish("terminated", RunStatus.TERMINATED)

    newcomer = PostgresStore(postgres_url)
    await newcomer.open()
    assert await newcomer.reopened("newcomer", [QUEUE], 10) == [f"of-{QUEUE}"]
    assert await newcomer.reopened("newcomer", [QUEUE, "later"], 10) == ["of-later"]
    assert await newcomer.reopened("newcomer", [QUEUE, "later"], 10) == []
    await newcomer.close()


async def test_a_run_that_is_resumed_on_a_queue_of_any_name_is_open_again(ours: Process, postgres_url: str) -> None:
    for status in (RunStatus.CANCELED, RunStatus.TERMINATED):
        await ours.start(status.name)
        await ours.finish(status.name, status)
        await client(postgres_url, ("resume_workflow_on", [status.name, f"of nobody {status.name}"]))
    await ours.start("parked")
    await ours.park("parked")
    await client(postgres_url, ("resume_workflow_on", ["parked", "of nobody"]))

    concerned = ["CANCELED", "TERMINATED", "parked"]
    assert sorted(await ours.store.reopened(ours.id, ours.queues, 10)) == concerned
    assert sorted(await ours.claim()) == concerned
    assert (await ours.row("CANCELED")).status is RunStatus.RUNNING
    assert await ours.store.reopened(ours.id, ours.queues, 10) == []


async def test_a_running_run_that_is_resumed_is_taken_from_its_owner(ours: Process, postgres_url: str) -> None:
    await ours.start("order-42")

    await client(postgres_url, ("resume_workflow", ["order-42"]))

    assert await ours.commit(Commit(workflow_uuid="order-42", entry=entry(2))) is Verdict.CLAIM_LOST
    assert await ours.store.reopened(ours.id, ours.queues, 10) == ["order-42"]
    assert await ours.claim() == ["order-42"]


async def test_a_fork_becomes_a_run_with_the_copied_journal(ours: Process, postgres_url: str) -> None:
    first = await ours.start("order-42", memo='{"by": "ada"}')
    await ours.commit(Commit(workflow_uuid="order-42", entry=entry(2)))
    await ours.finish("order-42")

    [forked] = await client(postgres_url, ("fork", ["order-42", 2]))

    assert await ours.store.reopened(ours.id, ours.queues, 10) == [forked]
    assert await ours.claim() == [forked]
    loaded = await ours.load(forked)
    assert [one.position for one in loaded.entries] == [1]
    assert (loaded.run.workflow_id, loaded.run.workflow_type, loaded.run.memo) == (forked, "Order", '{"by": "ada"}')
    assert loaded.run.run_id != first.run_id
    assert loaded.inputs == first.inputs
    assert (await ours.row("order-42")).status is RunStatus.COMPLETED


async def test_a_stock_message_is_mail(ours: Process, postgres_url: str) -> None:
    await ours.start("order-42")

    await client(postgres_url, ("send", ["order-42", {"ok": True}, "approve"]), ("send", ["order-42", 1, None]))

    first, second = await ours.mailbox("order-42")
    assert (first.topic, first.message, first.serialization) == ("approve", '{"ok":true}', "portable_json")
    assert second.topic == "__null__topic__"


async def test_deleting_by_the_client_leaves_nothing_of_the_run(ours: Process, postgres_url: str, store: Any) -> None:
    await ours.start("order-42")
    await ours.finish("order-42")

    await client(postgres_url, ("delete_workflow", ["order-42"]))

    assert await ours.store.find("order-42", None) is None
    assert await store.database.value("counting", "select count(*) from {own}.runs") == 0
    await ours.start("order-42")


async def test_an_id_that_a_foreign_dbos_workflow_has_is_taken(ours: Process, postgres_url: str, store: Any) -> None:
    await store.database.rows(
        "enqueueing", "select {dbos}.enqueue_workflow('theirs', 'their-queue', workflow_id => 'x')"
    )

    run, answer = await ours.start_by_policy("x")

    assert answer.run.workflow_uuid == f"x~{run.run_id}"
    assert answer.run.workflow_id == "x"
