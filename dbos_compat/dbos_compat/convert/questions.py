"""What service and bridge say to each other about queries and updates, as JSON text.

* a **query** (``Kernel.query``): ``{"type", "args": [forms], "headers": {name: form}}`` and its **answer**
  ``{"r": [forms]}``, ``{"f": failure form}`` (the handler failed) or ``{"e": text}`` (nobody could ask it: the
  activation itself failed);
* the **outcome** of an update (``UpdateRow.outcome``): ``{"r": [forms]}`` or ``{"f": failure form}``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure

from dbos_compat.convert.failures import failure, failure_text
from dbos_compat.convert.payloads import dumps, payload_map, payload_map_text, payloads, payloads_text


@dataclass(slots=True, kw_only=True)
class Query:
    type: str
    args: list[Payload] = field(default_factory=list)
    headers: dict[str, Payload] = field(default_factory=dict)


def query_text(*, type: str, args: Iterable[Payload] = (), headers: Mapping[str, Payload] | None = None) -> str:
    headers_part = f',"headers":{payload_map_text(headers)}' if headers else ""
    return f'{{"type":{dumps(type)},"args":{payloads_text(args)}{headers_part}}}'


def query(text: str) -> Query:
    record: dict[str, Any] = json.loads(text)
    return Query(
        type=record["type"], args=payloads(record.get("args", ())), headers=payload_map(record.get("headers", {}))
    )


@dataclass(slots=True, kw_only=True)
class Outcome:
    """How an update or a query ended: exactly one of result and failure; ``error`` for queries only."""

    result: list[Payload] = field(default_factory=list)
    failure: Failure | None = None
    error: str = ""


def result_text(result: Iterable[Payload]) -> str:
    return f'{{"r":{payloads_text(result)}}}'


def failed_text(failure_: Failure) -> str:
    return f'{{"f":{failure_text(failure_)}}}'


def error_text(message: str) -> str:
    return f'{{"e":{dumps(message)}}}'


def outcome(text: str) -> Outcome:
    """Reads back all three texts above. A single form stands for a list of one."""
    record: dict[str, Any] = json.loads(text)
    if "f" in record:
        return Outcome(failure=failure(record["f"]))
    if "e" in record:
        return Outcome(error=record["e"])
    forms = record["r"]
    return Outcome(result=payloads([forms] if isinstance(forms, dict) else forms))
