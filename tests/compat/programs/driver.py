"""Runs one program on one engine and writes down what its user can see, without what differs by nature."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from google.protobuf.json_format import MessageToDict
from temporalio.api.enums.v1 import ParentClosePolicy
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.common import RetryPolicy, SearchAttributePair, TypedSearchAttributes
from temporalio.service import RPCError, RPCStatusCode

from tests.compat.support import chain, eventually

from .grammar import Deed, Program
from .script import KEYWORD, Script

Sight = dict[str, Any]

OUT_OF_SIGHT = {
    # when and where
    "eventTime", "startTime", "closeTime", "executionTime", "executionDuration", "scheduledTime", "lastStartedTime",
    "lastHeartbeatTime", "originalStartTime", "runExpirationTime", "executionExpirationTime", "originalScheduledTime",
    "workflowExecutionExpirationTime", "startedTime", "backoffStartInterval",
    # chosen by the server or the worker at random
    "taskId", "requestId", "runId", "firstExecutionRunId", "originalExecutionRunId", "continuedExecutionRunId",
    "newExecutionRunId", "firstRunId", "requestIdInfos", "parentWorkflowNamespaceId", "parentNamespaceId", "namespaceId",
    # about the worker and the server
    "identity", "workerIdentity", "lastWorkerIdentity", "sdkMetadata", "meteringMetadata", "workerVersion",
    "binaryChecksum", "mostRecentWorkerVersionStamp", "workerVersioningMode", "versioningInfo", "workerDeploymentName",
    "autoResetPoints", "assignedBuildId", "historySizeBytes", "stateTransitionCount", "useWorkflowBuildId",
    "lastDeployment", "workerDeploymentVersion", "useCompatibleVersion", "lastWorkerDeploymentVersion",
    "deploymentVersion", "reachability", "externalPayloadCount", "externalPayloadSizeBytes", "workerMayIgnore",
    "sourceVersionStamp", "eagerExecutionAccepted", "stackTrace", "suggestContinueAsNewReasons",
    "sequencingEventId", "acceptedRequestSequencingEventId",
    # not filled in here: see the ledger of differences; the markers are newer than most servers
    "BuildIds", "eventGroupMarkers", "prevAutoResetPoints", "firstWorkflowTaskBackoff", "suggestContinueAsNew",
}  # fmt: skip
"""Fields of histories, descriptions and listings that are not compared."""


async def sight(client: Client, program: Program, workflow_id: str, queue: str) -> Sight:
    """What the user of this program sees."""
    options: dict[str, Any] = {}
    if "memo" in program.options:
        options["memo"] = program.options["memo"]
    if "run_timeout_s" in program.options:
        options["run_timeout"] = timedelta(seconds=program.options["run_timeout_s"])
    if "attempts" in program.options:
        options["retry_policy"] = RetryPolicy(
            initial_interval=timedelta(milliseconds=10), maximum_attempts=program.options["attempts"]
        )
    if "summary" in program.options:
        options["static_summary"] = program.options["summary"]
    if "attribute" in program.options:
        options["search_attributes"] = TypedSearchAttributes(
            [SearchAttributePair(KEYWORD, program.options["attribute"])]
        )
    handle = await client.start_workflow(
        Script.run, args=[program.steps, None], id=workflow_id, task_queue=queue, **options
    )
    seen: Sight = {"deeds": [await done(handle, number, deed) for number, deed in enumerate(program.deeds, 1)]}
    if not (program.deeds and program.deeds[-1].name == "stay"):
        try:
            seen["result"] = await handle.result()
        except BaseException as error:
            seen["failure"] = chain(error)
    seen["runs"] = await runs_seen(client, handle, handle.first_execution_run_id or "")
    seen["children"] = [
        await child_seen(client, f"{workflow_id}_child{number}") for number in range(1, program.children + 1)
    ]
    shown: Sight = json.loads(json.dumps(seen, default=str).replace(workflow_id, "<id>"))
    return shown


async def done(handle: WorkflowHandle[Any, Any], number: int, deed: Deed) -> Any:
    """Do the deed when the workflow has come so far; what came of it. The workflow may have ended before."""

    async def reached() -> bool:
        status = (await handle.describe()).status
        if status != WorkflowExecutionStatus.RUNNING:
            return False
        assert await handle.query(Script.where) >= number
        return True

    if not await eventually(reached, within_s=60):
        return "over"
    match deed.name:
        case "tell":
            return await handle.signal(Script.tell, deed.arguments[0])
        case "tell_slowly":
            return await handle.signal(Script.tell_slowly, deed.arguments[0])
        case "change":
            try:
                return await handle.execute_update(Script.change, args=deed.arguments, id=f"update-{number}")
            except WorkflowUpdateFailedError as error:
                if deed.arguments[1] == "refuse":
                    await handle.signal(Script.tell, "go on")
                return chain(error)
        case "cancel":
            return await handle.cancel(reason="by its driver")
        case "terminate":
            return await handle.terminate("enough", reason="by its driver")
        case "stay":
            return await handle.query(Script.story)
    raise AssertionError(deed)


async def child_seen(client: Client, workflow_id: str) -> Any:
    """The runs of a child, when what its parent's end means for it has happened; None: it never began."""
    handle = client.get_workflow_handle(workflow_id)

    async def settled() -> str:
        description = await handle.describe()
        if description.parent_id is None or description.status != WorkflowExecutionStatus.RUNNING:
            return description.raw_description.workflow_execution_info.first_run_id or description.run_id
        parent = client.get_workflow_handle(description.parent_id, run_id=description.parent_run_id)
        policy = await policy_of(parent, workflow_id)
        closed = (await parent.describe()).status not in (
            WorkflowExecutionStatus.RUNNING,
            WorkflowExecutionStatus.CONTINUED_AS_NEW,
        )
        assert policy == ParentClosePolicy.PARENT_CLOSE_POLICY_ABANDON or not closed
        return description.raw_description.workflow_execution_info.first_run_id or description.run_id

    try:
        return await runs_seen(client, handle, await eventually(settled))
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise


