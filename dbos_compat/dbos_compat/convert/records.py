"""The records that service and bridge hand each other through the database.

Built on the stable ``temporal.api`` messages; the worker-protocol messages are renumbered between releases and are
never stored (temporal-seam §7.3). Three of them are written here so that writer and reader stay side by side:

* the **start record** in ``workflow_input.inputs``: ``positionalArgs`` for stock tools, the
  ``WorkflowExecutionStartedEventAttributes`` without its input for us;
* the **mail** of signals, cancel requests and updates;
* the **close record** in ``runs.close``.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import WorkflowExecutionStartedEventAttributes

from dbos_compat.convert.failures import failure, failure_text
from dbos_compat.convert.payloads import (
    dumps,
    payload,
    payload_map,
    payload_map_text,
    payload_text,
    payloads,
    payloads_text,
)

# -- start -------------------------------------------------------------------------------------------------------------


def start_text(started: WorkflowExecutionStartedEventAttributes, args: Iterable[Payload] | None = None) -> str:
    """The text of ``workflow_input.inputs`` for a run. ``started`` is left as it is; it carries the input, unless
    ``args`` does (and then spares a copy of the message)."""
    rest = started
    if args is None:
        args = started.input.payloads
        rest = WorkflowExecutionStartedEventAttributes()
        rest.CopyFrom(started)
        rest.ClearField("input")
    values: list[str] = []
    forms: list[str] = []
    for argument in args:
        text = payload_text(argument)
        if text.startswith(('{"j":', '{"u":')):
            values.append(text[5:-1])
            forms.append(f'"{text[2]}"')
        else:
            values.append("null" if text == '{"n":1}' else text)
            forms.append(text)
    return (
        f'{{"positionalArgs":[{",".join(values)}],"namedArgs":{{}},'
        f'"temporal":{{"v":1,"args":[{",".join(forms)}],'
        f'"started":"{b64encode(rest.SerializeToString(deterministic=True)).decode()}"}}}}'
    )


def started(inputs: str) -> WorkflowExecutionStartedEventAttributes:
    """The start attributes, input included, from the text of ``workflow_input.inputs``."""
    record = json.loads(inputs)
    own = record["temporal"]
    attributes = WorkflowExecutionStartedEventAttributes.FromString(b64decode(own["started"]))
    values = record["positionalArgs"]
    attributes.input.payloads.extend(
        payload({form: value} if isinstance(form, str) else form)
        for form, value in zip(own["args"], values, strict=True)
    )
    return attributes


# -- mail --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """The run that sent a message to another."""

    workflow_id: str
    run_id: str
    event_id: int = 0
    """Of the event in the sender's history; 0: it did not ask for it (a parent that closed)."""


@dataclass(slots=True, kw_only=True)
class MessageRecord:
    """A signal, cancel request or update as the mailbox carries it."""

    args: list[Payload] = field(default_factory=list)
    headers: dict[str, Payload] = field(default_factory=dict)
    identity: str = ""
    request_id: str = ""
    name: str = ""
    """Update: the handler's name. A signal's name is the mail's topic."""
    update_id: str = ""
    reason: str = ""


def message_text(
    *,
    args: Iterable[Payload] = (),
    headers: Mapping[str, Payload] | None = None,
    identity: str = "",
    request_id: str = "",
    name: str = "",
    update_id: str = "",
    reason: str = "",
    sender: Sender | None = None,
) -> str:
    """The JSON text of a message of ours (its mail id begins with ``mailbox.OWN_ID``)."""
    parts = [f'"args":{payloads_text(args)}']
    if headers:
        parts.append(f'"headers":{payload_map_text(headers)}')
    for key, value in (
        ("identity", identity),
        ("request_id", request_id),
        ("name", name),
        ("update_id", update_id),
        ("reason", reason),
    ):
        if value:
            parts.append(f'"{key}":{dumps(value)}')
    if sender is not None:
        event = f',"event":{sender.event_id}' if sender.event_id else ""
        parts.append(f'"from":{{"id":{dumps(sender.workflow_id)},"run":{dumps(sender.run_id)}{event}}}')
    return "{" + ",".join(parts) + "}"


def message(text: str) -> MessageRecord:
    """A message of ours, read back."""
    record = json.loads(text)
    return MessageRecord(
        args=payloads(record.get("args", ())),
        headers=payload_map(record.get("headers", {})),
        identity=record.get("identity", ""),
        request_id=record.get("request_id", ""),
        name=record.get("name", ""),
        update_id=record.get("update_id", ""),
        reason=record.get("reason", ""),
    )


# -- close -------------------------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class CloseRecord:
    """What the closing event of a run carries."""

    kind: str
    """completed, failed, canceled, terminated, timed_out, continued_as_new"""
    result: list[Payload] = field(default_factory=list)
    details: list[Payload] = field(default_factory=list)
    failure: Failure | None = None
    reason: str = ""
    identity: str = ""
    retry_state: int = 0
    new_run_id: str = ""
    event_id: int = 0
    """Id of the closing event in the run's history; 0 when nobody knows it (terminated from outside)."""


def close_text(close: CloseRecord) -> str:
    parts = [f'"kind":"{close.kind}"']
    if close.result:
        parts.append(f'"result":{payloads_text(close.result)}')
    if close.details:
        parts.append(f'"details":{payloads_text(close.details)}')
    if close.failure is not None:
        parts.append(f'"failure":{failure_text(close.failure)}')
    for key, value in (
        ("reason", close.reason),
        ("identity", close.identity),
        ("retry_state", close.retry_state),
        ("new_run_id", close.new_run_id),
        ("event_id", close.event_id),
    ):
        if value:
            parts.append(f'"{key}":{dumps(value)}')
    return "{" + ",".join(parts) + "}"


def close_record(text: str) -> CloseRecord:
    record: dict[str, Any] = json.loads(text)
    return CloseRecord(
        kind=record.get("kind", "canceled"),  # a stock DBOS tool's cancel has a record of its own
        result=payloads(record.get("result", ())),
        details=payloads(record.get("details", ())),
        failure=failure(record["failure"]) if "failure" in record else None,
        reason=record.get("reason", ""),
        identity=record.get("identity", ""),
        retry_state=record.get("retry_state", 0),
        new_run_id=record.get("new_run_id", ""),
        event_id=record.get("event_id", 0),
    )
