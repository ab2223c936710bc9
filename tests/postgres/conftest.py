"""A store on a fresh database, and processes on it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from dbos_core.store.postgres import PostgresStore
from tests.store.support import Process


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(postgres_url)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def ours(store: PostgresStore) -> Process:
    """A live process."""
    process = Process(store)
    await process.register()
    return process
