"""Broken workflow code: the task fails and is tried again until the code is right; the run waits."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.api.enums.v1 import EventType
from temporalio.client import (
    Client,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from .support import KEYWORD, MakeWorker, chain, eventually, keeps_failing, recorded_failure

SHORT = timedelta(seconds=1)
"""A Temporal server repeats a failed task at once, and from then on each time its timeout is over."""

UNHANDLED = "WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_WORKER_UNHANDLED_FAILURE"


@activity.defn
async def step() -> str:
    return "stepped"


class Tries:
    """How often the code below ran; the run's own state would be rebuilt each time."""

    count = 0


@workflow.defn(name="Fragile")
class Broken:
    @workflow.run
    async def run(self) -> str:
        await workflow.execute_activity(step, start_to_close_timeout=timedelta(seconds=30))
        Tries.count += 1
        raise ValueError("a mistake in the code")


@workflow.defn(name="Fragile")
class Fixed:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_activity(step, start_to_close_timeout=timedelta(seconds=30))


async def test_an_ordinary_exception_fails_the_task_and_a_fixed_worker_finishes(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Broken], activities=[step]):
        handle = await client.start_workflow("Fragile", id=wid, task_queue=queue, task_timeout=SHORT)
        await keeps_failing(handle)
    async with make_worker(client, task_queue=queue, workflows=[Fixed], activities=[step]):
        assert await handle.result() == "stepped"


@workflow.defn(name="Choosy", failure_exception_types=[ValueError])
class Choosy:
    @workflow.run
    async def run(self) -> None:
        raise ValueError("counts as a failure here")


async def test_an_exception_that_the_workflow_lists_fails_the_workflow(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Choosy]):
        handle = await client.start_workflow(Choosy.run, id=wid, task_queue=queue)
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
        assert chain(failed.value)[1] == "ApplicationError 'counts as a failure here' type=ValueError"


@workflow.defn
class Careless:
    @workflow.run
    async def run(self) -> None:
        raise KeyError("missing")


async def test_an_exception_that_the_worker_lists_fails_the_workflow(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(
        client, task_queue=queue, workflows=[Careless], workflow_failure_exception_types=[Exception]
    ):
        handle = await client.start_workflow(Careless.run, id=wid, task_queue=queue)
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
        assert chain(failed.value)[1] == "ApplicationError \"'missing'\" type=KeyError"


async def test_a_workflow_nobody_has_waits_for_a_worker_that_has_it(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Careless, Choosy]):
        handle = await client.start_workflow("Fragile", id=wid, task_queue=queue, task_timeout=SHORT)
        await keeps_failing(handle)
    async with make_worker(client, task_queue=queue, workflows=[Fixed], activities=[step]):
        assert await handle.result() == "stepped"


@workflow.defn
class Typed:
    @workflow.run
    async def run(self, number: int) -> int:
        return number


@pytest.mark.no_replay("the arguments of the run do not decode")
async def test_arguments_that_do_not_decode_fail_the_task(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Typed]):
        handle = await client.start_workflow("Typed", {"not": "a number"}, id=wid, task_queue=queue, task_timeout=SHORT)
        await keeps_failing(handle)
        other = await client.start_workflow(Typed.run, 7, id=f"{wid}-other", task_queue=queue)
        assert await other.result() == 7
        await handle.terminate()


@workflow.defn
class BadSignal:
    def __init__(self) -> None:
        self.stopped = False

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self.stopped)
        return "stopped"

    @workflow.signal
    def stop(self) -> None:
        self.stopped = True

    @workflow.signal
    def needs_text(self, text: str) -> None:
        raise AssertionError(text)


@pytest.mark.no_replay("the handler fails at each attempt")
async def test_a_handler_with_a_missing_argument_fails_the_task(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[BadSignal]):
        handle = await client.start_workflow(BadSignal.run, id=wid, task_queue=queue, task_timeout=SHORT)
        await handle.signal("needs_text")
        await keeps_failing(handle)
        await handle.terminate()


