"""Requests: questions between processes (query, activity completion by id), asked, taken by one, answered, removed."""

from __future__ import annotations

from collections.abc import Sequence

from dbos_core.store.base import RequestRow
from dbos_core.store.postgres.connect import Database

_ASK = """
    with k as (
        insert into {own}.requests (request_id, workflow_uuid, task_queue, kind, payload, deadline_ms)
        values ($1, $2, $3, $4, $5, $6) on conflict do nothing)
    select pg_notify('dbos_compat_wake', {wake} || 'request|' || $3::text)"""

_TAKE = """
    with c as materialized (
        select k.request_id
          from {own}.requests k
          join {own}.runs r on r.workflow_uuid = k.workflow_uuid
         where k.response is null and k.worker is null and k.deadline_ms > (select {own}.now_ms())
           and (r.owner = $1 or r.owner is null and k.task_queue = any ($2::text[]))
         order by k.deadline_ms
         limit $3
           for no key update of k skip locked)
    update {own}.requests k set worker = $1 from c where k.request_id = c.request_id
    returning k.request_id, k.workflow_uuid, k.task_queue, k.kind, k.payload, k.deadline_ms"""

_ANSWER = """
    with k as (
        update {own}.requests set response = $2 where request_id = $1 and response is null returning request_id)
    select pg_notify('dbos_compat_wake', {wake} || 'answer|' || request_id) from k"""

_RESPONSE = "delete from {own}.requests where request_id = $1 and response is not null returning response"

_DROP_EXPIRED = "delete from {own}.requests where deadline_ms < (select {own}.now_ms()) - 600000"


async def ask(db: Database, request: RequestRow) -> None:
    await db.rows(
        f"asking about run {request.workflow_uuid!r}",
        _ASK,
        request.request_id,
        request.workflow_uuid,
        request.task_queue,
        request.kind,
        request.payload,
        request.deadline_ms,
        safe=True,
    )


async def take_requests(db: Database, process_id: str, queues: Sequence[str], limit: int) -> list[RequestRow]:
    rows = await db.rows("taking requests", _TAKE, process_id, list(queues), limit)
    return [RequestRow(**dict(row)) for row in rows]


async def answer(db: Database, request_id: str, response: str) -> None:
    await db.rows(f"answering request {request_id!r}", _ANSWER, request_id, response, safe=True)


async def response(db: Database, request_id: str) -> str | None:
    row = await db.row(f"reading the answer to {request_id!r}", _RESPONSE, request_id)
    return None if row is None else str(row["response"])


async def drop_expired(db: Database) -> None:
    """Questions whose askers went away."""
    await db.rows("dropping old requests", _DROP_EXPIRED)
