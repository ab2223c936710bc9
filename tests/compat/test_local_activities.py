"""Local activities: run by the worker of their workflow, written down when they have ended."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowHandle
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.workflow import ActivityCancellationType

from .support import MakeWorker, chain, eventually

SOON = timedelta(seconds=10)
TASK = timedelta(seconds=1)
"""Temporal looks for what else has happened only when the workflow task is nearly over."""

RAN: Counter[str] = Counter()
"""How often each activity began, by its workflow and its own id."""


def begins() -> activity.Info:
    info = activity.info()
    RAN[f"{info.workflow_id} {info.activity_id}"] += 1
    return info


@activity.defn
async def double(number: int) -> int:
    begins()
    return 2 * number


@activity.defn
async def about() -> dict[str, Any]:
    info = begins()
    return {
        "local": info.is_local,
        "attempt": info.attempt,
        "queue": info.task_queue,
        "id": info.activity_id,
        "heartbeat": info.heartbeat_timeout,
        "closes": info.schedule_to_close_timeout,
        "works_s": info.start_to_close_timeout and info.start_to_close_timeout.total_seconds(),
    }


@activity.defn
async def fail(message: str, type_: str, non_retryable: bool) -> None:
    begins()
    raise ApplicationError(message, "detail", type=type_, non_retryable=non_retryable)


@activity.defn
async def third_time_lucky() -> int:
    info = begins()
    if info.attempt < 3:
        raise ApplicationError(f"attempt {info.attempt}")
    return info.attempt


@activity.defn
async def wait_for_cancel(then: str) -> str:
    begins()
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        if then == "return":
            return "cleaned up"
        raise
    return ""


@activity.defn
async def brief(seconds: float) -> str:
    begins()
    await asyncio.sleep(seconds)
    return "done"


ALL = [double, about, fail, third_time_lucky, wait_for_cancel, brief]


class Signalled:
    def __init__(self) -> None:
        self.signals = 0

    @workflow.signal
    def proceed(self) -> None:
        self.signals += 1

    async def told(self, times: int = 1) -> None:
        await workflow.wait_condition(lambda: self.signals >= times)


async def markers(handle: WorkflowHandle[Any, Any]) -> list[tuple[dict[str, Any], HistoryEvent]]:
    """What the history has of local activities: the data of each marker, and its event."""
    found = []
    for event in (await handle.fetch_history()).events:
        if event.event_type == EventType.EVENT_TYPE_MARKER_RECORDED:
            attributes = event.marker_recorded_event_attributes
            assert attributes.marker_name == "core_local_activity"
            found.append((json.loads(attributes.details["data"].payloads[0].data), event))
    return found


@workflow.defn
class TwoSteps:
    @workflow.run
    async def run(self) -> list[Any]:
        one = await workflow.execute_local_activity(double, 4, start_to_close_timeout=SOON, summary="the first step")
        two = await workflow.execute_local_activity(double, one, schedule_to_close_timeout=SOON, activity_id="second")
        return [one, two, await workflow.execute_local_activity(about, start_to_close_timeout=SOON)]


async def test_results_and_what_the_history_has_of_them(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[TwoSteps], activities=ALL):
        handle = await client.start_workflow(TwoSteps.run, id=wid, task_queue=queue)
        one, two, info = await handle.result()
    assert (one, two) == (8, 16)
    assert info == {
        "local": True,
        "attempt": 1,
        "queue": queue,
        "id": "3",
        "heartbeat": None,
        "closes": None,
        "works_s": 10,
    }
    (first, event), (second, _), _ = await markers(handle)
    assert {key: first[key] for key in ("seq", "attempt", "activity_id", "activity_type", "backoff")} == {
        "seq": 1,
        "attempt": 1,
        "activity_id": "1",
        "activity_type": "double",
        "backoff": None,
    }
    assert second["activity_id"] == "second"
    assert first["complete_time"]["seconds"] >= first["original_schedule_time"]["seconds"] - 1
    assert event.marker_recorded_event_attributes.details["result"].payloads[0].data == b"8"
    assert event.user_metadata.summary.data == b'"the first step"'
    kinds = [event.event_type for event in (await handle.fetch_history()).events]
    assert EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED not in kinds


@workflow.defn
class OneStep:
    """Takes one step, and returns how it ended and how long that took."""

    @workflow.run
    async def run(self, what: str) -> Any:
        begun = workflow.now()
        try:
            result: Any = await self.step(what)
        except BaseException as error:
            result = chain(error)
        return [result, (workflow.now() - begun).total_seconds()]

    async def step(self, what: str) -> Any:
        quick = RetryPolicy(initial_interval=timedelta(milliseconds=50), maximum_attempts=2)
        half = timedelta(seconds=0.5)
        local = workflow.execute_local_activity
        match what:
            case "twice":
                return await local(fail, args=["no", "Bad", False], start_to_close_timeout=SOON, retry_policy=quick)
            case "never again":
                return await local(fail, args=["no", "Bad", True], start_to_close_timeout=SOON)
            case "named":
                policy = RetryPolicy(non_retryable_error_types=["BAD"])
                return await local(fail, args=["no", "Bad", False], start_to_close_timeout=SOON, retry_policy=policy)
            case "start to close":
                return await local(wait_for_cancel, "raise", start_to_close_timeout=half, retry_policy=quick)
            case "schedule to close":
                return await local(wait_for_cancel, "raise", schedule_to_close_timeout=half)
            case "lucky":
                policy = RetryPolicy(initial_interval=timedelta(milliseconds=20))
                return await local(third_time_lucky, start_to_close_timeout=SOON, retry_policy=policy)
            case _:
                return await local("nowhere", start_to_close_timeout=SOON)


@pytest.mark.parametrize(
    ("what", "expected", "runs"),
    [
        ("twice", ["ApplicationError 'no' type=Bad details=('detail',)"], 2),
        ("never again", ["ApplicationError 'no' type=Bad non_retryable details=('detail',)"], 1),
        ("named", ["ApplicationError 'no' type=Bad details=('detail',)"], 1),
        (
            "start to close",
            [
                "ActivityError 'Local Activity timed out' wait_for_cancel CANCEL_REQUESTED",
                "TimeoutError 'Activity timed out' START_TO_CLOSE",
            ],
            2,
        ),
        (
            "schedule to close",
            [
                "ActivityError 'Local Activity timed out' wait_for_cancel CANCEL_REQUESTED",
                "TimeoutError 'Activity timed out' SCHEDULE_TO_CLOSE",
            ],
            1,
        ),
        ("lucky", 3, 3),
    ],
)
async def test_how_it_may_end(
    client: Client, make_worker: MakeWorker, queue: str, wid: str, what: str, expected: Any, runs: int
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[OneStep], activities=ALL):
        handle = await client.start_workflow(OneStep.run, what, id=wid, task_queue=queue)
        result, _ = await handle.result()
    assert result == expected
    assert RAN[f"{wid} 1"] == runs
    found = await markers(handle)
    assert [data["attempt"] for data, _ in found] == ([runs] if runs else [])
    if runs and isinstance(expected, list):
        failure = found[0][1].marker_recorded_event_attributes.failure
        assert failure.message == ("no" if "no" in expected[0] else "Activity timed out")


@pytest.mark.no_replay("the replayer has no activities to name in the failure")
async def test_one_that_nobody_has_registered(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[OneStep], activities=ALL):
        result, _ = await client.execute_workflow(OneStep.run, "unknown", id=wid, task_queue=queue)
    assert result == [
        "ValueError 'Activity function nowhere is not registered on this worker, available activities: "
        "about, brief, double, fail, third_time_lucky, wait_for_cancel'"
    ]


@workflow.defn
class Waiting:
    @workflow.run
    async def run(self) -> list[Any]:
        begun = workflow.now()
        result = await workflow.execute_local_activity(
            third_time_lucky,
            start_to_close_timeout=SOON,
            retry_policy=RetryPolicy(initial_interval=timedelta(seconds=0.4)),
            local_retry_threshold=timedelta(seconds=0.5),
        )
        return [result, (workflow.now() - begun).total_seconds()]


async def test_a_long_wait_before_the_next_attempt_is_a_timer(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Waiting], activities=ALL):
        handle = await client.start_workflow(Waiting.run, id=wid, task_queue=queue)
        result, seconds = await handle.result()
    assert result == 3
    assert seconds >= 0.8  # 0.4 s in the worker are not always the workflow's time on Temporal
    (first, event), (second, _) = await markers(handle)
    assert (first["seq"], first["attempt"], first["backoff"]) == (1, 2, {"seconds": 0, "nanos": 800_000_000})
    assert event.marker_recorded_event_attributes.failure.message == "attempt 2"
    assert (second["seq"], second["attempt"], second["backoff"]) == (2, 3, None)
    assert second["original_schedule_time"] == first["original_schedule_time"]


@workflow.defn
class Cancels(Signalled):
    @workflow.run
    async def run(self, kind: int, then: str, at_once: bool) -> Any:
        handle = workflow.start_local_activity(
            wait_for_cancel,
            then,
            start_to_close_timeout=SOON,
            cancellation_type=ActivityCancellationType(kind),
        )
        if not at_once:
            await self.told()
        handle.cancel()
        try:
            return await handle
        except BaseException as error:
            return chain(error)


GIVEN_UP = [
    "ActivityError 'Local Activity cancelled' wait_for_cancel CANCEL_REQUESTED",
    "CancelledError 'Activity cancelled'",
]


@pytest.mark.parametrize(
    ("kind", "then", "expected"),
    [
        (ActivityCancellationType.TRY_CANCEL, "return", GIVEN_UP),
        (ActivityCancellationType.ABANDON, "raise", GIVEN_UP),
        (ActivityCancellationType.WAIT_CANCELLATION_COMPLETED, "return", "cleaned up"),
        (
            ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            "raise",
            ["ActivityError 'Local Activity cancelled' wait_for_cancel CANCEL_REQUESTED", "CancelledError 'Cancelled'"],
        ),
    ],
)
async def test_cancelling_one_that_runs(
    engine: str,
    client: Client,
    make_worker: MakeWorker,
    queue: str,
    wid: str,
    kind: ActivityCancellationType,
    then: str,
    expected: Any,
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Cancels], activities=ALL):
        handle = await client.start_workflow(
            Cancels.run, args=[int(kind), then, False], id=wid, task_queue=queue, task_timeout=TASK
        )

        async def runs() -> None:
            assert RAN[f"{wid} 1"]

        await eventually(runs)
        await handle.signal(Cancels.proceed)
        assert await handle.result() == expected
    ((data, event),) = await markers(handle)
    failure = event.marker_recorded_event_attributes.failure
    if then == "return" and kind == ActivityCancellationType.WAIT_CANCELLATION_COMPLETED:
        assert data["complete_time"] is not None
        assert not failure.message
    else:
        assert failure.HasField("canceled_failure_info")


async def test_cancelling_one_that_was_not_sent(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Cancels], activities=ALL):
        handle = await client.start_workflow(
            Cancels.run, args=[int(ActivityCancellationType.TRY_CANCEL), "raise", True], id=wid, task_queue=queue
        )
        assert await handle.result() == ["CancelledError ''"]
    assert RAN[f"{wid} 1"] == 0
    ((data, event),) = await markers(handle)
    assert (data["seq"], data["attempt"]) == (1, 0)
    assert event.marker_recorded_event_attributes.failure.message == "Activity cancelled"


@workflow.defn
class Closes:
    @workflow.run
    async def run(self) -> str:
        workflow.start_local_activity(wait_for_cancel, "raise", start_to_close_timeout=SOON)
        await workflow.sleep(0.1)
        return "closed"


async def test_a_workflow_may_end_before_it(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Closes], activities=ALL):
        handle = await client.start_workflow(Closes.run, id=wid, task_queue=queue, task_timeout=TASK)
        assert await handle.result() == "closed"
    assert await markers(handle) == []


@workflow.defn
class Beside(Signalled):
    """Local activities beside everything else that a workflow may wait for."""

    @workflow.run
    async def run(self) -> list[Any]:
        together = await asyncio.gather(
            workflow.execute_local_activity(double, 1, start_to_close_timeout=SOON),
            workflow.execute_activity(double, 2, start_to_close_timeout=SOON),
            workflow.sleep(0.05),
            workflow.execute_local_activity(brief, 0.05, start_to_close_timeout=SOON),
            workflow.execute_local_activity(double, 3, start_to_close_timeout=SOON),
        )
        await self.told()
        more = [await workflow.execute_local_activity(double, n, start_to_close_timeout=SOON) for n in range(3)]
        return [*together, *more, await workflow.execute_activity(double, 9, start_to_close_timeout=SOON)]


async def test_beside_everything_else(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Beside], activities=ALL):
        handle = await client.start_workflow(Beside.run, id=wid, task_queue=queue, task_timeout=TASK)
        await handle.signal(Beside.proceed)
        assert await handle.result() == [2, 4, None, "done", 6, 0, 2, 4, 18]
    assert len(await markers(handle)) == 6


@workflow.defn
class Stays(Signalled):
    @workflow.run
    async def run(self) -> int:
        result = await workflow.execute_local_activity(double, 21, start_to_close_timeout=SOON)
        await self.told()
        return result

    @workflow.query
    def signalled(self) -> int:
        return self.signals


async def test_what_has_ended_is_not_run_again_on_another_worker(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    handle = await client.start_workflow(Stays.run, id=wid, task_queue=queue)

    async def ended() -> None:
        assert len(await markers(handle)) == 1

    async with make_worker(client, task_queue=queue, workflows=[Stays], activities=ALL):
        await eventually(ended)
    async with make_worker(client, task_queue=queue, workflows=[Stays], activities=ALL):
        assert await handle.query(Stays.signalled) == 0
        await handle.signal(Stays.proceed)
        assert await handle.result() == 42
    assert RAN[f"{wid} 1"] == 1


@workflow.defn
class Long:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_local_activity(wait_for_cancel, "raise", start_to_close_timeout=SOON)


@workflow.defn(name="Long")
class Short:
    @workflow.run
    async def run(self) -> str:
        return "nothing to do"


async def test_one_without_an_end_leaves_nothing_to_replay(
    engine: str, client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    if engine == "temporal":
        pytest.skip("Temporal's worker does not shut down before its local activities have ended")
    handle = await client.start_workflow("Long", id=wid, task_queue=queue, task_timeout=TASK)

    async def runs() -> None:
        assert RAN[f"{wid} 1"]

    async with make_worker(client, task_queue=queue, workflows=[Long], activities=ALL):
        await eventually(runs)
    async with make_worker(client, task_queue=queue, workflows=[Short], activities=ALL):
        await handle.signal("unheard")
        assert await handle.result() == "nothing to do"
