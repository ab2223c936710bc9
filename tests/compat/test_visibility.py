"""List and count: which runs a filter finds."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from .support import BOOL, DATETIME, DOUBLE, INT, KEYWORD, KEYWORDS, TEXT, MakeWorker, add_search_attributes, eventually


@workflow.defn
class Apple:
    @workflow.run
    async def run(self, how: str) -> None:
        if how == "fail":
            raise ApplicationError("on purpose")
        await workflow.wait_condition(lambda: how != "wait")


@workflow.defn
class Pear:
    @workflow.run
    async def run(self, how: str) -> None:
        await workflow.wait_condition(lambda: how != "wait")


class Orchard:
    """Five runs whose ids begin alike: open, completed, failed, terminated, and one pear on another queue."""

    def __init__(self, client: Client, unique: str) -> None:
        self.client = client
        self.unique = unique
        self.handles: dict[str, WorkflowHandle[object, object]] = {}

    async def found(self, query: str) -> list[str]:
        mine = f"WorkflowId STARTS_WITH '{self.unique}'"
        matches = self.client.list_workflows(f"{mine} AND ({query})" if query else mine)
        return sorted([run.id.removeprefix(f"{self.unique}-") async for run in matches])

    async def finds(self, query: str, *expected: str) -> None:
        """Wait until the filter finds these: the index of a Temporal server follows a moment later."""

        async def fact() -> None:
            assert await self.found(query) == sorted(expected)

        await eventually(fact)


ALL = ("open", "completed", "failed", "terminated", "pear")


async def plant(client: Client, make_worker: MakeWorker, queue: str, unique: str) -> Orchard:
    orchard = Orchard(client, unique)
    attributes: dict[str, list[SearchAttributePair[Any]]] = {
        "open": [
            SearchAttributePair(KEYWORD, "red"),
            SearchAttributePair(INT, 1),
            SearchAttributePair(TEXT, "crisp and sweet"),
            SearchAttributePair(DATETIME, datetime(2025, 1, 1, tzinfo=UTC)),
        ],
        "completed": [
            SearchAttributePair(KEYWORD, "green"),
            SearchAttributePair(INT, 2),
            SearchAttributePair(BOOL, True),
            SearchAttributePair(DOUBLE, 0.5),
            SearchAttributePair(DATETIME, datetime(2026, 1, 1, tzinfo=UTC)),
        ],
        "failed": [SearchAttributePair(KEYWORDS, ["small", "sour"]), SearchAttributePair(INT, 3)],
    }
    async with make_worker(client, task_queue=queue, workflows=[Apple, Pear]):
        for name in ALL:
            orchard.handles[name] = await client.start_workflow(
                "Pear" if name == "pear" else "Apple",
                {"completed": "go", "failed": "fail"}.get(name, "wait"),
                id=f"{unique}-{name}",
                task_queue=f"{queue}-other" if name == "pear" else queue,
                memo={"name": name},
                search_attributes=TypedSearchAttributes(attributes.get(name, [])),
            )
        await orchard.handles["completed"].result()
        await orchard.handles["terminated"].terminate()
        with pytest.raises(WorkflowFailureError):
            await orchard.handles["failed"].result()
    await orchard.finds("ExecutionStatus = 'Running'", "open", "pear")
    return orchard


async def test_filters(client: Client, make_worker: MakeWorker, queue: str, unique: str) -> None:
    orchard = await plant(client, make_worker, queue, unique)
    finds = orchard.finds
    await finds("", *ALL)
    # ids and types
    await finds(f"WorkflowId = '{unique}-open'", "open")
    await finds(f'WorkflowId = "{unique}-open"', "open")
    await finds(f"WorkflowId IN ('{unique}-open', '{unique}-pear', 'nobody')", "open", "pear")
    await finds(f"WorkflowId != '{unique}-open'", "completed", "failed", "terminated", "pear")
    await finds(f"RunId = '{orchard.handles['failed'].result_run_id}'", "failed")
    await finds("WorkflowType = 'Pear'", "pear")
    await finds("WorkflowType != 'Pear'", "open", "completed", "failed", "terminated")
    await finds("WorkflowType STARTS_WITH 'Pe'", "pear")
    await finds(f"TaskQueue = '{queue}-other'", "pear")
    # states
    await finds("ExecutionStatus = 'Completed'", "completed")
    await finds("ExecutionStatus = 'Failed'", "failed")
    await finds("ExecutionStatus = 'Terminated'", "terminated")
    await finds("ExecutionStatus = 'Canceled'")
    await finds("ExecutionStatus IN ('Failed', 'Terminated')", "failed", "terminated")
    await finds("ExecutionStatus != 'Running'", "completed", "failed", "terminated")
    # times
    await finds("CloseTime IS NULL", "open", "pear")
    await finds("CloseTime IS NOT NULL", "completed", "failed", "terminated")
    past = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    future = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    await finds(f"StartTime > '{past}'", *ALL)
    await finds(f"StartTime < '{past}'")
    await finds(f"CloseTime < '{future}'", "completed", "failed", "terminated")
    await finds(f"StartTime BETWEEN '{past}' AND '{future}'", *ALL)
    # custom search attributes
    await finds(f"{KEYWORD.name} = 'red'", "open")
    await finds(f"{KEYWORD.name} IN ('red', 'green')", "open", "completed")
    await finds(f"{KEYWORD.name} IS NULL", "failed", "terminated", "pear")
    await finds(f"{KEYWORDS.name} = 'sour'", "failed")
    await finds(f"{KEYWORDS.name} IN ('sour', 'sweet')", "failed")
    await finds(f"{TEXT.name} = 'sweet'", "open")
    await finds(f"{INT.name} >= 2", "completed", "failed")
    await finds(f"{INT.name} BETWEEN 1 AND 2", "open", "completed")
    await finds(f"{DOUBLE.name} < 1", "completed")
    await finds(f"{BOOL.name} = true", "completed")
    await finds(f"{DATETIME.name} > '2025-06-01T00:00:00Z'", "completed")
    # combinations
    await finds("WorkflowType = 'Apple' AND ExecutionStatus = 'Running'", "open")
    await finds("WorkflowType = 'Pear' OR ExecutionStatus = 'Failed'", "pear", "failed")
    await finds(
        f"WorkflowType = 'Apple' AND (ExecutionStatus = 'Failed' OR {KEYWORD.name} = 'green')", "failed", "completed"
    )
    await finds("WorkflowType = 'Apple' and not ExecutionStatus = 'Running'", "completed", "failed", "terminated")


async def test_what_a_listed_run_tells(client: Client, make_worker: MakeWorker, queue: str, unique: str) -> None:
    orchard = await plant(client, make_worker, queue, unique)
    runs = {run.id: run async for run in client.list_workflows(f"WorkflowId STARTS_WITH '{unique}'")}
    completed = runs[f"{unique}-completed"]
    assert completed.run_id == orchard.handles["completed"].result_run_id
    assert completed.workflow_type == "Apple"
    assert completed.task_queue == queue
    assert completed.status == WorkflowExecutionStatus.COMPLETED
    assert completed.close_time is not None
    assert completed.close_time >= completed.start_time
    assert completed.history_length == len((await orchard.handles["completed"].fetch_history()).events)
    assert await completed.memo() == {"name": "completed"}
    assert completed.typed_search_attributes[KEYWORD] == "green"
    assert completed.typed_search_attributes[INT] == 2
    assert completed.root_id == f"{unique}-completed"
    assert not completed.raw_info.first_run_id, "describe alone tells it"
    assert runs[f"{unique}-open"].close_time is None
    assert runs[f"{unique}-open"].history_length == 0


async def test_runs_come_newest_first_and_in_pages(client: Client, queue: str, unique: str) -> None:
    for number in range(5):
        await client.start_workflow("Apple", "wait", id=f"{unique}-{number}", task_queue=queue)
    query = f"TaskQueue = '{queue}'"

    async def all_there() -> None:
        assert (await client.count_workflows(query)).count == 5

    await eventually(all_there)
    found = [run async for run in client.list_workflows(query, page_size=2)]
    assert {run.id for run in found} == {f"{unique}-{number}" for number in range(5)}
    assert len(found) == 5
    times = [run.start_time for run in found]
    assert times == sorted(times, reverse=True)
    limited = [run.id async for run in client.list_workflows(query, limit=2)]
    assert limited == [run.id for run in found[:2]]


async def test_count_and_groups(client: Client, make_worker: MakeWorker, queue: str, unique: str) -> None:
    await plant(client, make_worker, queue, unique)
    mine = f"WorkflowId STARTS_WITH '{unique}'"
    assert (await client.count_workflows(mine)).count == 5
    assert (await client.count_workflows(f"{mine} AND WorkflowType = 'Apple'")).count == 4
    assert (await client.count_workflows(f"{mine} AND WorkflowType = 'Plum'")).count == 0
    grouped = await client.count_workflows(f"{mine} GROUP BY ExecutionStatus")
    assert grouped.count == 5
    assert sorted((str(group.group_values[0]), group.count) for group in grouped.groups) == [
        ("Completed", 1),
        ("Failed", 1),
        ("Running", 2),
        ("Terminated", 1),
    ]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("Nonsense = 1", "invalid search attribute: Nonsense"),
        ("WorkflowId =", "malformed SQL query: syntax error at position 40"),
        ("ExecutionStatus = 'Sleeping'", "invalid expression: invalid ExecutionStatus value 'Sleeping'"),
        ("StartTime > 'yesterday'", "invalid expression: unable to parse datetime 'yesterday'"),
        (
            "WorkflowId LIKE 'a%'",
            "operation is not supported: operator 'LIKE' not supported for Keyword type search attribute 'WorkflowId'",
        ),
        ("workflowtype = 'Apple'", "invalid search attribute: workflowtype"),
        (
            "CompatInt = 'seven'",
            'invalid expression: invalid value type for search attribute CompatInt of type Int: "seven" (type: string)',
        ),
    ],
)
async def test_a_filter_that_makes_no_sense_is_an_invalid_argument(client: Client, query: str, message: str) -> None:
    await add_search_attributes(client)  # where none are declared, our engine has no opinion about names
    with pytest.raises(RPCError) as refused:
        await asyncio.wait_for(client.count_workflows(query), 5)
    assert refused.value.status == RPCStatusCode.INVALID_ARGUMENT
    assert refused.value.message == f"invalid query: {message}"
    with pytest.raises(RPCError) as refused:
        [run async for run in client.list_workflows(query)]
    assert refused.value.status == RPCStatusCode.INVALID_ARGUMENT
    assert refused.value.message == f"invalid query: {message}"
