"""What user code says about runs and steps for people to read: summaries, details, current details."""

from __future__ import annotations

from datetime import timedelta

from temporalio import activity, workflow
from temporalio.api.enums.v1 import EventType
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client

from .support import MakeWorker, eventually

SOON = timedelta(seconds=10)


@activity.defn
async def step() -> str:
    return "done"


@workflow.defn
class Speaks:
    def __init__(self) -> None:
        self.go = False

    @workflow.run
    async def run(self) -> None:
        workflow.set_current_details("before *anything*")
        await workflow.execute_activity(step, start_to_close_timeout=SOON, summary="an activity")
        await workflow.execute_local_activity(step, start_to_close_timeout=SOON, summary="a local activity")
        await workflow.sleep(0.01, summary="a timer")
        await workflow.wait_condition(lambda: self.go, timeout=SOON, timeout_summary="a timeout")
        workflow.set_current_details(workflow.get_current_details() + ", and after")

    @workflow.signal(description="lets it go on")
    def proceed(self) -> None:
        self.go = True

    @workflow.query
    def waits(self) -> bool:
        return not self.go

    @workflow.update
    def change(self) -> None:
        return None


async def test_summaries_and_details(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Speaks], activities=[step]):
        handle = await client.start_workflow(
            Speaks.run, id=wid, task_queue=queue, static_summary="in short", static_details="at length"
        )

        async def details() -> None:
            metadata = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
            assert metadata.current_details == "before *anything*"
            definition = metadata.definition
            assert definition.type == "Speaks"
            assert [(one.name, one.description) for one in definition.signal_definitions] == [
                ("proceed", "lets it go on")
            ]
            assert [one.name for one in definition.update_definitions] == ["change"]
            assert "waits" in [one.name for one in definition.query_definitions]

        await eventually(details)
        description = await handle.describe()
        assert await description.static_summary() == "in short"
        assert await description.static_details() == "at length"

        async def last_timer_begun() -> None:
            events = (await handle.fetch_history()).events
            assert sum(event.event_type == EventType.EVENT_TYPE_TIMER_STARTED for event in events) == 2

        await eventually(last_timer_begun)
        await handle.signal(Speaks.proceed)
        await handle.result()
        closed = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
        assert closed.current_details == "before *anything*, and after"
    said = {
        EventType.Name(event.event_type).removeprefix("EVENT_TYPE_"): event.user_metadata.summary.data
        for event in (await handle.fetch_history()).events
        if event.HasField("user_metadata")
    }
    assert said == {
        "WORKFLOW_EXECUTION_STARTED": b'"in short"',
        "ACTIVITY_TASK_SCHEDULED": b'"an activity"',
        "MARKER_RECORDED": b'"a local activity"',
        "TIMER_STARTED": b'"a timeout"',
        "TIMER_CANCELED": b'"a timeout"',
    }
    assert await (await handle.describe()).static_summary() == "in short"