async def policy_of(parent: WorkflowHandle[Any, Any], child_id: str) -> int:
    """What its parent said shall become of a child."""
    for event in (await parent.fetch_history()).events:
        asked = event.start_child_workflow_execution_initiated_event_attributes
        if asked.workflow_id == child_id:
            return asked.parent_close_policy
    raise AssertionError(f"{child_id} was not asked for by its parent")


async def runs_seen(client: Client, handle: WorkflowHandle[Any, Any], run_id: str) -> list[Sight]:
    """History, description and listing of every run of the chain."""
    seen = []
    while run_id:
        run = client.get_workflow_handle(handle.id, run_id=run_id)
        history = [clean(MessageToDict(event)) for event in (await run.fetch_history()).events]
        description = await run.describe()
        if description.status != WorkflowExecutionStatus.RUNNING:
            description.raw_description.ClearField("pending_activities")
            description.raw_description.ClearField("pending_children")
        seen.append(
            {
                "history": history,
                "described": clean(MessageToDict(description.raw_description)),
                "listed": await listed(client, handle.id, run_id, description.status, len(history)),
            }
        )
        run_id = following(history, await run.fetch_history())
    return seen


def following(history: list[Any], raw: Any) -> str:
    """The run id of the next run of the chain, from the closing event."""
    last = MessageToDict(raw.events[-1])
    for attributes in last.values():
        if isinstance(attributes, dict) and attributes.get("newExecutionRunId"):
            return str(attributes["newExecutionRunId"])
    return ""


async def listed(
    client: Client, workflow_id: str, run_id: str, status: WorkflowExecutionStatus | None, length: int
) -> Any:
    """The row of a listing, once it shows the status, and the length of what is closed."""

    async def shown() -> Any:
        rows = [row async for row in client.list_workflows(f"WorkflowId = '{workflow_id}' AND RunId = '{run_id}'")]
        assert [row.status for row in rows] == [status]
        assert rows[0].history_length == (0 if status == WorkflowExecutionStatus.RUNNING else length)
        return clean(MessageToDict(rows[0].raw_info))

    return await eventually(shown)


def clean(value: Any) -> Any:
    """Without what is out of sight, at every depth. A sticky queue is shown as the queue that it stands for."""
    if isinstance(value, dict):
        if value.get("kind") == "TASK_QUEUE_KIND_STICKY":
            value = {"kind": "TASK_QUEUE_KIND_NORMAL", "name": value.get("normalName")}
        if "data" not in value and "type" in value.get("metadata", ()):  # here, an attribute that is unset has no type
            value = {**value, "metadata": {"encoding": value["metadata"]["encoding"]}}
        return {
            key: cleaned
            for key, inner in value.items()
            if key not in OUT_OF_SIGHT and (cleaned := clean(inner)) not in ({}, [], None, "0s")
        }
    if isinstance(value, list):
        return [clean(inner) for inner in value]
    return value
