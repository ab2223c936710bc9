"""What Temporal's server refuses of a task's commands: in its order, with its causes and words. Live only.

The server looks at one command after the other and stops at the first that is wrong: the task fails, and nothing of it
happens. These run for each command, so they compare lengths and signs and no more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping

from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import Payload, RetryPolicy
from temporalio.api.failure.v1 import Failure
from temporalio.bridge.proto.workflow_commands import StartChildWorkflowExecution
from temporalio.service import RPCError

from dbos_compat.bridge.added_attributes import AddedAttributes
from dbos_compat.bridge.commands import Command, indexed_fields
from dbos_compat.bridge.refusals import TaskFailed, application_failure
from dbos_compat.chains import cron
from dbos_compat.chains.retry import check_policy
from dbos_compat.convert.payloads import dumps
from dbos_compat.convert.records import CloseRecord, close_text
from dbos_compat.convert.search_attributes import BadSearchAttribute, decode, too_big
from dbos_compat.errors import Unsupported
from dbos_compat.filters.fields import FILLED_BY_TEMPORAL, PREDEFINED, SYSTEM_ATTRIBUTES
from dbos_compat.relations import SERVICE, child_request
from dbos_compat.service.common import ID_BYTES_MAX, is_uuid, wrong_priority
from dbos_compat.service.start import check_start, timeouts
from dbos_core.commit import Close, RunRow, RunStatus
from dbos_core.search import TYPES

ATTRIBUTES_MAX = 100
"""Search attributes in one command."""

_ACTIVITY = "BAD_SCHEDULE_ACTIVITY_ATTRIBUTES"
_CHILD = "BAD_START_CHILD_EXECUTION_ATTRIBUTES"
_CONTINUE = "BAD_CONTINUE_AS_NEW_ATTRIBUTES"
_ATTRIBUTES = "BAD_SEARCH_ATTRIBUTES"
_SIGNAL = "BAD_SIGNAL_WORKFLOW_EXECUTION_ATTRIBUTES"
_CANCEL = "BAD_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_ATTRIBUTES"

_VERSIONED = "versioning_override" in StartChildWorkflowExecution.DESCRIPTOR.fields_by_name
"""Since temporalio 1.35."""


class Checks:
    """The checks of one task's commands."""

    __slots__ = ("_added", "_children", "_namespace", "_now_ms", "_row")

    def __init__(self, row: RunRow, namespace: str, added: AddedAttributes, now_ms: int) -> None:
        """
        Args:
            added: search attributes, with their types.
            now_ms: when a run would end that a command ends.
        """
        self._row = row
        self._namespace = namespace
        self._added = added
        self._now_ms = now_ms
        self._children: set[str] = set()

    def check(self, commands: Iterable[Command]) -> None:
        """Raises TaskFailed for the first that is refused. A child's start request stays with its command."""
        for command in commands:
            checks = _CHECKS.get(command.kind)
            if checks is not None:
                checks(self, command)

    # -- kinds of commands -----------------------------------------------------------------------------------------

    def activity(self, command: Command) -> None:
        asked = command.message.schedule_activity
        if wrong := wrong_queue(asked.task_queue):
            raise refused(_ACTIVITY, wrong)
        if not asked.activity_id:
            raise refused(_ACTIVITY, "activityId is not set")
        if not asked.activity_type:
            raise refused(_ACTIVITY, "activityType is not set")
        if asked.HasField("retry_policy") and (wrong := wrong_policy(asked.retry_policy)):
            raise refused(_ACTIVITY, wrong)
        if size := too_long(asked.activity_id):
            raise refused(_ACTIVITY, f"activityId exceeds length limit. Length={size} Limit={ID_BYTES_MAX}")
        if size := too_long(asked.activity_type):
            raise refused(_ACTIVITY, f"activityType exceeds length limit. Length={size} Limit={ID_BYTES_MAX}")
        if asked.HasField("priority") and (wrong := wrong_priority(asked.priority)):
            raise refused(_ACTIVITY, f"invalid priorities: {wrong}")
        for name, value in (
            ("ScheduleToCloseTimeout", asked.schedule_to_close_timeout),
            ("ScheduleToStartTimeout", asked.schedule_to_start_timeout),
            ("StartToCloseTimeout", asked.start_to_close_timeout),
            ("HeartbeatTimeout", asked.heartbeat_timeout),
        ):
            if negative(value):
                raise refused(_ACTIVITY, f"invalid {name}: negative duration")

    def child(self, command: Command) -> None:
        start, where = command.message.start_child_workflow_execution, "on StartChildWorkflowExecutionCommand"
        workflow_id, type_, space = start.workflow_id, start.workflow_type, start.namespace
        about = f"WorkflowId={workflow_id} WorkflowType={type_} Namespace={space}"
        if not workflow_id:
            text = f"Required field WorkflowId is not set {where}. WorkflowType={type_} Namespace={space}"
            raise refused(_CHILD, text)
        if not type_:
            text = f"Required field WorkflowType is not set {where}. WorkflowId={workflow_id} Namespace={space}"
            raise refused(_CHILD, text)
        if size := too_long(workflow_id):
            text = (
                f"WorkflowId {where} exceeds length limit. WorkflowId={workflow_id} Length={size} "
                f"Limit={ID_BYTES_MAX} WorkflowType={type_} Namespace={space}"
            )
            raise refused(_CHILD, text)
        if size := too_long(type_):
            text = (
                f"WorkflowType {where} exceeds length limit. WorkflowId={workflow_id} WorkflowType={type_} "
                f"Length={size} Limit={ID_BYTES_MAX} Namespace={space}"
            )
            raise refused(_CHILD, text)
        for name, value in (
            ("WorkflowExecutionTimeout", start.workflow_execution_timeout),
            ("WorkflowRunTimeout", start.workflow_run_timeout),
            ("WorkflowTaskTimeout", start.workflow_task_timeout),
        ):
            if negative(value):
                raise refused(_CHILD, f"Invalid {name} {where}: negative duration. {about}")
        if start.HasField("retry_policy") and (wrong := wrong_policy(start.retry_policy)):
            raise refused(_CHILD, f"invalid WorkflowRetryPolicy {where}: {wrong}. {about}")
        if start.cron_schedule:
            try:
                cron.parse(start.cron_schedule)
            except cron.BadCronSchedule:
                raise refused(_CHILD, f"invalid CronSchedule {where}: invalid CronSchedule.. {about}") from None
        fields = indexed_fields(start)
        if fields and (wrong := self._wrong_attributes(fields)):
            text = f"invalid SearchAttributes on StartChildWorkflowCommand: {wrong}. {about}"
            raise refused(_ATTRIBUTES, text)
        if start.HasField("priority") and (wrong := wrong_priority(start.priority)):
            raise refused(_CHILD, wrong)
        if wrong := wrong_queue(start.task_queue):
            raise refused(_CHILD, f"invalid TaskQueue {where}: {wrong}. {about} TaskQueue={_shown(start.task_queue)}")
        if fields:
            self._check_sizes(_CHILD, fields)
        self._children.add(workflow_id)
        self._as_start(command)

    def _as_start(self, command: Command) -> None:
        """What is left, above all what this engine does not do."""
        request = child_request(json.loads(command.text))
        try:
            check_start(request)
            timeouts(request)
            start = command.message.start_child_workflow_execution
            if _VERSIONED and start.HasField("versioning_override"):
                raise Unsupported("worker-versioning", f"start of child workflow {request.workflow_id!r}")
        except Unsupported as unsupported:
            raise TaskFailed(application_failure(str(unsupported), "Unsupported")) from None
        except RPCError as error:
            raise refused(_CHILD, str(error)) from None
        command.request = request

    def continue_as_new(self, command: Command) -> None:
        asked, where = command.message, "on ContinueAsNewWorkflowExecutionCommand"
        type_, queue = asked.workflow_type or self._row.workflow_type, asked.task_queue or self._row.task_queue
        if size := too_long(type_):
            text = f"WorkflowType {where} exceeds length limit. WorkflowType={type_} Length={size} Limit={ID_BYTES_MAX}"
            raise refused(_CONTINUE, text)
        about = f"WorkflowType={type_} TaskQueue={_shown(queue)}"
        if wrong := wrong_queue(queue):
            text = f"error validating ContinueAsNewWorkflowExecutionCommand TaskQueue: {wrong}. {about}"
            raise refused(_CONTINUE, text)
        for name, value in (
            ("WorkflowRunTimeout", asked.workflow_run_timeout),
            ("WorkflowTaskTimeout", asked.workflow_task_timeout),
            ("BackoffStartInterval", asked.backoff_start_interval),
        ):
            if negative(value):
                raise refused(_CONTINUE, f"Invalid {name} {where}: negative duration. {about}")
        if asked.HasField("retry_policy") and (wrong := wrong_policy(asked.retry_policy)):
            raise refused(_CONTINUE, f"invalid WorkflowRetryPolicy {where}: {wrong}. {about}")
        fields = indexed_fields(asked)
        if fields and (wrong := self._wrong_attributes(fields)):
            raise refused(_ATTRIBUTES, f"invalid SearchAttributes {where}: {wrong}. {about}")
        if fields:
            self._check_sizes(_CONTINUE, fields)

    def upsert(self, command: Command) -> None:
        if wrong := self._wrong_attributes(command.message):
            raise refused(_ATTRIBUTES, wrong)
        self._check_sizes(_ATTRIBUTES, command.message)

    def signal(self, command: Command) -> None:
        asked, where = command.message.signal_external_workflow_execution, "on SignalExternalWorkflowExecutionCommand"
        if asked.WhichOneof("target") == "child_workflow_id":
            space, workflow_id, run_id = self._namespace, asked.child_workflow_id, ""
        else:
            target = asked.workflow_execution
            space, workflow_id, run_id = target.namespace, target.workflow_id, target.run_id
        about = f"WorkflowId={workflow_id} Namespace={space} RunId={run_id}"
        if not workflow_id:
            text = f"WorkflowId is not set {where}. Namespace={space} RunId={run_id} SignalName={asked.signal_name}"
            raise refused(_SIGNAL, text)
        if size := too_long(workflow_id):
            text = (
                f"WorkflowId {where} exceeds length limit. WorkflowId={workflow_id} Length={size} Limit={ID_BYTES_MAX} "
                f"Namespace={space} RunId={run_id} SignalName={asked.signal_name}"
            )
            raise refused(_SIGNAL, text)
        if run_id and not is_uuid(run_id):
            raise refused(_SIGNAL, f"Invalid RunId set {where}. {about} SignalName={asked.signal_name}")
        if not asked.signal_name:
            raise refused(_SIGNAL, f"SignalName is not set {where}. {about}")

    def cancel(self, command: Command) -> None:
        target = command.message.request_cancel_external_workflow_execution.workflow_execution
        where = "on RequestCancelExternalWorkflowExecutionCommand"
        workflow_id, run_id, space = target.workflow_id, target.run_id, target.namespace
        about = f"WorkflowId={workflow_id} RunId={run_id} Namespace={space}"
        if not workflow_id:
            raise refused(_CANCEL, f"WorkflowId is not set {where}. Namespace={space} RunId={run_id}")
        if size := too_long(workflow_id):
            text = (
                f"WorkflowId {where} exceeds length limit. WorkflowId={workflow_id} Length={size} Limit={ID_BYTES_MAX} "
                f"RunId={run_id} Namespace={space}"
            )
            raise refused(_CANCEL, text)
        if run_id and not is_uuid(run_id):
            raise refused(_CANCEL, f"Invalid RunId set {where}. {about}")
        if workflow_id in self._children:
            text = f"Start and RequestCancel for child workflow is not allowed in same workflow task. {about}"
            raise refused(_CANCEL, text)

    # -- search attributes -----------------------------------------------------------------------------------------

    def _wrong_attributes(self, fields: Mapping[str, Payload]) -> str:
        if len(fields) > ATTRIBUTES_MAX:
            return f"number of search attributes {len(fields)} exceeds limit {ATTRIBUTES_MAX}"
        for name in sorted(fields):
            if name in SYSTEM_ATTRIBUTES or name in FILLED_BY_TEMPORAL or name == TYPES:
                return f"{name} attribute can't be set in SearchAttributes"
            kind = PREDEFINED[name].value if name in PREDEFINED else self._added.types.get(name)
            try:
                decode(name, fields[name] if kind is None else _typed(fields[name], kind), strict=True)
            except BadSearchAttribute as error:
                self._added.doubted()
                return str(error)
        return ""

    def _check_sizes(self, cause: str, fields: Mapping[str, Payload]) -> None:
        """Beyond this limit the server ends the run."""
        if wrong := too_big(fields):
            raise refused(cause, wrong, end_ms=self._now_ms)


