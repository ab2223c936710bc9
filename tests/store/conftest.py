"""Every test of this folder runs on every store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from dbos_core.clock import SystemClock
from dbos_core.store.base import Store
from dbos_core.store.memory import MemoryStore
from dbos_core.testing import StockTools
from tests.store.stock import PostgresStockTools, Stock
from tests.store.support import Ear, Process

if TYPE_CHECKING:
    from tests.fixtures.postgres import PostgresServer

StoreFactory = Callable[[], Awaitable[Store]]
"""Each call is another connection to the same database, as another process would have it."""


@pytest.fixture(scope="session")
def database_with_schema(postgres_server: PostgresServer) -> Iterator[str]:
    """A database with the schema in it, to be copied: quicker than applying it for every test."""
    import asyncio

    from dbos_core.store.postgres.store import PostgresStore

    async def create_schema(url: str) -> None:
        store = PostgresStore(url)
        await store.open()
        await store.close()

    url = postgres_server.create_database()
    asyncio.run(create_schema(url))
    yield url
    postgres_server.drop_database(url)


@pytest.fixture(params=["memory", "postgres"])
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """``memory``, or the URL of a fresh database."""
    if request.param == "memory":
        yield "memory"
        return
    from tests.fixtures.postgres import database_name

    server: PostgresServer = request.getfixturevalue("postgres_server")
    template: str = request.getfixturevalue("database_with_schema")
    url = server.create_database(template=database_name(template))
    yield url
    server.drop_database(url)


@pytest.fixture
async def store_factory(backend: str) -> AsyncIterator[StoreFactory]:
    opened: list[Store] = []
    memory = MemoryStore(SystemClock())

    async def another() -> Store:
        store: Store
        if backend == "memory":
            store = memory.sibling()
        else:
            from dbos_core.store.postgres.store import PostgresStore

            store = PostgresStore(backend)
        await store.open()
        opened.append(store)
        return store

    another.memory = memory  # type: ignore[attr-defined]
    yield another
    for store in opened:
        await store.close()


@pytest.fixture
async def store(store_factory: StoreFactory) -> Store:
    return await store_factory()


@pytest.fixture
async def ours(store: Store) -> Process:
    """A live process."""
    process = Process(store)
    await process.register()
    return process


@pytest.fixture
async def theirs(store_factory: StoreFactory) -> Process:
    """Another live process, on a connection of its own."""
    process = Process(await store_factory())
    await process.register()
    return process


@pytest.fixture
def ear(theirs: Process) -> Ear:
    """Hears what the other process hears."""
    return Ear(theirs)


@pytest.fixture
def stock(backend: str, store_factory: StoreFactory) -> Stock:
    """What a stock DBOS client would do."""
    if backend == "memory":
        return StockTools(store_factory.memory)  # type: ignore[attr-defined]
    return PostgresStockTools(backend)
