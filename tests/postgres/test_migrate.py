"""Migrating: at once by ten, never twice, never over somebody else's data."""

from __future__ import annotations

import asyncio
import socket
import uuid

import psycopg
import pytest

from dbos_core.errors import ApplicationMismatch, BadDatabaseURL, SchemaMissing, SchemaTooNew, StoreUnavailable
from dbos_core.store.postgres import PostgresStore, schema_names
from dbos_core.store.postgres.schema.migrate import own_version
from tests.postgres.catalog import shape


async def opened(url: str, **options: object) -> None:
    store = PostgresStore(url, **options)  # type: ignore[arg-type]
    try:
        await store.open()
    finally:
        await store.close()


def execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


async def test_ten_at_once_make_it_once(postgres_url: str) -> None:
    await asyncio.gather(*[opened(postgres_url, pool_max=1) for _ in range(10)])

    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("select version from dbos.dbos_migrations").fetchall() == [(125,)]
        meta: dict[str, str] = dict(connection.execute("select key, value from dbos_compat.meta").fetchall())
    assert (meta["version"], meta["application_name"]) == (str(own_version()), "dbos-compat")


async def test_again_changes_nothing(postgres_url: str) -> None:
    await opened(postgres_url)
    before = shape(postgres_url), shape(postgres_url, "dbos_compat")

    await opened(postgres_url)

    assert (shape(postgres_url), shape(postgres_url, "dbos_compat")) == before


async def test_what_an_earlier_release_made_is_brought_up_to_date(postgres_url: str) -> None:
    await opened(postgres_url)
    execute(postgres_url, "alter table dbos_compat.processes drop column limited_queues")
    execute(postgres_url, "update dbos_compat.meta set value = '1' where key = 'version'")

    await asyncio.gather(*[opened(postgres_url, pool_max=1) for _ in range(3)])

    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("select limited_queues from dbos_compat.processes").fetchall() == []
        version = connection.execute("select value from dbos_compat.meta where key = 'version'").fetchone()
    assert version == (str(own_version()),)


async def test_a_failed_migration_leaves_nothing(postgres_url: str) -> None:
    execute(postgres_url, "create schema dbos_compat; create table dbos_compat.processes ()")

    with pytest.raises(SchemaMissing, match='"processes" already exists'):
        await opened(postgres_url)

    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("select to_regnamespace('dbos')").fetchone() == (None,)


async def test_a_newer_schema_is_refused(postgres_url: str) -> None:
    await opened(postgres_url)
    execute(postgres_url, "update dbos_compat.meta set value = '999' where key = 'version'")

    with pytest.raises(SchemaTooNew, match="at version 999"):
        await opened(postgres_url)


async def test_another_applications_schema_is_refused(postgres_url: str) -> None:
    await opened(postgres_url, application_name="billing")

    with pytest.raises(ApplicationMismatch, match=r"'billing'.*'shipping'.*another namespace"):
        await opened(postgres_url, application_name="shipping")
    await opened(postgres_url, application_name="billing")


async def test_a_later_stock_schema_is_accepted_and_an_older_one_named(postgres_url: str) -> None:
    await opened(postgres_url)
    execute(postgres_url, "update dbos.dbos_migrations set version = 126")
    await opened(postgres_url)

    execute(postgres_url, "update dbos.dbos_migrations set version = 99")
    with pytest.raises(SchemaMissing, match=r"migration 99.*`dbos migrate`"):
        await opened(postgres_url)


async def test_nothing_is_created_unasked(postgres_url: str) -> None:
    with pytest.raises(SchemaMissing, match="create=True"):
        await opened(postgres_url, create=False)

    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("select to_regnamespace('dbos')").fetchone() == (None,)


async def test_a_role_that_may_not_create_is_told_what_to_do(postgres_url: str) -> None:
    role = f"reader_{uuid.uuid4().hex[:12]}"
    execute(postgres_url, f"create role {role} login")
    try:
        with psycopg.connect(postgres_url) as admin:
            at = admin.info
            url = f"postgresql://{role}@/{at.dbname}?host={at.host}&port={at.port}"
        with pytest.raises(SchemaMissing, match="may not create"):
            await opened(url)
    finally:
        execute(postgres_url, f"drop owned by {role}; drop role {role}")


async def test_namespaces_do_not_meet(postgres_url: str) -> None:
    await opened(postgres_url, application_name="one")
    await opened(postgres_url, namespace="staging", application_name="two")
    await opened(postgres_url, namespace="Pre-Prod", application_name="three")

    with psycopg.connect(postgres_url) as connection:
        rows = connection.execute("select nspname from pg_namespace where nspname like 'dbos%' order by 1").fetchall()
    dbos, own = schema_names("Pre-Prod")
    assert [name for (name,) in rows] == sorted(
        ["dbos", "dbos_compat", "dbos_staging", "dbos_compat_staging", dbos, own]
    )


def test_schema_names() -> None:
    assert schema_names("default") == ("dbos", "dbos_compat")
    assert schema_names("staging") == ("dbos_staging", "dbos_compat_staging")
    odd = ["compat", "compat_x", "ns_x", "A", "a", "a-b", "a_b", "a b", "ä", "x" * 200, "x" * 201, 'a"; drop', "ns"]
    pairs = [schema_names(name) for name in [*odd, "default", "x"]]
    schemas = [name for pair in pairs for name in pair]
    assert len(set(schemas)) == len(schemas), "two namespaces share a schema"
    assert all(len(name.encode()) <= 63 for name in schemas)
    assert schema_names("A") == schema_names("A")
    with pytest.raises(ValueError, match="needs a name"):
        schema_names("")


async def test_a_server_that_is_not_there(postgres_url: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(StoreUnavailable, match="cannot be reached") as caught:
            await opened(f"postgresql://ada:secret@127.0.0.1:{port}/nothing")
    assert "secret" not in str(caught.value)
    assert "ada@127.0.0.1" in str(caught.value)


@pytest.mark.parametrize("url", ["mysql://localhost/db", "localhost:5432", "", "postgresql://localhost:port/db"])
async def test_what_is_no_url(url: str) -> None:
    with pytest.raises(BadDatabaseURL):
        await opened(url)


async def test_a_database_that_is_not_there(postgres_url: str) -> None:
    missing = postgres_url.replace("/test_", "/missing_")
    assert missing != postgres_url

    with pytest.raises(BadDatabaseURL, match="does not exist"):
        await opened(missing)


async def test_the_drivers_name_in_the_url_is_ignored(postgres_url: str) -> None:
    await opened(postgres_url.replace("postgresql://", "postgresql+psycopg://", 1))
