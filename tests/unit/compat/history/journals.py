"""Journals written by hand: a run row and records, as service and bridge would leave them in the store."""

from __future__ import annotations

import json
from typing import Any

from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import Payload, Payloads, WorkflowType
from temporalio.api.history.v1 import WorkflowExecutionStartedEventAttributes
from temporalio.api.taskqueue.v1 import TaskQueue

from dbos_compat.convert import records
from dbos_core.commit import Entry, LoadedRun, Mail, RunRow, RunStatus

START_MS = 1_700_000_000_000
RUN_ID = "6f1c9f1e-7d7e-4c55-9d3b-0d0b9f6f0a01"


def json_payload(value: Any) -> Payload:
    return Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(value, separators=(",", ":")).encode())


def journal(
    workflow_type: str,
    *tasks: tuple[list[dict[str, Any]], list[dict[str, Any]]],
    args: tuple[Any, ...] = (),
    status: RunStatus = RunStatus.RUNNING,
    close: records.CloseRecord | None = None,
    mail: tuple[Mail, ...] = (),
    delay_ms: int = 0,
) -> LoadedRun:
    """A run whose tasks are pairs (events, commands), one second apart."""
    start = WorkflowExecutionStartedEventAttributes(
        workflow_type=WorkflowType(name=workflow_type),
        task_queue=TaskQueue(name="queue"),
        input=Payloads(payloads=[json_payload(arg) for arg in args]),
        workflow_task_timeout=Duration(seconds=10),
        original_execution_run_id=RUN_ID,
        first_execution_run_id=RUN_ID,
    )
    return LoadedRun(
        run=RunRow(
            workflow_uuid="order-42",
            workflow_id="order-42",
            run_id=RUN_ID,
            first_run_id=RUN_ID,
            workflow_type=workflow_type,
            task_queue="queue",
            status=status,
            start_ms=START_MS,
            execution_ms=START_MS + delay_ms,
            close_ms=START_MS + 60_000 if close else None,
            close=records.close_text(close) if close else None,
        ),
        inputs=records.start_text(start),
        entries=[
            Entry(
                position=position,
                name="task",
                record=json.dumps(
                    {
                        "v": 1,
                        "at": START_MS + position * 1000,
                        "by": "worker-a",
                        "sdk": "1.35.0",
                        "ev": happened,
                        "cmds": asked,
                    }
                ),
            )
            for position, (happened, asked) in enumerate(tasks, 1)
        ],
        mail=list(mail),
        activities=[],
    )


START = {"k": "start"}


def signal(name: str, *args: Any, at_ms: int = START_MS) -> dict[str, Any]:
    return {
        "k": "signal",
        "name": name,
        "id": "dc1:1",
        "ms": at_ms,
        "m": {"args": [{"j": arg} for arg in args], "identity": "client"},
    }


def update(update_id: str, name: str, *args: Any) -> dict[str, Any]:
    message = {"args": [{"j": arg} for arg in args], "name": name, "update_id": update_id, "identity": "client"}
    return {"k": "update", "id": "dc1:2", "ms": START_MS, "m": message}


def timer(seq: int, ms: int) -> dict[str, Any]:
    return {"k": "timer", "seq": seq, "ms": ms}


def rung(seq: int) -> dict[str, Any]:
    return {"k": "timer", "seq": seq}


def activity(seq: int, name: str = "add", cancellation_type: int = 0) -> dict[str, Any]:
    return {
        "k": "activity",
        "seq": seq,
        "id": str(seq),
        "type": name,
        "queue": "queue",
        "in": [{"j": 1}, {"j": 1}],
        "stc": 20_000,
        "ct": cancellation_type,
    }


def outcome(seq: int, how: str, **fields: Any) -> dict[str, Any]:
    """The outcome of a first attempt that began; ``st=None``: of none."""
    begun = {"att": 1, "st": START_MS + 500, "by": "worker-a"}
    return {"k": "activity", "seq": seq, "o": how, **begun, **fields}


def mail(topic: str, message: str, mail_id: str = "dc1:9", serialization: str = "portable_json") -> Mail:
    return Mail(
        mail_id=mail_id,
        workflow_uuid="order-42",
        topic=topic,
        message=message,
        created_ms=START_MS + 30_000,
        serialization=serialization,
    )
