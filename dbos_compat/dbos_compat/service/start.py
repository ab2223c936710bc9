"""Start, signal-with-start: request → ``NewRun``. The id policy travels inside and is applied by the database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import Payload, WorkflowExecution
from temporalio.api.enums.v1 import TaskQueueKind, WorkflowExecutionStatus
from temporalio.api.history.v1 import WorkflowExecutionStartedEventAttributes
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    SignalWithStartWorkflowExecutionRequest,
    SignalWithStartWorkflowExecutionResponse,
    StartWorkflowExecutionRequest,
    StartWorkflowExecutionResponse,
)
from temporalio.service import RPCError

from dbos_compat.chains import cron
from dbos_compat.chains.deadlines import deadline_ms
from dbos_compat.chains.retry import check_policy, completed
from dbos_compat.chains.successor import BY_CRON
from dbos_compat.convert.metadata import MetadataRecord, metadata_text
from dbos_compat.convert.payloads import is_nothing, payload_map_text
from dbos_compat.convert.records import CloseRecord, close_text, start_text
from dbos_compat.convert.search_attributes import BadSearchAttribute, column_text
from dbos_compat.convert.times import duration, duration_ms, timestamp
from dbos_compat.errors import Unsupported, already_started, invalid
from dbos_compat.filters.fields import FILLED_BY_TEMPORAL, SYSTEM_ATTRIBUTES
from dbos_compat.service.attributes import typed
from dbos_compat.service.common import (
    ID_BYTES_MAX,
    Context,
    check_nul,
    check_size,
    check_text,
    request_link,
    start_link,
    wrong_priority,
)
from dbos_compat.service.signal import SIGNALED, check_signal, signal_mail
from dbos_core.commit import (
    IdConflict,
    IdReuse,
    Mail,
    NewRun,
    ParentLink,
    RunRow,
    RunStatus,
    StartAnswer,
    StartResult,
    Verdict,
)
from dbos_core.search import TYPES

StartRequest = StartWorkflowExecutionRequest | SignalWithStartWorkflowExecutionRequest

TASK_TIMEOUT_MS = 10_000
TASK_TIMEOUT_MAX_MS = 120_000
TERMINATED_REASON = "TerminateIfRunning WorkflowIdReusePolicy"

_TimeField = Literal[
    "workflow_execution_timeout", "workflow_run_timeout", "workflow_task_timeout", "workflow_start_delay"
]
_RUNNING = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING
_NO_DURATION = Duration()


@dataclass(slots=True, kw_only=True)
class Timeouts:
    """A start's times as they apply, in milliseconds; 0 is none."""

    execution_ms: int
    run_ms: int
    task_ms: int
    delay_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """Whose child a new run is."""

    link: ParentLink
    namespace: str
    initiated_event_id: int


# -- pure: checks and conversion ---------------------------------------------------------------------------------------


def check_start(request: StartRequest) -> None:
    """Everything that Temporal refuses in a start before it looks at any state, in its order and words."""
    workflow_id = request.workflow_id
    if not workflow_id:
        raise invalid("WorkflowId is not set on request.")
    if len(workflow_id) > ID_BYTES_MAX // 4 and (size := len(workflow_id.encode())) > ID_BYTES_MAX:
        raise invalid(f"WorkflowId exceeds maximum allowed length ({size}/{ID_BYTES_MAX})")
    check_nul(workflow_id, "WorkflowId")
    check_text(request.request_id, "RequestId")
    if not request.workflow_type.name:
        raise invalid("WorkflowType is not set on request.")
    check_text(request.workflow_type.name, "WorkflowType")
    queue = request.task_queue.name
    if not queue:
        raise invalid("missing task queue name")
    if len(queue) > ID_BYTES_MAX // 4 and len(queue.encode()) > ID_BYTES_MAX:
        raise invalid("taskQueue length exceeds limit")
    if queue.startswith("/_sys/"):
        raise invalid("task queue name cannot start with reserved prefix /_sys/")
    check_nul(queue, "TaskQueue")
    _check_cron_and_retry(request)
    _check_unsupported(request)
    for name in request.search_attributes.indexed_fields if request.HasField("search_attributes") else ():
        if name in SYSTEM_ATTRIBUTES or name in FILLED_BY_TEMPORAL or name == TYPES:
            raise invalid(f"{name} attribute can't be set in SearchAttributes")
    if request.HasField("priority") and (wrong := wrong_priority(request.priority)):
        raise invalid(wrong)
    check_size(request.input)
    check_size(request.memo, "Memo")


