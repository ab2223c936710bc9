"""Priorities: who has which, and where they are seen. Not what they do to the order of work."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import Client
from temporalio.common import Priority

from .support import MakeWorker

GIVEN = Priority(priority_key=2, fairness_key="team", fairness_weight=1.5)


def told() -> list[Any]:
    """The priority that the workflow knows itself to have."""
    mine = workflow.info().priority
    return [mine.priority_key, mine.fairness_key, mine.fairness_weight]


@workflow.defn(name="priority-child")
class Child:
    @workflow.run
    async def run(self) -> list[Any]:
        if workflow.info().continued_run_id is None:
            workflow.continue_as_new()
        return told()


@workflow.defn(name="priority-parent")
class Parent:
    @workflow.run
    async def run(self) -> dict[str, list[Any]]:
        own = {
            "nothing": None,
            "a key": Priority(priority_key=4),
            "a weight": Priority(fairness_weight=3.0),
            "a name": Priority(fairness_key="others"),
        }
        found = {"parent": told()}
        for number, (name, priority) in enumerate(own.items()):
            options: dict[str, Any] = {} if priority is None else {"priority": priority}
            found[name] = await workflow.execute_child_workflow(
                Child.run, id=f"{workflow.info().workflow_id}-{number}", **options
            )
        return found


async def shown(client: Client, workflow_id: str) -> tuple[Any, Any]:
    """The priority in describe, and that in the first event."""
    handle = client.get_workflow_handle(workflow_id)
    described = (await handle.describe()).raw_description.workflow_execution_info.priority
    began = (await handle.fetch_history()).events[0].workflow_execution_started_event_attributes.priority
    return (
        (described.priority_key, described.fairness_key, described.fairness_weight),
        (began.priority_key, began.fairness_key, began.fairness_weight),
    )


async def test_a_child_has_what_its_parent_has_and_is_not_given_itself(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Parent, Child]):
        handle = await client.start_workflow(Parent.run, id=wid, task_queue=queue, priority=GIVEN)
        assert await handle.result() == {
            "parent": [2, "team", 1.5],
            "nothing": [2, "team", 1.5],
            "a key": [4, "team", 1.5],
            "a weight": [2, "team", 3.0],
            "a name": [2, "others", 1.5],
        }
    assert await shown(client, wid) == ((2, "team", 1.5), (2, "team", 1.5))
    assert await shown(client, f"{wid}-0") == ((2, "team", 1.5), (2, "team", 1.5))
    assert await shown(client, f"{wid}-1") == ((4, "team", 1.5), (4, "team", 1.5))
    asked = [
        event.start_child_workflow_execution_initiated_event_attributes.priority.priority_key
        for event in (await handle.fetch_history()).events
        if event.HasField("start_child_workflow_execution_initiated_event_attributes")
    ]
    assert asked == [0, 4, 0, 0], "what was asked for is told as it was"


async def test_a_parent_without_one_leaves_its_children_alone(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Parent, Child]):
        found = await client.execute_workflow(Parent.run, id=wid, task_queue=queue)
    assert found["nothing"] == [None, None, None]
    assert found["a key"] == [4, None, None]
    assert await shown(client, wid) == ((0, "", 0), (0, "", 0))


@pytest.mark.parametrize("priority", [GIVEN, Priority(priority_key=5)])
async def test_it_is_shown_before_anything_has_happened(
    client: Client, queue: str, wid: str, priority: Priority
) -> None:
    handle = await client.start_workflow(Child.run, id=wid, task_queue=queue, priority=priority)
    given = (priority.priority_key or 0, priority.fairness_key or "", priority.fairness_weight or 0)
    assert await shown(client, wid) == (given, given)
    await handle.terminate()
