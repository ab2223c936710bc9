"""The engines on which each example of behaviour runs, and the check that follows each of them.

A test asks for `client` (or `connect`, to pass options) and makes its workers through `make_worker`. It then runs

* on **temporal**, a Temporal dev server: this proves that the assertion is true of Temporal;
* on **dbos**, our engine on Postgres;
* on **evict**, our engine with no workflow cache, so that each step rebuilds the run from its journal.

Choose with ``-m temporal``, ``-m dbos`` or ``-m evict``. After a test on our engine, the history of every run it left
behind must be accepted by Temporal's own `Replayer`. A test whose history cannot be replayed says why:
``@pytest.mark.no_replay("the workflow code is broken on purpose")``.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import Client, WorkflowHistory
from temporalio.worker import Interceptor, Replayer, UnsandboxedWorkflowRunner, Worker

from .support import Connect, MakeWorker, add_search_attributes

ENGINES = [
    pytest.param("temporal", marks=pytest.mark.temporal),
    pytest.param("dbos", marks=pytest.mark.dbos),
    pytest.param("evict", marks=pytest.mark.evict),
]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """Which engine answers: "temporal", "dbos" or "evict"."""
    return str(request.param)


@pytest.fixture
def unique() -> str:
    """A short text that no other test has; workflow ids and task queues are made from it."""
    return uuid.uuid4().hex[:12]


@pytest.fixture
def wid(unique: str) -> str:
    """A workflow id of this test alone."""
    return f"wf-{unique}"


@pytest.fixture
def queue(unique: str) -> str:
    """A task queue of this test alone."""
    return f"queue-{unique}"


class Session:
    """What one test did with its engine: the clients it made, the workflows it registered."""

    def __init__(self, engine: str, unique: str) -> None:
        self.engine = engine
        self.unique = unique
        self.clients: list[Client] = []
        self.workflows: dict[str, type] = {}
        self.worker_options: dict[str, Any] = {}

    def make_worker(self, client: Client, **options: Any) -> Worker:
        for workflow in options.get("workflows", ()):
            name = getattr(workflow, "__temporal_workflow_definition").name
            self.workflows[name or "(dynamic)"] = workflow
        for shared in ("interceptors", "workflow_failure_exception_types"):
            if shared in options:
                self.worker_options[shared] = options[shared]
        if self.engine == "evict":
            options["max_cached_workflows"] = 0
        options.setdefault("workflow_runner", UnsandboxedWorkflowRunner())
        return Worker(client, **options)

    async def replay_everything(self) -> None:
        """Temporal's own Replayer must accept every run that this test made."""
        if not self.workflows or not self.clients:
            return
        client = self.clients[0]
        config = client.config()
        replayer = Replayer(
            workflows=list(self.workflows.values()),
            workflow_runner=UnsandboxedWorkflowRunner(),
            namespace=client.namespace,
            data_converter=config["data_converter"],
            interceptors=[
                *[i for i in config["interceptors"] if isinstance(i, Interceptor)],
                *self.worker_options.get("interceptors", ()),
            ],
            workflow_failure_exception_types=self.worker_options.get("workflow_failure_exception_types", ()),
        )
        for run in await self.runs(client):
            if run.workflow_id.startswith("unreplayed-"):
                continue
            async with asyncio.timeout(20):
                result = await replayer.replay_workflow(run, raise_on_replay_failure=False)
            if result.replay_failure is not None:
                raise AssertionError(
                    f"Temporal's Replayer refuses the history of {run.workflow_id} ({run.run_id}): "
                    f"{result.replay_failure}\n{run.to_json()}"
                )

    async def runs(self, client: Client) -> Sequence[WorkflowHistory]:
        histories = []
        async for execution in client.list_workflows():
            if self.engine != "temporal" or self.unique in execution.id:
                handle = client.get_workflow_handle(execution.id, run_id=execution.run_id)
                history = await handle.fetch_history()
                if execution.workflow_type in self.workflows or "(dynamic)" in self.workflows:
                    histories.append(history)
        return histories


@pytest.fixture
def session(engine: str, unique: str) -> Session:
    """What this test did so far."""
    return Session(engine, unique)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, None]:
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and report.failed:
        item.compat_failed = True  # type: ignore[attr-defined]


async def abandon_tasks() -> None:
    """End what a failed test left behind, so that the next one can begin.

    A test that timed out leaves its `async with Worker` in the middle. The first cancellation of such a task makes
    it shut its worker down and wait for activities that may never end; the next one makes it give up.
    """
    me = asyncio.current_task()
    for _ in range(10):
        left = [task for task in asyncio.all_tasks() if task is not me]
        if not left:
            return
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=0.5)


@pytest_asyncio.fixture
async def connect(engine: str, session: Session, request: pytest.FixtureRequest) -> AsyncIterator[Connect]:
    """`await connect(**options)` gives a Client of the engine under test; options are those of `Client.connect`."""
    opened: list[Client] = []
    connect_one: Callable[..., Awaitable[Client]]
    if engine == "temporal":
        address = request.getfixturevalue("temporal_address")

        async def connect_one(**options: Any) -> Client:
            return await Client.connect(address, **options)
    else:
        import dbos_compat

        url = request.getfixturevalue("postgres_url")

        async def connect_one(**options: Any) -> Client:
            return await dbos_compat.connect(url, **{"suggest_continue_as_new_after": 50, **options})

    async def connect(**options: Any) -> Client:
        client = await connect_one(**options)
        opened.append(client)
        session.clients.append(client)
        if engine == "temporal" and client.namespace == "default":
            await add_search_attributes(client)
        return client

    yield connect
    failed = getattr(request.node, "compat_failed", False)
    exempt = request.node.get_closest_marker("no_replay")
    if failed:
        await abandon_tasks()
    try:
        if not failed and exempt is None and (engine != "temporal" or os.environ.get("COMPAT_REPLAY_TEMPORAL")):
            await session.replay_everything()
    finally:
        if engine != "temporal":
            for client in opened:
                async with asyncio.timeout(20):
                    await dbos_compat.disconnect(client)


@pytest_asyncio.fixture
async def client(connect: Connect) -> Client:
    """A client with default options."""
    return await connect()


@pytest.fixture
def make_worker(session: Session) -> MakeWorker:
    """The only way in which tests make workers: it knows the engine's mode and remembers the workflow classes."""
    return session.make_worker