def _check_cron_and_retry(request: StartRequest) -> None:
    if request.HasField("retry_policy"):
        check_policy(request.retry_policy)
    if request.cron_schedule:
        if request.workflow_start_delay != _NO_DURATION:
            raise invalid("CronSchedule and WorkflowStartDelay may not be used together.")
        try:
            cron.parse(request.cron_schedule)
        except cron.NeverComes:
            raise invalid("invalid CronSchedule, no time can be found to satisfy the schedule") from None
        except cron.BadCronSchedule:
            raise invalid("invalid CronSchedule.") from None


def _check_unsupported(request: StartRequest) -> None:
    where = f"start of workflow {request.workflow_id!r}"
    if isinstance(request, StartWorkflowExecutionRequest):
        if request.completion_callbacks:
            raise Unsupported("completion-callbacks", where)
        if request.HasField("on_conflict_options") and request.on_conflict_options.ListFields():
            raise Unsupported("on-conflict-options", where)
    if request.HasField("versioning_override"):
        raise Unsupported("worker-versioning", where)
    if request.HasField("time_skipping_config"):
        raise Unsupported("time-skipping", where)


def timeouts(request: StartRequest) -> Timeouts:
    """The four durations: not negative, the run no longer than the execution, the task 10 s unless given."""

    def read(field: _TimeField, name: str) -> int:
        if not request.HasField(field):
            return 0
        value: Duration = getattr(request, field)
        if value.seconds < 0 or value.nanos < 0:
            raise invalid(f"An invalid {name} is set on request. cause: negative duration")
        return duration_ms(value)

    execution_ms = read("workflow_execution_timeout", "WorkflowExecutionTimeoutSeconds")
    run_ms = read("workflow_run_timeout", "WorkflowRunTimeoutSeconds")
    task_ms = read("workflow_task_timeout", "WorkflowTaskTimeoutSeconds")
    delay_ms = read("workflow_start_delay", "WorkflowStartDelaySeconds")
    if execution_ms:
        run_ms = min(run_ms or execution_ms, execution_ms)
    task_ms = min(task_ms or TASK_TIMEOUT_MS, TASK_TIMEOUT_MAX_MS)
    if run_ms:
        task_ms = min(task_ms, run_ms)
    return Timeouts(execution_ms=execution_ms, run_ms=run_ms, task_ms=task_ms, delay_ms=delay_ms)


def policies(request: StartRequest, otherwise: IdConflict) -> tuple[IdReuse, IdConflict]:
    """The id policies. Only combinations that Temporal allows."""
    reuse, conflict = int(request.workflow_id_reuse_policy), int(request.workflow_id_conflict_policy)
    if reuse == IdReuse.TERMINATE_IF_RUNNING:
        if conflict:
            raise invalid(
                "Invalid WorkflowIDReusePolicy: WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING cannot be used together "
                "with a WorkflowIDConflictPolicy"
            )
        return IdReuse.ALLOW_DUPLICATE, IdConflict.TERMINATE_EXISTING
    if reuse == IdReuse.REJECT_DUPLICATE and conflict == IdConflict.TERMINATE_EXISTING:
        raise invalid(
            "Invalid WorkflowIDReusePolicy: WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE cannot be used together with "
            "WorkflowIdConflictPolicy WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING"
        )
    return (
        IdReuse(reuse) if reuse in (1, 2, 3) else IdReuse.ALLOW_DUPLICATE,
        IdConflict(conflict) if conflict in (1, 2, 3) else otherwise,
    )


def new_run(
    request: StartRequest,
    *,
    run_id: str,
    now_ms: int,
    otherwise: IdConflict = IdConflict.FAIL,
    parent: Parent | None = None,
) -> NewRun:
    """The run that a request asks for. Raises Temporal's INVALID_ARGUMENT, or ``Unsupported``."""
    check_start(request)
    times = timeouts(request)
    if request.cron_schedule:
        times.delay_ms = cron.backoff_ms(request.cron_schedule, now_ms, now_ms) or 0
    reuse, conflict = policies(request, otherwise)
    try:
        has = request.HasField("search_attributes")
        attributes = column_text(request.search_attributes.indexed_fields) if has else None
    except BadSearchAttribute as error:
        raise invalid(str(error)) from None
    started = started_attributes(request, times, run_id=run_id, now_ms=now_ms, parent=parent)
    inputs = start_text(started, args=request.input.payloads)
    started.input.CopyFrom(request.input)  # whoever reads the record finds it there
    execution_ms = now_ms + times.delay_ms
    return NewRun(
        workflow_uuid=request.workflow_id,
        workflow_id=request.workflow_id,
        run_id=run_id,
        first_run_id=run_id,
        workflow_type=request.workflow_type.name,
        task_queue=request.task_queue.name,
        inputs=inputs,
        native=started,
        start_ms=now_ms,
        execution_ms=execution_ms,
        claimed=False,
        request_id=request.request_id or None,
        reuse=reuse,
        conflict=conflict,
        deadline_ms=deadline_ms(execution_ms, times.run_ms, now_ms + times.execution_ms if times.execution_ms else 0),
        memo=payload_map_text(started.memo.fields) if started.HasField("memo") else None,
        search_attributes=attributes,
        metadata=_metadata(request, times),
        parent=parent.link if parent is not None else None,
    )


