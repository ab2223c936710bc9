"""Why a workflow task fails although its code ran: what Temporal's core or server would refuse of its commands.

Nothing of a refused task happens; it is tried again (``dbos_core.failing``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.failure.v1 import Failure
from temporalio.api.update.v1 import Outcome

from dbos_compat.bridge.activations import PendingActivity
from dbos_compat.bridge.commands import Command
from dbos_compat.convert.answers import Answer
from dbos_compat.history.failed_tasks import UNHANDLED, task_failure_text
from dbos_core.commit import Close
from dbos_core.runner import Misfit, TaskFailure

BLOB_BYTES_MAX = 2 * 1024 * 1024
"""Temporal's limit for the payloads of one command, result or answer."""

_SMALL = BLOB_BYTES_MAX // 8
"""A command whose text has fewer characters cannot have a field beyond the limit (the text holds all of its payloads,
one character standing for four bytes at most)."""

_TEXT_MAX = 4000
"""Characters that stay of a text that was too large."""


class TaskFailed(Exception):
    """The task fails; caught by the interpreter."""

    def __init__(
        self, failure: Failure, cause: str = UNHANDLED, misfit: Misfit | None = None, *, close: Close | None = None
    ) -> None:
        """``close``: the run is ended by it, from outside."""
        super().__init__(failure.message)
        self.close = close
        self.failure = failure
        self.cause = cause
        self.misfit = misfit

    def result(self, arrivals: Iterable[str] | None) -> TaskFailure:
        """What the kernel is told. ``arrivals``: texts of the events that the task was to handle."""
        return TaskFailure(
            self.failure.message,
            self.cause,
            task_failure_text(self.failure, arrivals),
            misfit=self.misfit,
            close=self.close,
        )


def application_failure(message: str, type_: str = "") -> Failure:
    failure = Failure(message=message)
    failure.application_failure_info.type = type_
    return failure


def too_large() -> Failure:
    """Temporal's core about payloads that the server would refuse."""
    return application_failure(
        "[TMPRL1103] Attempted to upload payloads with size that exceeded the error limit.", "PayloadsTooLarge"
    )


def heartbeat_too_large() -> Failure:
    """A server about details of a heartbeat that came by RPC."""
    failure = Failure(message="Heartbeat details exceed size limit.")
    failure.server_failure_info.non_retryable = True
    return failure


def without_details(failed: Failure) -> Failure:
    """What a server makes of an activity's failure that is too large: not to be tried again, its cause cut short."""
    failure = Failure(message="Failure exceeds size limit.")
    failure.server_failure_info.non_retryable = True
    failure.cause.message = failed.message[:_TEXT_MAX]
    failure.cause.stack_trace = failed.stack_trace[:_TEXT_MAX]
    info = failed.application_failure_info
    failure.cause.application_failure_info.type = info.type
    failure.cause.application_failure_info.non_retryable = info.non_retryable
    return failure


def check_activity_ids(
    commands: Sequence[Command], pending: Mapping[int, PendingActivity], ended: Collection[int]
) -> None:
    """Two open activities cannot have one id. ``ended``: seqs of those that end in this task.

    Raises:
        TaskFailed: as a server words it.
    """
    given_up = {command.seq for command in commands if command.kind == "cancel_activity"}
    ids = {known.activity_id for seq, known in pending.items() if seq not in ended and seq not in given_up}
    for command in commands:
        if command.kind == "activity":
            activity_id = command.message.schedule_activity.activity_id
            if activity_id in ids:
                failure = Failure(
                    message="ScheduleActivityDuplicateId: invalid history builder state for action: "
                    f"add-activitytask-scheduled-event, ActivityID: {activity_id}"
                )
                failure.server_failure_info.SetInParent()
                raise TaskFailed(failure, "SCHEDULE_ACTIVITY_DUPLICATE_ID")
            ids.add(activity_id)


def is_too_large(payload: Payload) -> bool:
    return len(payload.data) > _SMALL and Payloads(payloads=[payload]).ByteSize() > BLOB_BYTES_MAX


def limited(answered: Payload) -> Answer:
    """The answer to a query, if a server would pass it on."""
    if is_too_large(answered):
        return Answer(failure=Failure(message="Blob data size exceeds limit."))
    return Answer(payloads=[answered])


def names_its_activities(commands: Iterable[Command]) -> bool:
    """Did user code give an activity an id of its own? The SDK's own ids, the seqs, never meet."""
    for command in commands:
        if command.kind == "activity" and command.message.schedule_activity.activity_id != str(command.seq):
            return True
    return False


def check_sizes(commands: Iterable[Command]) -> None:
    """Temporal's limit for payloads.

    Raises:
        TaskFailed: as Temporal's core words it.
    """
    for command in commands:
        if len(command.text) > _SMALL and _size(command) > BLOB_BYTES_MAX:
            raise TaskFailed(too_large(), "PAYLOADS_TOO_LARGE")


def _size(command: Command) -> int:
    """The size that Temporal's core looks at."""
    message = command.message
    if command.kind == "activity":
        return Payloads(payloads=message.schedule_activity.arguments).ByteSize()
    if command.kind == "child":
        return Payloads(payloads=message.start_child_workflow_execution.input).ByteSize()
    if command.kind == "signal_external":
        return Payloads(payloads=message.signal_external_workflow_execution.args).ByteSize()
    if command.kind == "memo":
        return sum(len(key.encode()) + len(value.data) for key, value in message.items())
    if command.kind == "continue_as_new":
        return Payloads(payloads=message.arguments).ByteSize()
    if isinstance(message, Payload):
        outcome = Payloads(payloads=[message])
        return (Outcome(success=outcome) if command.kind == "update_completed" else outcome).ByteSize()
    return message.ByteSize() if isinstance(message, Failure) else 0
