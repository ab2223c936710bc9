"""An operator at a workflow's activities, and activities that do as they are told."""

from __future__ import annotations

import asyncio
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from temporalio import activity
from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import (
    PauseActivityRequest,
    ResetActivityRequest,
    UnpauseActivityRequest,
    UpdateActivityOptionsRequest,
)
from temporalio.client import Client, WorkflowHandle
from temporalio.exceptions import ApplicationError

from .support import eventually


class Workshop:
    """Activities that wait for "ok" or "fail", and tell when they start and why they are cancelled."""

    def __init__(self) -> None:
        self.started: asyncio.Queue[activity.Info] = asyncio.Queue()
        self.say: asyncio.Queue[str] = asyncio.Queue()
        self.cancelled: list[activity.ActivityCancellationDetails | None] = []

    @activity.defn
    async def silent(self) -> str:
        self.started.put_nowait(activity.info())
        return await self._told()

    @activity.defn
    async def beating(self) -> str:
        info = activity.info()
        self.started.put_nowait(info)
        telling = asyncio.ensure_future(self._told())
        try:
            while True:
                activity.heartbeat("alive", info.attempt)
                done, _ = await asyncio.wait([telling], timeout=0.05)
                if done:
                    return telling.result()
        except asyncio.CancelledError:
            self.cancelled.append(activity.cancellation_details())
            raise
        finally:
            telling.cancel()

    async def _told(self) -> str:
        if await self.say.get() == "fail":
            raise ApplicationError("as told", type="Told")
        return "done"

    async def starts(self) -> activity.Info:
        """The next attempt."""
        async with asyncio.timeout(10):
            return await self.started.get()

    async def finish(self, handle: WorkflowHandle[Any, Any]) -> None:
        """Let the attempt that runs complete, and the workflow with it."""
        self.say.put_nowait("ok")
        assert await handle.result() == "done"


class Operator:
    """Gives commands about the activities of one workflow."""

    def __init__(self, client: Client, workflow_id: str) -> None:
        self.client = client
        self.workflow_id = workflow_id

    def _fields(self) -> dict[str, Any]:
        return {
            "namespace": self.client.namespace,
            "execution": WorkflowExecution(workflow_id=self.workflow_id),
            "identity": "the operator",
        }

    async def pause(self, **fields: Any) -> None:
        await self.client.workflow_service.pause_activity(PauseActivityRequest(**self._fields(), **fields))

    async def unpause(self, **fields: Any) -> None:
        await self.client.workflow_service.unpause_activity(UnpauseActivityRequest(**self._fields(), **fields))

    async def reset(self, **fields: Any) -> None:
        await self.client.workflow_service.reset_activity(ResetActivityRequest(**self._fields(), **fields))

    async def change(self, options: ActivityOptions, *paths: str, **fields: Any) -> ActivityOptions:
        request = UpdateActivityOptionsRequest(
            **self._fields(), activity_options=options, update_mask=FieldMask(paths=paths), **fields
        )
        return (await self.client.workflow_service.update_activity_options(request)).activity_options

    async def restore(self, **fields: Any) -> ActivityOptions:
        request = UpdateActivityOptionsRequest(**self._fields(), restore_original=True, **fields)
        return (await self.client.workflow_service.update_activity_options(request)).activity_options

    async def sees(self) -> PendingActivityInfo:
        """The one open activity, as described."""
        described = await self.client.get_workflow_handle(self.workflow_id).describe()
        pending = described.raw_description.pending_activities
        assert len(pending) == 1, pending
        return pending[0]

    async def state(self) -> str:
        name = PendingActivityState.Name((await self.sees()).state)
        return name.removeprefix("PENDING_ACTIVITY_STATE_")

    async def sees_it(self, state: str, *, attempt: int | None = None) -> None:
        """Wait until the one open activity stands so."""

        async def stands() -> None:
            assert await self.state() == state
            assert attempt is None or (await self.sees()).attempt == attempt

        await eventually(stands)


def s(seconds: float) -> Duration:
    duration = Duration()
    duration.FromMilliseconds(int(seconds * 1000))
    return duration
