"""PostgresResults: results in a schema of their own, apart from the schemas of any namespace.

Nothing of a run depends on it: dropping the schema loses verdicts and nothing else.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import cache
from importlib import resources

import asyncpg

from dbos_core.errors import SchemaMissing, SchemaTooNew
from dbos_core.results import CampaignRow, Known, ResultRow
from dbos_core.store.postgres import schema as schema_package
from dbos_core.store.postgres.connect import Connection, Database
from dbos_core.store.postgres.schema.names import Schemas

__all__ = ["PostgresResults", "SCHEMA"]

SCHEMA = "dbos_shadow"

PAGE = 1000
PURGE_BATCH = 5000

_LOCK = "select pg_advisory_xact_lock(hashtextextended($1, 1147302482))"

_BEGIN = """
    insert into {own}.campaigns (config, name, settings, begun_ms) values ($1, $2, $3, $4)
    on conflict (config) do update set name = excluded.name, settings = excluded.settings"""

# A verdict of before, of the same run: its type may have been unknown then.
_FORGET = """
    delete from {own}.results r using unnest($2::text[], $3::text[], $4::text[]) as n (workflow_type, workflow_id, run_id)
     where r.config = $1 and r.workflow_type = '' and n.workflow_type <> ''
       and r.workflow_id = n.workflow_id and r.run_id = n.run_id"""

_ADD = """
    insert into {own}.results
           (config, workflow_type, workflow_id, run_id, verdict, reason, shape, events, at_ms, document, digest)
    select $1, * from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::int[], $9::bigint[],
                             $10::text[], $11::text[])
    on conflict (config, workflow_type, workflow_id, run_id) do update
       set verdict = excluded.verdict, reason = excluded.reason, shape = excluded.shape, events = excluded.events,
           at_ms = excluded.at_ms, document = excluded.document, digest = excluded.digest"""

_SUMMARISE = "update {own}.campaigns set summary = $2 where config = $1"

# Page by page along the primary key: no sort, whatever the number of results.
_PAGE = """
    select workflow_type, workflow_id, run_id, verdict, reason, shape, events, at_ms, document, digest
      from {own}.results
     where config = $1 and (workflow_type, workflow_id, run_id) > ($2, $3, $4)
     order by workflow_type, workflow_id, run_id
     limit $5"""

_PAGE_KNOWN = """
    select workflow_type, workflow_id, run_id, verdict, reason, shape, events, digest
      from {own}.results
     where config = $1 and (workflow_type, workflow_id, run_id) > ($2, $3, $4)
     order by workflow_type, workflow_id, run_id
     limit $5"""

_CAMPAIGNS = """
    select config, name, settings, summary, begun_ms from {own}.campaigns
     where $1::text is null or name = $1
     order by begun_ms desc, config"""

_PURGE = """
    with old as (
        select config, workflow_type, workflow_id, run_id from {own}.results
         where at_ms < $1 and ($2::text is null or config = $2)
         limit $3)
    delete from {own}.results r using old
     where (r.config, r.workflow_type, r.workflow_id, r.run_id)
         = (old.config, old.workflow_type, old.workflow_id, old.run_id)
    returning 1"""

_PURGE_CAMPAIGNS = """
    delete from {own}.campaigns c
     where c.begun_ms < $1 and ($2::text is null or c.config = $2)
       and not exists (select from {own}.results r where r.config = c.config)"""


class PostgresResults:
    """The promises of ``results.Results`` on PostgreSQL."""

    def __init__(self, url: str, *, schema: str = SCHEMA, create: bool = True) -> None:
        """
        Args:
            url: ``postgresql://user:password@host:port/database``.
            schema: the results' own; made where it is missing.
            create: make it; else a missing one is an error.

        Raises:
            BadDatabaseURL: the URL is none.
        """
        self._schemas = Schemas(schema, schema)
        self._create = create
        self._db = Database(url, self._schemas, pool_max=2, statement_cache=64, settings={})

    async def open(self) -> None:
        """Connect, and make or check the schema.

        Raises:
            SchemaMissing, SchemaTooNew, BadDatabaseURL, StoreUnavailable.
        """
        async with self._db.session("checking the schema of results") as session:
            await self._migrate(session)
        await self._db.open()

    async def close(self) -> None:
        await self._db.close()

    async def begin(self, campaign: CampaignRow) -> None:
        at_ms = campaign.begun_ms or int(time.time() * 1000)
        await self._db.rows(
            "beginning a campaign", _BEGIN, campaign.config, campaign.name, campaign.settings, at_ms, safe=True
        )

    async def known(self, config: str) -> Mapping[tuple[str, str], Known]:
        found: dict[tuple[str, str], Known] = {}
        async for row in self._pages("reading what is known", _PAGE_KNOWN, config):
            found[row["workflow_id"], row["run_id"]] = Known(
                row["verdict"], row["reason"], row["shape"], row["events"], row["digest"]
            )
        return found

    async def add(self, config: str, rows: Sequence[ResultRow]) -> None:
        if not rows:
            return
        latest = {(row.workflow_type, *row.key): row for row in rows}.values()
        keys = (
            [row.workflow_type for row in latest],
            [row.workflow_id for row in latest],
            [row.run_id for row in latest],
        )

        async def write(connection: Connection) -> None:
            async with connection.transaction():
                await connection.execute(self._db.sql(_FORGET), config, *keys)
                await connection.execute(
                    self._db.sql(_ADD),
                    config,
                    *keys,
                    [row.verdict for row in latest],
                    [row.reason for row in latest],
                    [row.shape for row in latest],
                    [row.events for row in latest],
                    [row.at_ms for row in latest],
                    [row.document for row in latest],
                    [row.digest for row in latest],
                )

        await self._db.run("keeping results", write, safe=True)

    async def summarise(self, config: str, summary: str) -> None:
        await self._db.rows("keeping a summary", _SUMMARISE, config, summary, safe=True)

    async def read(self, config: str) -> AsyncIterator[ResultRow]:
        async for row in self._pages("reading results", _PAGE, config):
            yield ResultRow(**dict(row))

    async def campaigns(self, name: str | None = None) -> Sequence[CampaignRow]:
        rows = await self._db.rows("listing campaigns", _CAMPAIGNS, name, safe=True)
        return [CampaignRow(**dict(row)) for row in rows]

    async def purge(self, *, before_ms: int, config: str | None = None) -> int:
        deleted = 0
        while found := await self._db.rows("purging results", _PURGE, before_ms, config, PURGE_BATCH):
            deleted += len(found)
        await self._db.rows("purging campaigns", _PURGE_CAMPAIGNS, before_ms, config)
        return deleted

    async def _pages(self, what: str, text: str, config: str) -> AsyncIterator[asyncpg.Record]:
        after = ("", "", "")
        while True:
            rows = await self._db.rows(what, text, config, *after, PAGE, safe=True)
            for row in rows:
                yield row
            if len(rows) < PAGE:
                return
            after = (rows[-1]["workflow_type"], rows[-1]["workflow_id"], rows[-1]["run_id"])

    # -- the schema ------------------------------------------------------------------------------------------------

    async def _migrate(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        if await self._version(connection) == version():
            return
        name = self._schemas.own
        if not self._create:
            raise SchemaMissing(
                f"schema {name!r} has no results at the version that this release needs. Nothing was ever kept there, or "
                "by an older release: judge some runs first, with this database."
            )
        try:
            async with connection.transaction():
                await connection.execute(_LOCK, name)
                found = await self._version(connection)
                if found == 0:
                    await connection.execute(self._schemas.fill("create schema if not exists {own}"))
                for number in range(found + 1, version() + 1):
                    await connection.execute(self._schemas.fill(_script(number)))
                await connection.execute(
                    self._schemas.fill(
                        "insert into {own}.meta (key, value) values ('version', $1) "
                        "on conflict (key) do update set value = excluded.value"
                    ),
                    str(version()),
                )
        except asyncpg.InsufficientPrivilegeError as error:
            raise SchemaMissing(
                f"schema {name!r} is missing and this role may not create it ({error}). Create it with a role that may, "
                "and grant this role usage and create on it."
            ) from error
        except (asyncpg.DuplicateTableError, asyncpg.DuplicateObjectError) as error:
            raise SchemaMissing(
                f"schema {name!r} cannot be used for results: {error}, and it is not ours. Choose another schema."
            ) from error

    async def _version(self, connection: asyncpg.Connection[asyncpg.Record]) -> int:
        fill = self._schemas.fill
        if not await connection.fetchval("select to_regclass($1) is not null", fill("{own}.campaigns")):
            return 0
        text = await connection.fetchval(fill("select value from {own}.meta where key = 'version'"))
        found = int(text) if text else 0
        if found > version():
            raise SchemaTooNew(
                f"schema {self._schemas.own!r} is at version {found}; this release of dbos-compat knows {version()}. "
                "A newer release made it: upgrade this process."
            )
        return found


@cache
def version() -> int:
    """The version of the results' schema that this release makes."""
    folder = resources.files(schema_package)
    return max(int(m[1]) for f in folder.iterdir() if (m := re.fullmatch(r"results_(\d{4})\.sql", f.name)))


@cache
def _script(number: int) -> str:
    return resources.files(schema_package).joinpath(f"results_{number:04}.sql").read_text(encoding="utf-8")
