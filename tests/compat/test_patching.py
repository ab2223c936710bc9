"""Changed code: what `patched()` and `deprecate_patch()` answer, what they leave in the history, whom they let replay."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle
from temporalio.common import SearchAttributeKey

from .support import MakeWorker, eventually, keeps_failing, recorded_failure

VERSIONS = SearchAttributeKey.for_keyword_list("TemporalChangeVersion")
SOON = timedelta(seconds=30)


@activity.defn
async def old_step() -> str:
    return "old"


@activity.defn
async def new_step() -> str:
    return "new"


STEPS = [old_step, new_step]


class Waits:
    """What all versions have: they wait for a signal, and say what they have done."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.go = 0

    @workflow.signal
    def proceed(self) -> None:
        self.go += 1

    @workflow.query
    def so_far(self) -> list[str]:
        return self.done

    async def step(self, which: Any) -> None:
        self.done.append(await workflow.execute_activity(which, start_to_close_timeout=SOON))

    async def wait(self, times: int = 1) -> None:
        await workflow.wait_condition(lambda: self.go >= times)


@workflow.defn(name="Order")
class Before(Waits):
    @workflow.run
    async def run(self) -> list[str]:
        await self.step(old_step)
        await self.wait()
        return self.done


@workflow.defn(name="Order")
class Patched(Waits):
    @workflow.run
    async def run(self) -> list[str]:
        await self.step(new_step if workflow.patched("use-new") else old_step)
        await self.wait()
        return self.done


@workflow.defn(name="Order")
class Deprecated(Waits):
    @workflow.run
    async def run(self) -> list[str]:
        workflow.deprecate_patch("use-new")
        await self.step(new_step)
        await self.wait()
        return self.done


@workflow.defn(name="Order")
class After(Waits):
    @workflow.run
    async def run(self) -> list[str]:
        await self.step(new_step)
        await self.wait()
        return self.done


async def begun(client: Client, queue: str, wid: str, make_worker: MakeWorker, code: type) -> WorkflowHandle[Any, Any]:
    """A run that this version has brought to where it waits; its worker is gone."""
    async with make_worker(client, task_queue=queue, workflows=[code], activities=STEPS):
        handle = await client.start_workflow("Order", id=wid, task_queue=queue)

        async def one_step_done() -> None:
            assert len(await handle.query("so_far")) == 1

        await eventually(one_step_done)
    return handle


async def ended(
    client: Client, queue: str, handle: WorkflowHandle[Any, Any], make_worker: MakeWorker, code: type
) -> Any:
    """The result, once another version has gone on with the run."""
    async with make_worker(client, task_queue=queue, workflows=[code], activities=STEPS):
        await handle.signal("proceed")
        return await handle.result()


