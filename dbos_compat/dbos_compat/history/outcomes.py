"""How an activity timed out, as Temporal words it. For the event in the history, and for what the workflow sees.

Messages and nesting are what user code branches on, so they are the server's, word for word (temporal-seam §2.8).
"""

from __future__ import annotations

from temporalio.api.enums.v1 import TimeoutType
from temporalio.api.failure.v1 import Failure, TimeoutFailureInfo

from dbos_compat.convert.failures import failure
from dbos_compat.convert.payloads import as_payloads
from dbos_compat.history.attributes import some_payloads
from dbos_compat.history.numbering import Record
from dbos_core.activities.spec import OutcomeKind, RetryState

_TIMEOUT_MESSAGES = {
    TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE: "activity StartToClose timeout",
    TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_START: "activity ScheduleToStart timeout",
    TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_CLOSE: (
        "Not enough time to schedule next retry before activity ScheduleToClose timeout, giving up retrying"
    ),
    TimeoutType.TIMEOUT_TYPE_HEARTBEAT: "activity Heartbeat timeout",
}


def timeout_failure(outcome: Record) -> Failure:
    """The failure of a ``timed_out`` activity. The attempt before, if one failed, is its cause."""
    kind = TimeoutType.ValueType(outcome["t"])
    message = _TIMEOUT_MESSAGES[kind]
    if kind == TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_CLOSE and outcome.get("retry") == RetryState.CANCEL_REQUESTED:
        message = "activity ScheduleToClose timeout"
    made = Failure(
        message=message,
        source="Server",
        timeout_failure_info=TimeoutFailureInfo(
            timeout_type=kind, last_heartbeat_details=some_payloads(outcome.get("hb"))
        ),
    )
    if outcome.get("lf"):
        made.cause.CopyFrom(failure(outcome["lf"]))
    return made


def local_failure(outcome: Record) -> Failure:
    """The failure of a local activity that did not complete: in its marker, and inside of what the workflow sees."""
    if outcome["o"] == OutcomeKind.TIMED_OUT:
        return Failure(
            message="Activity timed out",
            timeout_failure_info=TimeoutFailureInfo(timeout_type=TimeoutType.ValueType(outcome["t"])),
        )
    if outcome["o"] == OutcomeKind.CANCELED:
        made = Failure(
            message="Cancelled" if "r" in outcome else "Activity cancelled"
        )  # it says so itself, or it is said
        made.canceled_failure_info.SetInParent()
        if outcome.get("r"):
            made.canceled_failure_info.details.CopyFrom(as_payloads(outcome["r"]))
        return made
    return failure(outcome["r"])