@workflow.defn(name="Changed")
class Before:
    def __init__(self) -> None:
        self.go = False

    @workflow.run
    async def run(self) -> str:
        await workflow.execute_activity(step, start_to_close_timeout=timedelta(seconds=30))
        await workflow.wait_condition(lambda: self.go)
        return "before"

    @workflow.signal
    def proceed(self) -> None:
        self.go = True

    @workflow.query
    def ready(self) -> bool:
        return True


@workflow.defn(name="Changed")
class After:
    """The same workflow after an edit that its open runs cannot follow."""

    def __init__(self) -> None:
        self.go = False

    @workflow.run
    async def run(self) -> str:
        await workflow.sleep(1)
        await workflow.wait_condition(lambda: self.go)
        return "after"

    @workflow.signal
    def proceed(self) -> None:
        self.go = True


async def has_stepped(handle: WorkflowHandle[Any, Any]) -> None:
    """The task after the activity is done."""
    kinds = [event.event_type for event in (await handle.fetch_history()).events]
    assert EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED in kinds
    done = kinds.index(EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED)
    assert EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED in kinds[done:]


@pytest.mark.no_replay("two versions of the code are meant to disagree")
async def test_code_that_no_longer_fits_the_history_fails_the_task_and_not_the_run(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Before], activities=[step]):
        handle = await client.start_workflow("Changed", id=wid, task_queue=queue, task_timeout=SHORT)
        await eventually(lambda: has_stepped(handle))
    async with make_worker(client, task_queue=queue, workflows=[After], activities=[step]):
        await handle.signal("proceed")
        await keeps_failing(handle)
    async with make_worker(client, task_queue=queue, workflows=[Before], activities=[step]):
        assert await handle.result() == "before"


@workflow.defn
class SameActivityIdTwice:
    @workflow.run
    async def run(self) -> None:
        for _ in range(2):
            workflow.start_activity(step, activity_id="same", start_to_close_timeout=timedelta(seconds=30))
        await workflow.wait_condition(lambda: False)


@pytest.mark.no_replay("the command is refused")
async def test_two_pending_activities_with_one_id_fail_the_task(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[SameActivityIdTwice]):
        handle = await client.start_workflow(SameActivityIdTwice.run, id=wid, task_queue=queue, task_timeout=SHORT)
        await keeps_failing(handle)
        await handle.terminate()


@workflow.defn
class Upsert:
    """Changes what describe and list show of it."""

    def __init__(self) -> None:
        self.go = False

    @workflow.run
    async def run(self) -> list[Any]:
        workflow.upsert_memo({"b": 2, "a": None})
        workflow.upsert_search_attributes([KEYWORD.value_set("blue")])
        inside = [dict(workflow.memo()), workflow.info().typed_search_attributes.get(KEYWORD)]
        await workflow.wait_condition(lambda: self.go)
        workflow.upsert_search_attributes([KEYWORD.value_unset()])
        return inside

    @workflow.signal
    def proceed(self) -> None:
        self.go = True


async def test_upserts_are_seen_inside_and_outside(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Upsert]):
        handle = await client.start_workflow(Upsert.run, id=wid, task_queue=queue, memo={"a": 1, "kept": True})

        async def upserted() -> None:
            described = await handle.describe()
            assert await described.memo() == {"b": 2, "kept": True}
            assert described.typed_search_attributes.get(KEYWORD) == "blue"

        await eventually(upserted)

        async def listed() -> None:
            query = f"WorkflowId = '{wid}' AND {KEYWORD.name} = 'blue'"
            assert (await client.count_workflows(query)).count == 1

        await eventually(listed)
        await handle.signal(Upsert.proceed)
        assert await handle.result() == [{"b": 2, "kept": True}, "blue"]
        assert (await handle.describe()).typed_search_attributes.get(KEYWORD) is None


@workflow.defn
class FailsOnce:
    """A plain exception once; then the code is lucky."""

    @workflow.run
    async def run(self) -> str:
        Tries.count += 1
        if Tries.count == 1:
            raise RuntimeError("unlucky")
        return "lucky"


