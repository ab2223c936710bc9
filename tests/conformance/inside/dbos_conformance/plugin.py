"""pytest plug-in inside the SDK's own suite: its tests reach our engine, and every outcome is written down.

No file of the suite is edited. The suite reaches a server through two fixtures of its conftest, ``env_type`` and
``env``; both are replaced on that conftest before pytest reads it (a plug-in's fixture would lose to the conftest, which
is nearer to the tests). Everything is told by environment variables, because the suite has its own command line:

==========================  ==========================================================================================
CONFORMANCE_ENGINE          ``module:function``, async, returns what :class:`Engine` describes
CONFORMANCE_LIST            a file of test ids: only those run
CONFORMANCE_RESULTS         JSON lines: a row when a test begins, a row when it has ended, a row when the engine closed
CONFORMANCE_TEST_SECONDS    how long an async test may take before it is cancelled
CONFORMANCE_CLOSE_SECONDS   how long the engine may take to close at the end of the session
==========================  ==========================================================================================

A process that hangs tells where on SIGUSR1.
"""

from __future__ import annotations

import asyncio
import faulthandler
import functools
import importlib
import inspect
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
import pytest_asyncio
import temporalio.service
from temporalio.client import Client
from temporalio.service import ConnectConfig, ServiceClient
from temporalio.testing import WorkflowEnvironment

faulthandler.register(signal.SIGUSR1, file=os.fdopen(os.dup(2), "w"), all_threads=True)  # before pytest captures it

ENV_TYPE = "local"
"""What the suite's ``env_type`` says. With any other value three search-attribute tests skip themselves."""


class Engine(Protocol):
    """What the function named by ``CONFORMANCE_ENGINE`` returns."""

    client: Client

    async def connect(self, config: ConnectConfig) -> ServiceClient:
        """Another connection to the address that ``client`` reports."""

    async def close(self) -> None: ...


# -- the engine in the place of a server -------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_plugin_registered(plugin: Any) -> None:
    """Replace the two fixtures on the suite's conftest."""
    file = (getattr(plugin, "__file__", None) or "").replace(os.sep, "/")
    if not file.endswith("/tests/conftest.py") or not hasattr(plugin, "env"):
        return

    @pytest.fixture(scope="session")
    def env_type() -> str:
        return ENV_TYPE

    @pytest_asyncio.fixture(scope="session")
    async def env(env_type: str) -> AsyncIterator[WorkflowEnvironment]:
        module, _, function = os.environ["CONFORMANCE_ENGINE"].partition(":")
        engine: Engine = await getattr(importlib.import_module(module), function)()
        _redirect(engine)
        environment = WorkflowEnvironment.from_client(engine.client)
        yield environment
        await environment.shutdown()
        await _close(engine)

    plugin.env_type = env_type
    plugin.env = env


def _redirect(engine: Engine) -> None:
    """Whoever connects again, to the address that the engine's client reports, reaches the engine too."""
    address = engine.client.service_client.config.target_host
    original = temporalio.service.ServiceClient.connect

    async def connect(config: ConnectConfig) -> ServiceClient:
        if config.target_host == address:
            return await engine.connect(config)
        return await original(config)

    temporalio.service.ServiceClient.connect = staticmethod(connect)  # type: ignore[method-assign]


async def _close(engine: Engine) -> None:
    """Close it in time, and write down whether it did."""
    begun = time.monotonic()
    closing = asyncio.ensure_future(engine.close())
    limit_s = float(os.environ.get("CONFORMANCE_CLOSE_SECONDS", "30"))
    await asyncio.wait([closing], timeout=limit_s)
    why = ""
    if not closing.done():
        faulthandler.dump_traceback(all_threads=True)
        why = f"did not close in {limit_s:g} s; waits in " + " < ".join(reversed(list(_where(closing))))
        closing.cancel()
    elif error := closing.exception():
        why = f"{type(error).__name__}: {error}"
    _write({"close": "failed" if why else "passed", "seconds": round(time.monotonic() - begun, 3), "why": why})


def _where(task: asyncio.Future[Any]) -> Iterator[str]:
    """The awaits that a task hangs in, outermost first."""
    awaited: Any = task.get_coro() if isinstance(task, asyncio.Task) else None
    while (frame := getattr(awaited, "cr_frame", None)) is not None:
        yield f"{frame.f_code.co_qualname}:{frame.f_lineno}"
        awaited = awaited.cr_await


# -- selection ---------------------------------------------------------------------------------------------------------


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            item.obj = _limited(item.obj)
    listed = os.environ.get("CONFORMANCE_LIST")
    if not listed:
        return
    wanted = set(Path(listed).read_text().splitlines())
    drop = [item for item in items if item.nodeid not in wanted]
    items[:] = [item for item in items if item.nodeid in wanted]
    config.hook.pytest_deselected(items=drop)
    for missing in sorted(wanted - {item.nodeid for item in items}):
        _write({"id": missing, "outcome": "not collected", "seconds": 0.0})


# -- the time limit ----------------------------------------------------------------------------------------------------


def _limited(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """The test, cancelled when it takes too long.

    pytest-timeout raises out of a signal handler, into whatever the event loop is at. Here that may well be a task of
    the engine, which then is gone for the tests to come; so it is left for tests that do not even react to this.
    """
    limit_s = float(os.environ.get("CONFORMANCE_TEST_SECONDS", "60"))

    @functools.wraps(test)
    async def limited(*args: Any, **kwargs: Any) -> None:
        task = asyncio.ensure_future(test(*args, **kwargs))
        done, _ = await asyncio.wait([task], timeout=limit_s)
        if not done:
            awaits = " < ".join(reversed(list(_where(task))))
            task.cancel()
            await asyncio.wait([task])
            pytest.fail(f"Timeout: took longer than {limit_s:g} s, in {awaits}")
        await task

    return limited


# -- the record --------------------------------------------------------------------------------------------------------

_rows: dict[str, dict[str, Any]] = {}


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    row = _rows[item.nodeid] = {"id": item.nodeid, "outcome": "", "seconds": 0.0}
    _write({"begun": item.nodeid})
    yield
    if row["outcome"]:
        row["seconds"] = round(row["seconds"], 3)
        _write(row)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    row = _rows.get(report.nodeid)
    if row is None:
        return
    row["seconds"] += report.duration
    if hasattr(report, "wasxfail"):
        row["outcome"] = "xfailed" if report.skipped else "xpassed"
        row["why"] = str(report.wasxfail)[:300]
    elif report.failed:
        row["outcome"] = "failed"
        row["why"] = str(getattr(report.longrepr, "reprcrash", None) or report.longrepr)[-1500:]
    elif report.skipped:
        row["outcome"] = row["outcome"] or "skipped"
        if isinstance(report.longrepr, tuple):
            row["why"] = str(report.longrepr[2])[:300]
    elif report.when == "call" and not row["outcome"]:
        row["outcome"] = "passed"


def _write(row: dict[str, Any]) -> None:
    if path := os.environ.get("CONFORMANCE_RESULTS"):
        with Path(path).open("a") as out:
            out.write(json.dumps(row) + "\n")
