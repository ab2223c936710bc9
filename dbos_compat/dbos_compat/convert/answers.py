"""What comes back to a caller from a run: the answer to a query, the outcome of an update. As JSON text, both ways.

Query request: ``{"type", "args": [forms], "headers": {…}}``. Query response: ``{"ok": [forms]}`` or
``{"failed": failure form}``. Update outcome (``UpdateRow.outcome``): ``{"ok": [forms]}`` or ``{"failed": failure form}``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure

from dbos_compat.convert.failures import failure, failure_text
from dbos_compat.convert.payloads import dumps, payload_map, payload_map_text, payloads, payloads_text


@dataclass(slots=True, kw_only=True)
class Answer:
    """Success with payloads, or a failure."""

    payloads: list[Payload] = field(default_factory=list)
    failure: Failure | None = None


def answer_text(answer: Answer) -> str:
    if answer.failure is not None:
        return f'{{"failed":{failure_text(answer.failure)}}}'
    return f'{{"ok":{payloads_text(answer.payloads)}}}'


def answer(text: str) -> Answer:
    record = json.loads(text)
    if "failed" in record:
        return Answer(failure=failure(record["failed"]))
    return Answer(payloads=payloads(record["ok"]))


@dataclass(slots=True, kw_only=True)
class Question:
    """A query as it travels."""

    query_type: str
    args: list[Payload] = field(default_factory=list)
    headers: dict[str, Payload] = field(default_factory=dict)


def question_text(query_type: str, args: Iterable[Payload], headers: Mapping[str, Payload]) -> str:
    return f'{{"type":{dumps(query_type)},"args":{payloads_text(args)},"headers":{payload_map_text(headers)}}}'


def question(text: str) -> Question:
    record = json.loads(text)
    return Question(query_type=record["type"], args=payloads(record["args"]), headers=payload_map(record["headers"]))