async def test_a_passing_mistake_is_forgotten(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    Tries.count = 0
    async with make_worker(client, task_queue=queue, workflows=[FailsOnce]):
        handle = await client.start_workflow(FailsOnce.run, id=wid, task_queue=queue)
        assert await handle.result() == "lucky"
    assert Tries.count == 2


async def test_an_application_error_in_a_task_never_retries_it(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[FailsForGood]):
        handle = await client.start_workflow(FailsForGood.run, id=wid, task_queue=queue)
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
        assert chain(failed.value)[1] == "ApplicationError 'for good' type=None"
        history = await handle.fetch_history()
    assert not [e for e in history.events if e.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED]


@workflow.defn
class FailsForGood:
    @workflow.run
    async def run(self) -> None:
        raise ApplicationError("for good")


async def test_an_update_of_a_run_whose_task_keeps_failing_is_refused(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Broken], activities=[step]):
        handle = await client.start_workflow("Fragile", id=wid, task_queue=queue, task_timeout=SHORT)
        await keeps_failing(handle)

        async def refused() -> RPCError:
            try:
                await handle.execute_update("any", rpc_timeout=timedelta(seconds=2))
            except RPCError as error:
                return error
            except WorkflowUpdateRPCTimeoutOrCancelledError:
                pass
            raise AssertionError("the update waits")

        error = await eventually(refused)
        assert (error.status, error.message) == (
            RPCStatusCode.FAILED_PRECONDITION,
            "Unable to perform workflow execution update due to Workflow Task in failed state.",
        )
        await handle.terminate()


async def test_a_query_of_a_run_whose_task_keeps_failing_is_refused(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Broken], activities=[step]):
        handle = await client.start_workflow("Fragile", id=wid, task_queue=queue, task_timeout=SHORT)
        await keeps_failing(handle)

        async def refused() -> RPCError:
            try:
                await handle.query("any", rpc_timeout=timedelta(seconds=1))
            except RPCError as error:
                if error.status == RPCStatusCode.FAILED_PRECONDITION:
                    return error
            raise AssertionError("the query waits")

        error = await eventually(refused)
        assert error.message.startswith("Unable to query workflow due to Workflow Task in failed state.")
        await handle.terminate()


@pytest.mark.no_replay("the tasks fail on purpose")
@pytest.mark.parametrize(
    ("name", "args", "cause", "message", "kind"),
    [
        ("Fragile", [], UNHANDLED, "a mistake in the code", "ValueError"),
        (
            "Unheard",
            [],
            UNHANDLED,
            "Workflow class Unheard is not registered on this worker, available workflows: Fragile, "
            "SameActivityIdTwice, Typed",
            "NotFoundError",
        ),
        ("Typed", [{"not": "a number"}], UNHANDLED, "Failed decoding arguments", "RuntimeError"),
        (
            "SameActivityIdTwice",
            [],
            "WORKFLOW_TASK_FAILED_CAUSE_SCHEDULE_ACTIVITY_DUPLICATE_ID",
            "ScheduleActivityDuplicateId: ",
            "",
        ),
    ],
)
async def test_the_history_tells_why_a_task_failed(
    client: Client,
    make_worker: MakeWorker,
    queue: str,
    wid: str,
    name: str,
    args: list[Any],
    cause: str,
    message: str,
    kind: str,
) -> None:
    workflows = [Broken, SameActivityIdTwice, Typed]
    async with make_worker(client, task_queue=queue, workflows=workflows, activities=[step]):
        handle = await client.start_workflow(name, args=args, id=wid, task_queue=queue, task_timeout=SHORT)
        found, failure = await recorded_failure(handle)
        await handle.terminate()
    assert (found, failure.application_failure_info.type) == (cause, kind)
    assert failure.message.startswith(message)


@pytest.mark.no_replay("two versions of the code are meant to disagree")
async def test_the_history_tells_of_code_that_no_longer_fits(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Before], activities=[step]):
        handle = await client.start_workflow("Changed", id=wid, task_queue=queue, task_timeout=SHORT)
        await eventually(lambda: has_stepped(handle))
    async with make_worker(client, task_queue=queue, workflows=[After], activities=[step]):
        await handle.signal("proceed")
        cause, failure = await recorded_failure(handle)
        assert cause == "WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR"
        assert "[TMPRL1100]" in failure.message
        await handle.terminate()
