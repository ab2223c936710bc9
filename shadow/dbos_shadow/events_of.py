"""A journal record of an event → the event, as the kernel delivers it. The other way round than ``activations.record_text``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dbos_compat.convert.payloads import dumps
from dbos_core import mailbox
from dbos_core.activities.local import LocalOutcome, LocalSpec
from dbos_core.activities.spec import FinalOutcome, OutcomeKind, RetryState, TimeoutKind
from dbos_core.commit import Mail
from dbos_core.errands.spec import ErrandKind, Reply
from dbos_core.runner import Event, EventKind

__all__ = ["event_of", "mail_of"]

_TOPICS = {"cancel": mailbox.CANCEL, "update": mailbox.UPDATE, "child": mailbox.CHILD}


def mail_of(record: Mapping[str, Any], workflow_uuid: str) -> Mail:
    """The message that a record of a signal, a cancel request, an update or a child's end tells of."""
    return Mail(
        mail_id=record["id"],
        workflow_uuid=workflow_uuid,
        topic=_TOPICS.get(record["k"]) or record["name"],
        message=dumps(record["m"]),
        created_ms=record["ms"],
    )


def event_of(record: Mapping[str, Any], workflow_uuid: str, locals_: Mapping[int, LocalSpec]) -> Event:
    """The event. ``locals_``: what local activities were asked for, by seq."""
    kind = EventKind(record["k"])
    if kind is EventKind.ACTIVITY:
        return Event(kind, outcome=_outcome(record))
    if kind is EventKind.TIMER:
        return Event(kind, timer=record["seq"])
    if kind is EventKind.ERRAND:
        key = ErrandKind(record["e"]), record["seq"], record.get("n", 0)
        return Event(kind, reply=Reply(key=key, refused=record.get("refused", False), run_id=record.get("run", "")))
    if kind is EventKind.LOCAL:
        return Event(kind, local=_local(record, locals_[record["seq"]]))
    if kind in (EventKind.START, EventKind.RESUME):
        return Event(kind)
    return Event(kind, mail=mail_of(record, workflow_uuid))


def _text(record: Mapping[str, Any], name: str) -> str | None:
    return dumps(record[name]) if name in record else None


def _outcome(record: Mapping[str, Any]) -> FinalOutcome:
    return FinalOutcome(
        seq=record["seq"],
        kind=OutcomeKind(record["o"]),
        record=_text(record, "r"),
        retry_state=RetryState(record.get("retry", 0)),
        timeout=TimeoutKind(record["t"]) if "t" in record else None,
        attempt=record["att"],
        started_ms=record.get("st"),
        identity=record.get("by", ""),
        last_failure=_text(record, "lf"),
        heartbeat=_text(record, "hb"),
    )


def _local(record: Mapping[str, Any], spec: LocalSpec) -> LocalOutcome:
    return LocalOutcome(
        spec=spec,
        kind=OutcomeKind(record["o"]),
        record=_text(record, "r"),
        timeout=TimeoutKind(record["t"]) if "t" in record else None,
        attempt=record["att"],
        backoff_ms=record.get("bo"),
    )
