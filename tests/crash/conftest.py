"""A ledger, worker programs that write into it, and a client that nobody kills."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

import dbos_compat
from tests.crash.evidence import Ledger
from tests.crash.programs.workload import ACTIVITIES, LEDGER_VARIABLE, QUEUE, WORKFLOWS
from tests.fixtures.postgres import PrivatePostgres
from tests.fixtures.process import Program, Spawn

LEASE_SECONDS = 2.0
"""The pulse beats every second; two of them."""

StartWorker = Callable[..., Program]
MakeWorker = Callable[[], Worker]


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    path = tmp_path / "ledger.jsonl"
    monkeypatch.setenv(LEDGER_VARIABLE, str(path))
    return Ledger(path)


@pytest.fixture
def database(request: pytest.FixtureRequest) -> str:
    """An empty database; on a server of its own if the test wants one that it may stop."""
    if "private_postgres" in request.fixturenames:
        server: PrivatePostgres = request.getfixturevalue("private_postgres")
        return server.create_database()
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def start_worker(spawn: Spawn, database: str, ledger: Ledger) -> StartWorker:
    """``start_worker(failpoints="name=kill@2", starts=4)`` starts the program that gets killed."""

    def start(*, failpoints: str = "", starts: int = 0, name: str = "worker") -> Program:
        env = {
            "DBOS_SYSTEM_DATABASE_URL": database,
            "CRASH_LEASE_SECONDS": str(LEASE_SECONDS),
            "CRASH_STARTS": str(starts),
            "DBOS_COMPAT_FAILPOINTS": failpoints,
        }
        return spawn("-m", "tests.crash.programs.worker", env=env, name=name)

    return start


@pytest_asyncio.fixture
async def client(database: str) -> AsyncIterator[Client]:
    """The client of this process, which lives as long as the test."""
    client = await dbos_compat.connect(database, identity="survivor", lease=timedelta(seconds=LEASE_SECONDS))
    yield client
    await dbos_compat.disconnect(client)


@pytest.fixture
def survivor(client: Client, ledger: Ledger) -> MakeWorker:
    """A worker in this process: the one that takes over."""

    def make() -> Worker:
        return Worker(
            client,
            task_queue=QUEUE,
            workflows=WORKFLOWS,
            activities=ACTIVITIES,
            workflow_runner=UnsandboxedWorkflowRunner(),
        )

    return make
