"""A ledger, worker programs that write into it, and a client that nobody kills."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

import dbos_compat
from tests.crash.evidence import Ledger
from tests.crash.processes import Worker as ForkedWorker
from tests.crash.programs.workload import ACTIVITIES, LEDGER_VARIABLE, QUEUE, WORKFLOWS
from tests.fixtures.postgres import PrivatePostgres

LEASE_SECONDS = 2.0
"""The pulse beats every second; two of them."""

StartWorker = Callable[..., ForkedWorker]
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
def start_worker(tmp_path: Path, database: str, ledger: Ledger) -> Iterator[StartWorker]:
    """``start_worker(failpoints="name=kill@2", starts=4)`` starts the program that gets killed."""

    workers: list[ForkedWorker] = []

    def start(*, failpoints: str = "", starts: int = 0, name: str = "worker") -> ForkedWorker:
        env = {
            LEDGER_VARIABLE: str(ledger.path),
            "DBOS_SYSTEM_DATABASE_URL": database,
            "CRASH_LEASE_SECONDS": str(LEASE_SECONDS),
            "CRASH_STARTS": str(starts),
            "DBOS_COMPAT_FAILPOINTS": failpoints,
        }
        worker = ForkedWorker(name, tmp_path, env)
        workers.append(worker)
        worker.start()
        return worker

    yield start
    for worker in workers:
        worker.clear_away()
        # Shown by pytest beside the failure, if there was one.
        print(f"--- {worker.name} printed last:\n{worker.output}")


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
