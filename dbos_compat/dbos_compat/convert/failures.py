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
    """The failure that a form stands for."""
    return Failure.FromString(b64decode(form["proto"]))


def failure_type(failure_: Failure) -> str:
    """A short name: the application error's type, else which kind of failure it is."""
    kind = failure_.WhichOneof("failure_info")
    if kind == "application_failure_info":
        return failure_.application_failure_info.type
    return (kind or "failure").removesuffix("_failure_info").removesuffix("_info")


def dbos_error_text(failure_: Failure) -> str:
    """The shape that stock DBOS decodes into an exception (``portable_json`` errors)."""
    return dumps({"name": failure_type(failure_) or "Failure", "message": failure_.message})