def _metadata(request: StartRequest, times: Timeouts) -> str:
    return metadata_text(
        MetadataRecord(
            user=request.user_metadata if request.HasField("user_metadata") else None,
            execution_timeout_ms=times.execution_ms,
            run_timeout_ms=times.run_ms,
            task_timeout_ms=times.task_ms,
            priority=request.priority if request.HasField("priority") else None,
            again=request.HasField("retry_policy") or bool(request.cron_schedule),
        )
    )


def started_attributes(
    request: StartRequest, times: Timeouts, *, run_id: str, now_ms: int, parent: Parent | None = None
) -> WorkflowExecutionStartedEventAttributes:
    """The first event's attributes, as Temporal's server fills them; the input is stored beside them."""
    started = WorkflowExecutionStartedEventAttributes(
        workflow_type=request.workflow_type,
        task_queue=TaskQueue(name=request.task_queue.name, kind=TaskQueueKind.TASK_QUEUE_KIND_NORMAL),
        workflow_task_timeout=duration(times.task_ms),
        original_execution_run_id=run_id,
        identity=request.identity,
        first_execution_run_id=run_id,
        attempt=1,
        first_workflow_task_backoff=duration(times.delay_ms) if times.delay_ms else _NO_DURATION,
        workflow_id=request.workflow_id,
    )
    if times.execution_ms:
        started.workflow_execution_timeout.CopyFrom(duration(times.execution_ms))
        started.workflow_execution_expiration_time.CopyFrom(timestamp(now_ms + times.execution_ms))
    if times.run_ms:
        started.workflow_run_timeout.CopyFrom(duration(times.run_ms))
    if request.HasField("memo") and request.memo.fields:
        started.memo.CopyFrom(request.memo)
        for key in [key for key, value in started.memo.fields.items() if is_nothing(value)]:
            del started.memo.fields[key]
        if not started.memo.fields:
            started.ClearField("memo")
    if request.HasField("search_attributes") and request.search_attributes.indexed_fields:
        started.search_attributes.CopyFrom(request.search_attributes)
        fields = started.search_attributes.indexed_fields
        for key in [key for key, value in fields.items() if is_nothing(value)]:
            del fields[key]
        if not fields:
            started.ClearField("search_attributes")
    if request.HasField("header"):
        started.header.CopyFrom(request.header)
    if request.HasField("retry_policy"):
        started.retry_policy.CopyFrom(completed(request.retry_policy))
    if request.cron_schedule:
        started.cron_schedule = request.cron_schedule
        started.initiator = BY_CRON
    if request.HasField("priority"):
        started.priority.CopyFrom(request.priority)
    if isinstance(request, StartWorkflowExecutionRequest):
        if request.HasField("last_completion_result"):
            started.last_completion_result.CopyFrom(request.last_completion_result)
        if request.HasField("continued_failure"):
            started.continued_failure.CopyFrom(request.continued_failure)
    if parent is not None:
        link = parent.link
        started.workflow_run_timeout.CopyFrom(duration(times.run_ms))  # a server writes it for a child in any case
        started.parent_workflow_namespace = parent.namespace
        started.parent_workflow_execution.CopyFrom(WorkflowExecution(workflow_id=link.workflow_id, run_id=link.run_id))
        started.parent_initiated_event_id = parent.initiated_event_id
        started.root_workflow_execution.CopyFrom(
            WorkflowExecution(workflow_id=link.root_workflow_id, run_id=link.root_run_id)
        )
    return started


_TERMINATED = close_text(
    CloseRecord(
        kind="terminated",
        reason=TERMINATED_REASON,
        details=[Payload(metadata={"encoding": b"json/plain"}, data=b'"terminated by new runID: %s"')],
        identity="history-service",
    )
)


def terminate_record(new_run_id: str) -> str:
    """Close record of a run that a start with TERMINATE_EXISTING ends. Made for every start, so it is only filled in."""
    return _TERMINATED.replace("%s", new_run_id)


