"""The plug-in inside the suite's process: on a small suite of the same make."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.processes import INSIDE
from tests.conformance.results import Rows, read_rows

CONFTEST = """
import pytest

@pytest.fixture(scope="session")
def env_type():
    return "of the suite"

@pytest.fixture(scope="session")
def env():
    return "of the suite"
"""

TESTS = """
import asyncio
import pytest

async def test_reaches_the_engine(env, env_type):
    assert env.client.service_client.config.target_host == "nowhere:1"
    assert env_type == "local"

async def test_connects_again(env):
    from temporalio.client import Client
    client = await Client.connect("nowhere:1")
    assert type(client.service_client).__name__ == "Nothing"

async def test_takes_too_long():
    await asyncio.sleep(600)

def test_fails():
    assert 1 == 2

@pytest.mark.skip(reason="not here")
def test_is_skipped():
    pass

def test_was_not_asked_for():
    pass
"""

ENGINE = """
import asyncio
import os
from temporalio.client import Client
from temporalio.service import ConnectConfig, ServiceClient

class Nothing(ServiceClient):
    async def _rpc_call(self, *args, **kwargs):
        raise NotImplementedError

    def update_rpc_metadata(self, metadata):
        pass

    def update_api_key(self, key):
        pass

    @property
    def worker_service_client(self):
        raise NotImplementedError

class Engine:
    def __init__(self):
        self.client = Client(Nothing(ConnectConfig(target_host="nowhere:1")))

    async def connect(self, config):
        return Nothing(config)

    async def close(self):
        if "HANG" in os.environ:
            await asyncio.sleep(600)

async def connect():
    return Engine()
"""

PYTEST_INI = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = session
asyncio_default_test_loop_scope = session
"""


@pytest.fixture
def small_suite(tmp_path: Path) -> Path:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "conftest.py").write_text(CONFTEST)
    (tmp_path / "tests" / "test_small.py").write_text(TESTS)
    (tmp_path / "engine_of_nothing.py").write_text(ENGINE)
    (tmp_path / "pytest.ini").write_text(PYTEST_INI)
    return tmp_path


def run(suite: Path, names: list[str], **environment: Any) -> Rows:
    listed, rows = suite / "list", suite / "rows"
    listed.write_text("".join(f"tests/test_small.py::{name}\n" for name in names))
    subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "dbos_conformance.plugin", "-p", "no:cacheprovider", "-q"],
        cwd=suite,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(INSIDE), str(suite)]),
            "CONFORMANCE_ENGINE": "engine_of_nothing:connect",
            "CONFORMANCE_LIST": str(listed),
            "CONFORMANCE_RESULTS": str(rows),
            "CONFORMANCE_TEST_SECONDS": "0.5",
            "CONFORMANCE_CLOSE_SECONDS": "0.5",
            **environment,
        },
        check=False,
        capture_output=True,
        timeout=50,
    )
    return read_rows(rows)


def test_outcomes(small_suite: Path) -> None:
    rows = run(
        small_suite,
        [
            "test_reaches_the_engine",
            "test_connects_again",
            "test_takes_too_long",
            "test_fails",
            "test_is_skipped",
            "test_is_not_there",
        ],
    )
    assert {id_.partition("::")[2]: result.outcome for id_, result in rows.results.items()} == {
        "test_reaches_the_engine": "passed",
        "test_connects_again": "passed",
        "test_takes_too_long": "failed",
        "test_fails": "failed",
        "test_is_skipped": "skipped",
        "test_is_not_there": "not collected",
    }
    late = rows.results["tests/test_small.py::test_takes_too_long"]
    assert "longer than 0.5 s, in sleep" in late.why
    assert "assert 1 == 2" in rows.results["tests/test_small.py::test_fails"].why
    assert rows.unfinished is None
    assert rows.close == ""


def test_an_engine_that_does_not_close_is_told_of(small_suite: Path) -> None:
    rows = run(small_suite, ["test_reaches_the_engine"], HANG="1")
    assert rows.close is not None
    assert "did not close in 0.5 s; waits in" in rows.close
    assert [json.loads(line).get("close") for line in (small_suite / "rows").read_text().splitlines()].count(
        "failed"
    ) == 1