async def test_a_new_run_takes_the_new_way_and_says_so(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    handle = await begun(client, queue, wid, make_worker, Patched)
    assert await ended(client, queue, handle, make_worker, Patched) == ["new"]
    description = await handle.describe()
    assert description.typed_search_attributes[VERSIONS] == ["use-new"]
    events = (await handle.fetch_history()).events
    kinds = [event.event_type for event in events]
    at = kinds.index(EventType.EVENT_TYPE_MARKER_RECORDED)
    assert kinds[at - 1] == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    assert kinds[at + 1] == EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES
    assert kinds[at + 2] == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    marker = events[at].marker_recorded_event_attributes
    assert marker.marker_name == "core_patch"
    assert marker.details["patch-data"].payloads[0].data == b'{"id":"use-new","deprecated":false}'
    assert marker.workflow_task_completed_event_id == events[at - 1].event_id
    upsert = events[at + 1].upsert_workflow_search_attributes_event_attributes
    (value,) = upsert.search_attributes.indexed_fields.values()
    assert (value.data, dict(value.metadata)) == (
        b'["use-new"]',
        {"encoding": b"json/plain", "type": b"KeywordList"},
    )

    async def listed() -> None:
        found = [run.id async for run in client.list_workflows("TemporalChangeVersion = 'use-new'")]
        assert wid in found

    await eventually(listed)


async def test_a_run_from_before_keeps_to_the_old_way(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    handle = await begun(client, queue, wid, make_worker, Before)
    assert await ended(client, queue, handle, make_worker, Patched) == ["old"]
    assert (await handle.describe()).typed_search_attributes.get(VERSIONS) is None


@workflow.defn(name="Order")
class Longer(Waits):
    """Has more to do than any run before it came to."""

    @workflow.run
    async def run(self) -> list[str]:
        await self.step(old_step)
        await self.step(new_step)
        await self.wait()
        return self.done


async def test_what_was_added_where_a_run_stands_is_done_with_its_next_task(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    handle = await begun(client, queue, wid, make_worker, Before)
    async with make_worker(client, task_queue=queue, workflows=[Longer], activities=STEPS):
        assert await handle.query("so_far") == ["old"]
        await handle.signal("proceed")
        assert await handle.result() == ["old", "new"]


@workflow.defn(name="Order")
class Shorter(Waits):
    """Has nothing to wait for any more."""

    @workflow.run
    async def run(self) -> list[str]:
        await self.step(old_step)
        return self.done


async def test_an_end_where_a_run_stands_comes_with_its_next_task(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    handle = await begun(client, queue, wid, make_worker, Before)
    async with make_worker(client, task_queue=queue, workflows=[Shorter], activities=STEPS):
        assert await handle.query("so_far") == ["old"]
        await handle.signal("proceed")
        assert await handle.result() == ["old"]


@pytest.mark.parametrize(("first", "then"), [(Patched, Deprecated), (Deprecated, After), (Deprecated, Patched)])
async def test_versions_that_may_follow_each_other(
    client: Client, make_worker: MakeWorker, queue: str, wid: str, first: type, then: type
) -> None:
    handle = await begun(client, queue, wid, make_worker, first)
    assert await ended(client, queue, handle, make_worker, then) == ["new"]


@pytest.mark.no_replay("the workflow code does not fit the history on purpose")
@pytest.mark.parametrize(("first", "then"), [(Patched, After), (Before, Deprecated), (Patched, Before)])
async def test_versions_that_may_not(
    client: Client, make_worker: MakeWorker, queue: str, wid: str, first: type, then: type
) -> None:
    handle = await begun(client, queue, wid, make_worker, first)
    async with make_worker(client, task_queue=queue, workflows=[then], activities=STEPS):
        await handle.signal("proceed")
        await keeps_failing(handle)
        cause, failure = await recorded_failure(handle)
        assert cause == "WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR"
        assert "[TMPRL1100]" in failure.message
        if then is After:
            assert "Non-deprecated patch marker encountered for change use-new" in failure.message
            assert "there is no corresponding change command" in failure.message
    async with make_worker(client, task_queue=queue, workflows=[first], activities=STEPS):
        assert len(await handle.result()) == 1


@workflow.defn
class Several(Waits):
    """Asks for its patches in different steps, and for one of them again and again."""

    @workflow.run
    async def run(self) -> list[Any]:
        answers: list[Any] = [workflow.patched("b")]
        await self.step(old_step)
        answers.append(workflow.patched("a"))
        await self.wait()
        answers += [workflow.patched("b"), workflow.patched("a")]
        workflow.deprecate_patch("c")
        await self.wait(2)
        return answers


async def test_several_patches_in_one_run(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    handle = await client.start_workflow(Several.run, id=wid, task_queue=queue)

    async def waits() -> None:
        assert await handle.query(Several.so_far) == ["old"]

    for _ in range(2):
        async with make_worker(client, task_queue=queue, workflows=[Several], activities=STEPS):
            await eventually(waits)
            await handle.signal(Several.proceed)
    async with make_worker(client, task_queue=queue, workflows=[Several], activities=STEPS):
        assert await handle.result() == [True, True, True, True]
    assert (await handle.describe()).typed_search_attributes[VERSIONS] == ["a", "b", "c"]
    markers = [
        event.marker_recorded_event_attributes.details["patch-data"].payloads[0].data
        for event in (await handle.fetch_history()).events
        if event.event_type == EventType.EVENT_TYPE_MARKER_RECORDED
    ]
    assert markers == [
        b'{"id":"b","deprecated":false}',
        b'{"id":"a","deprecated":false}',
        b'{"id":"c","deprecated":true}',
    ]


@workflow.defn(name="LateOrder")
class LateBefore(Waits):
    @workflow.run
    async def run(self) -> list[str]:
        await self.wait()
        await self.step(old_step)
        await self.wait(2)
        return self.done


@workflow.defn(name="LateOrder")
class LatePatched(Waits):
    @workflow.run
    async def run(self) -> list[str]:
        await self.wait()
        await self.step(new_step if workflow.patched("late") else old_step)
        await self.wait(2)
        return self.done


async def test_a_run_that_has_not_come_to_the_change_takes_the_new_way(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[LateBefore], activities=STEPS):
        handle = await client.start_workflow("LateOrder", id=wid, task_queue=queue)
        assert await handle.query("so_far") == []
    async with make_worker(client, task_queue=queue, workflows=[LatePatched], activities=STEPS):
        await handle.signal("proceed")

        async def new_way() -> None:
            assert await handle.query("so_far") == ["new"]

        await eventually(new_way)
    async with make_worker(client, task_queue=queue, workflows=[LatePatched], activities=STEPS):
        await handle.signal("proceed")
        assert await handle.result() == ["new"]