def refused(run: RunRow, reuse: IdReuse) -> RPCError:
    """The error for a start that met ``run``."""
    where = f"WorkflowId: {run.workflow_id}, RunId: {run.run_id}."
    if run.status is RunStatus.RUNNING:
        message = f"Workflow execution is already running. {where}"
    elif reuse is IdReuse.ALLOW_DUPLICATE_FAILED_ONLY:
        message = (
            f"Workflow execution already finished successfully. {where} "
            "Workflow Id reuse policy: allow duplicate workflow Id if last run failed."
        )
    else:
        message = (
            f"Workflow execution already finished. {where} Workflow Id reuse policy: reject duplicate workflow Id."
        )
    return already_started(message, request_id=run.request_id or "", run_id=run.run_id, first_run_id=run.first_run_id)


# -- acting ------------------------------------------------------------------------------------------------------------


def derived_uuid(new: NewRun) -> str:
    """Row key of a run whose workflow id was used before."""
    return f"{new.workflow_id}~{new.run_id}"


def started_response(context: Context, answer: StartAnswer) -> StartWorkflowExecutionResponse:
    run = answer.run
    return StartWorkflowExecutionResponse(
        run_id=run.run_id,
        started=answer.result is not StartResult.USED_EXISTING,
        link=start_link(context, run.workflow_id, run.run_id),
        status=_RUNNING if answer.result is StartResult.STARTED else WorkflowExecutionStatus.ValueType(run.status),
        first_execution_run_id=run.first_run_id,
    )


async def start_workflow_execution(
    context: Context, request: StartWorkflowExecutionRequest
) -> StartWorkflowExecutionResponse:
    """Start, or find the run that the id policies say."""
    kernel = context.kernel
    if request.request_eager_execution:
        await kernel.announced.arrival(request.task_queue.name)
    request = await typed(context, request)
    new = new_run(request, run_id=kernel.entropy.uuid(), now_ms=kernel.clock.now_ms())
    answer = await kernel.start(new, derived_uuid=derived_uuid(new), terminate_record=terminate_record(new.run_id))
    if answer.result is StartResult.ALREADY_STARTED:
        raise refused(answer.run, new.reuse)
    response = started_response(context, answer)
    if request.request_eager_execution and answer.result is StartResult.STARTED and new.claimed:
        response.eager_workflow_task.SetInParent()  # its first task is in this process already, asked for or not
    return response


async def signal_with_start_workflow_execution(
    context: Context, request: SignalWithStartWorkflowExecutionRequest
) -> SignalWithStartWorkflowExecutionResponse:
    """Signal the open run, or start one that has the signal from its first activation on."""
    if not request.signal_name:
        raise invalid("signal not set")
    check_signal(request.signal_name)
    if int(request.workflow_id_conflict_policy) == IdConflict.FAIL:
        raise invalid(
            "Invalid WorkflowIDConflictPolicy: WORKFLOW_ID_CONFLICT_POLICY_FAIL is not supported for this operation."
        )
    kernel = context.kernel
    request = await typed(context, request)
    request_id = request.request_id or kernel.entropy.uuid()
    while True:
        new = new_run(
            request,
            run_id=kernel.entropy.uuid(),
            now_ms=kernel.clock.now_ms(),
            otherwise=IdConflict.USE_EXISTING,
        )
        answer = await kernel.start(
            new,
            derived_uuid=derived_uuid(new),
            terminate_record=terminate_record(new.run_id),
            mail=[_mail(request, new.workflow_uuid, new.run_id, request_id)],
        )
        run = answer.run
        if answer.result is StartResult.ALREADY_STARTED:
            raise refused(run, new.reuse)
        if answer.result is StartResult.STARTED:
            break
        verdict = await kernel.send(_mail(request, run.workflow_uuid, run.run_id, request_id))
        if verdict is not Verdict.RUN_CLOSED or answer.result is StartResult.SAME_REQUEST:
            break
        # The run that was found open has closed meanwhile: look again.
    return SignalWithStartWorkflowExecutionResponse(
        run_id=run.run_id,
        started=answer.result is not StartResult.USED_EXISTING,
        signal_link=request_link(context, run, request_id, SIGNALED),
        first_execution_run_id=run.first_run_id,
    )


def _mail(request: SignalWithStartWorkflowExecutionRequest, workflow_uuid: str, run_id: str, request_id: str) -> Mail:
    return signal_mail(
        workflow_uuid=workflow_uuid,
        run_id=run_id,
        name=request.signal_name,
        args=request.signal_input.payloads,
        headers=request.header.fields,
        identity=request.identity,
        request_id=request_id,
    )
