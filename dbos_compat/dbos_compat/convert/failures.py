"""Failures ⇄ JSON text: readable summary beside the exact ``temporal.api`` message.

``{"message": …, "type": …, "proto": base64}``: the summary is for people and stock tools, the message is what counts.
With ``encode_common_attributes`` the message is already the codec's placeholder, so nothing leaks into the summary.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

from temporalio.api.failure.v1 import Failure

from dbos_compat.convert.payloads import dumps
from dbos_core.activities.spec import TimeoutKind


def failure_text(failure: Failure) -> str:
    """A failure as JSON text."""
    return dumps(
        {
            "message": failure.message,
            "type": failure_type(failure),
            "proto": b64encode(failure.SerializeToString(deterministic=True)).decode(),
        }
    )


def failure(form: Mapping[str, Any]) -> Failure:
    """The failure that a form stands for: one of ours, or the kernel's record of an attempt that a clock ended."""
    if "kernel_failure" in form:
        return _kernel_failure(form["kernel_failure"])
    if "proto" not in form:
        return attempt_timed_out(TimeoutKind(form["timeout"]))
    return Failure.FromString(b64decode(form["proto"]))


def _kernel_failure(record: Mapping[str, str]) -> Failure:
    """The kernel itself ended an attempt (it could not be started, or its row was refused)."""
    result = Failure(message=record["message"], source="dbos-compat")
    result.application_failure_info.type = record["type"]
    return result


def attempt_timed_out(kind: TimeoutKind) -> Failure:
    """An attempt that was retried since a clock ended it, as Temporal words it."""
    result = Failure(message=_ATTEMPT_TIMED_OUT[kind], source="Server")
    result.timeout_failure_info.timeout_type = kind.value  # type: ignore[assignment]
    return result


_ATTEMPT_TIMED_OUT = {
    TimeoutKind.START_TO_CLOSE: "activity StartToClose timeout",
    TimeoutKind.HEARTBEAT: "activity Heartbeat timeout",
}
"""The two clocks after which there may be another attempt."""


def failure_type(failure_: Failure) -> str:
    """A short name: the application error's type, else which kind of failure it is."""
    kind = failure_.WhichOneof("failure_info")
    if kind == "application_failure_info":
        return failure_.application_failure_info.type
    return (kind or "failure").removesuffix("_failure_info").removesuffix("_info")


def dbos_error_text(failure_: Failure) -> str:
    """The shape that stock DBOS decodes into an exception (``portable_json`` errors)."""
    return dumps({"name": failure_type(failure_) or "Failure", "message": failure_.message})
