"""Migrate: make or check both schemas of a namespace; automatic, idempotent, safe when ten processes do it at once.

The DBOS schema is made in one go at version 125 (``dbos_0125.sql``) where there is none; an existing one is accepted at
125 or above and never changed. Our own schema has numbered scripts (``own_0001.sql`` ...). Everything happens in one
transaction under an advisory lock, so that a process sees either nothing or all of it.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

import asyncpg

from dbos_core.errors import ApplicationMismatch, SchemaMissing, SchemaTooNew
from dbos_core.store.postgres.schema.names import Schemas

DBOS_VERSION = 125
"""The DBOS migration whose schema we make and understand; later ones are accepted, they only add."""

_LOCK = "select pg_advisory_xact_lock(hashtextextended($1, 1147302481))"

_DBOS_TABLES = "select to_regclass($1) is not null, to_regclass($2) is not null"

_SHARDED = """
    select exists (select from information_schema.columns
                    where table_schema = $1 and table_name = 'workflow_status' and column_name = 'shard_key')"""


async def migrate(
    connection: asyncpg.Connection[asyncpg.Record],
    *,
    dbos_schema: str,
    own_schema: str,
    application_name: str,
    create: bool = True,
) -> None:
    """Make what is missing, check what is there.

    Raises:
        SchemaMissing: something is missing and ``create`` is False or the role may not create it; or the DBOS schema
            is older than we can use.
        SchemaTooNew: our own schema was made by a newer release.
        ApplicationMismatch: the schema belongs to an application of another name.
    """
    schemas = Schemas(dbos_schema, own_schema)
    if await _own_version(connection, schemas) == own_version() and await _dbos_version(connection, schemas):
        await _check_application(connection, schemas, application_name)
        return
    if not create:
        raise SchemaMissing(
            f"schemas {dbos_schema!r} and {own_schema!r} are not there at the version that this release needs, and "
            "this process was told not to create them. Start once with create=True, or run `dbos-compat migrate`."
        )
    try:
        async with connection.transaction():
            await connection.execute(_LOCK, f"{dbos_schema}|{own_schema}")
            await _migrate_locked(connection, schemas, application_name)
    except asyncpg.InsufficientPrivilegeError as error:
        raise SchemaMissing(
            f"schemas {dbos_schema!r} and {own_schema!r} are missing and this role may not create them ({error}). "
            "Run `dbos-compat migrate` once with a role that may, and grant this role usage on both."
        ) from error
    except (asyncpg.DuplicateTableError, asyncpg.DuplicateObjectError, asyncpg.DuplicateFunctionError) as error:
        raise SchemaMissing(
            f"schemas {dbos_schema!r} and {own_schema!r} cannot be made: {error}, and it is not ours. Nothing was "
            "changed. Choose another namespace, or drop what is there."
        ) from error


async def _migrate_locked(
    connection: asyncpg.Connection[asyncpg.Record], schemas: Schemas, application_name: str
) -> None:
    if not await _dbos_version(connection, schemas):
        await connection.execute(schemas.fill(_script(f"dbos_{DBOS_VERSION:04}.sql")))
    version = await _own_version(connection, schemas)
    if version == 0:
        await connection.execute(schemas.fill("create schema if not exists {own}"))
    for number in range(version + 1, own_version() + 1):
        await connection.execute(schemas.fill(_script(f"own_{number:04}.sql")))
    if version < own_version():
        await connection.execute(
            schemas.fill(
                "insert into {own}.meta (key, value) values ('version', $1) "
                "on conflict (key) do update set value = excluded.value"
            ),
            str(own_version()),
        )
    await connection.execute(
        schemas.fill("insert into {own}.meta (key, value) values ('application_name', $1) on conflict do nothing"),
        application_name,
    )
    await _check_application(connection, schemas, application_name)


async def _dbos_version(connection: asyncpg.Connection[asyncpg.Record], schemas: Schemas) -> int:
    """The version of the DBOS schema; 0 if there is none."""
    row = await connection.fetchrow(
        _DBOS_TABLES, schemas.fill("{dbos}.dbos_migrations"), schemas.fill("{dbos}.workflow_status")
    )
    assert row is not None
    if row[0]:
        version = await connection.fetchval(schemas.fill("select max(version) from {dbos}.dbos_migrations")) or 0
    elif row[1]:
        version = 1
    else:
        return 0
    if version < DBOS_VERSION:
        raise SchemaMissing(
            f"schema {schemas.dbos!r} is a DBOS system schema at migration {version}; this release needs "
            f"{DBOS_VERSION} (DBOS Transact 3.4). Run `dbos migrate` of DBOS 3.4 or later on this database first; "
            "its data stays."
        )
    if await connection.fetchval(_SHARDED, schemas.dbos):
        raise SchemaMissing(
            f"schema {schemas.dbos!r} is a sharded DBOS system schema, which is not supported. "
            "Use another database or another namespace."
        )
    return int(version)


async def _own_version(connection: asyncpg.Connection[asyncpg.Record], schemas: Schemas) -> int:
    """The version of our own schema; 0 if there is none."""
    if not await connection.fetchval("select to_regclass($1) is not null", schemas.fill("{own}.meta")):
        return 0
    text = await connection.fetchval(schemas.fill("select value from {own}.meta where key = 'version'"))
    version = int(text) if text else 0
    if version > own_version():
        raise SchemaTooNew(
            f"schema {schemas.own!r} is at version {version}; this release of dbos-compat knows {own_version()}. "
            "A newer release made it: upgrade this process."
        )
    return version


async def _check_application(
    connection: asyncpg.Connection[asyncpg.Record], schemas: Schemas, application_name: str
) -> None:
    known = await connection.fetchval(schemas.fill("select value from {own}.meta where key = 'application_name'"))
    if known is not None and known != application_name:
        raise ApplicationMismatch(
            f"schemas {schemas.dbos!r} and {schemas.own!r} belong to the application {known!r}, and this process says "
            f"it is {application_name!r}. Connect with application_name={known!r}, or choose another namespace or "
            "database for this application."
        )


def own_version() -> int:
    """The version of our own schema that this release makes."""
    return _scripts()


@cache
def _scripts() -> int:
    folder = resources.files(__package__)
    numbers = [int(m[1]) for f in folder.iterdir() if (m := re.fullmatch(r"own_(\d{4})\.sql", f.name))]
    return max(numbers)


@cache
def _script(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