_CHECKS: dict[str, Callable[[Checks, Command], None]] = {
    "activity": Checks.activity,
    "child": Checks.child,
    "continue_as_new": Checks.continue_as_new,
    "upsert_sa": Checks.upsert,
    "signal_external": Checks.signal,
    "cancel_external": Checks.cancel,
}


def refused(cause: str, text: str, *, end_ms: int | None = None) -> TaskFailed:
    """A server's words for a command that it refuses. ``end_ms``: it terminates the run, too, then."""
    words = "".join([word.capitalize() for word in cause.split("_")])
    failure = Failure(message=f"{words}: {text}")
    failure.server_failure_info.SetInParent()
    close = None
    if end_ms is not None:
        close = Close(
            status=RunStatus.TERMINATED,
            close_ms=end_ms,
            record=close_text(CloseRecord(kind="terminated", reason=failure.message, identity=SERVICE)),
            error=dumps({"name": "WorkflowTerminated", "message": failure.message}),
            mail_seen_ms=None,
        )
    return TaskFailed(failure, cause, close=close)


def too_long(text: str) -> int:
    """Its bytes, if there are more than Temporal takes of an id or a name; else 0."""
    if len(text) <= ID_BYTES_MAX // 4:
        return 0
    size = len(text.encode())
    return size if size > ID_BYTES_MAX else 0


def wrong_queue(name: str) -> str:
    """Temporal's refusal of a task queue; nothing if it is right."""
    if not name:
        return "missing task queue name"
    if too_long(name):
        return "taskQueue length exceeds limit"
    return "task queue name cannot start with reserved prefix /_sys/" if name.startswith("/_sys/") else ""


def wrong_policy(policy: RetryPolicy) -> str:
    """Temporal's refusal of a retry policy; nothing if it is right."""
    try:
        check_policy(policy)
    except RPCError as error:
        return error.message
    return ""


def negative(value: Duration) -> bool:
    return value.seconds < 0 or value.nanos < 0


def _typed(payload: Payload, kind: str) -> Payload:
    typed = Payload()
    typed.CopyFrom(payload)
    typed.metadata["type"] = kind.encode()
    return typed


def _shown(queue: str) -> str:
    """A task queue as Temporal writes it into its messages."""
    return f"name:{json.dumps(queue, ensure_ascii=False)}  kind:TASK_QUEUE_KIND_NORMAL"
