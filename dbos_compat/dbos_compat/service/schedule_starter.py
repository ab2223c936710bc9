"""What a schedule does in Temporal's terms: starts a workflow, asks one to end, ends one, remembers a result."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import WorkflowIdReusePolicy
from temporalio.api.workflowservice.v1 import (
    RequestCancelWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
)
from temporalio.service import RPCError, RPCStatusCode

from dbos_compat.convert.failures import failure, failure_text
from dbos_compat.convert.payloads import as_payloads, payloads_text
from dbos_compat.convert.schedules import action_message, attribute_payload
from dbos_compat.history.closing import close_event
from dbos_compat.service.cancel import request_cancel_workflow_execution
from dbos_compat.service.common import Context
from dbos_compat.service.start import derived_uuid, new_run, refused, terminate_record
from dbos_compat.service.terminate import terminate_workflow_execution
from dbos_core.commit import RunRow, StartResult
from dbos_core.errors import Theirs
from dbos_core.schedules.machine import Outcome
from dbos_core.schedules.rows import SCHEDULED_BY
from dbos_core.schedules.scheduler import Refused
from dbos_core.schedules.state import Action, Schedule, Start

SCHEDULED_AT = "TemporalScheduledStartTime"

_ONCE = WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE
_AGAIN = WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE


def register(context: Context) -> None:
    """Schedules of this kernel start Temporal workflows."""
    context.kernel.scheduler.starter = ScheduleStarter(context)


def start_request(namespace: str, schedule: Schedule, start: Start) -> StartWorkflowExecutionRequest:
    """The start, as a client would send it. Its request id is its run id: what has been started is not started again."""
    assert schedule.definition.action is not None
    action = action_message(schedule.definition.action)
    request = StartWorkflowExecutionRequest(
        namespace=namespace,
        workflow_id=start.workflow_id,
        workflow_type=action.workflow_type,
        task_queue=action.task_queue,
        identity=_identity(namespace, schedule),
        request_id=start.run_id,
        workflow_id_reuse_policy=_AGAIN if start.manual else _ONCE,
    )
    for name in (
        "input",
        "workflow_execution_timeout",
        "workflow_run_timeout",
        "workflow_task_timeout",
        "retry_policy",
        "memo",
        "search_attributes",
        "header",
        "user_metadata",
        "priority",
        "versioning_override",
    ):
        if action.HasField(name):
            getattr(request, name).CopyFrom(getattr(action, name))
    attributes = request.search_attributes.indexed_fields
    moment = datetime.fromtimestamp(start.nominal_ms // 1000, UTC)
    attributes[SCHEDULED_BY].CopyFrom(attribute_payload("Keyword", schedule.schedule_id))
    attributes[SCHEDULED_AT].CopyFrom(attribute_payload("Datetime", f"{moment:%Y-%m-%dT%H:%M:%SZ}"))
    if start.alone:
        if schedule.last_result is not None:
            request.last_completion_result.CopyFrom(as_payloads(json.loads(schedule.last_result)))
        if schedule.last_failure is not None:
            request.continued_failure.CopyFrom(failure(json.loads(schedule.last_failure)))
    return request


def _identity(namespace: str, schedule: Schedule) -> str:
    return f"temporal-scheduler-{namespace}-{schedule.schedule_id}"


class ScheduleStarter:
    """The kernel's :class:`~dbos_core.schedules.scheduler.Starter`, on one namespace."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def start(self, schedule: Schedule, start: Start) -> int:
        kernel = self._context.kernel
        request = start_request(self._context.namespace, schedule, start)
        try:
            new = new_run(request, run_id=start.run_id, now_ms=kernel.clock.now_ms())
            answer = await kernel.start(
                new, derived_uuid=derived_uuid(new), terminate_record=terminate_record(new.run_id)
            )
        except (RPCError, Theirs) as error:
            found = await kernel.store.find(start.workflow_id, start.run_id)
            if found is None:
                raise Refused(str(error)) from error
            return found.start_ms
        if answer.result is StartResult.ALREADY_STARTED:
            found = await kernel.store.find(start.workflow_id, start.run_id)
            if found is None:  # somebody else's; else it is ours, and others have followed it
                raise Refused(str(refused(answer.run, new.reuse)))
            return found.start_ms
        return answer.run.start_ms

    async def cancel(self, schedule: Schedule, action: Action) -> None:
        with _unless_closed():
            await request_cancel_workflow_execution(
                self._context,
                RequestCancelWorkflowExecutionRequest(
                    namespace=self._context.namespace,
                    workflow_execution=WorkflowExecution(workflow_id=action.workflow_id),
                    first_execution_run_id=action.run_id,
                    identity=_identity(self._context.namespace, schedule),
                    reason="cancelled by schedule overlap policy",
                ),
            )

    async def terminate(self, schedule: Schedule, action: Action) -> None:
        with _unless_closed():
            await terminate_workflow_execution(
                self._context,
                TerminateWorkflowExecutionRequest(
                    namespace=self._context.namespace,
                    workflow_execution=WorkflowExecution(workflow_id=action.workflow_id),
                    first_execution_run_id=action.run_id,
                    identity=_identity(self._context.namespace, schedule),
                    reason="terminated by schedule overlap policy",
                ),
            )

    def outcome(self, run: RunRow) -> Outcome:
        event = close_event(run)
        if event.HasField("workflow_execution_completed_event_attributes"):
            completed = event.workflow_execution_completed_event_attributes
            return Outcome(status=run.status, result=payloads_text(completed.result.payloads))
        if event.HasField("workflow_execution_failed_event_attributes"):
            failed = event.workflow_execution_failed_event_attributes.failure
            return Outcome(status=run.status, failure=failure_text(failed), message=failed.message)
        return Outcome(status=run.status)


@contextmanager
def _unless_closed() -> Iterator[None]:
    """A run that is gone needs no ending."""
    try:
        yield
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
