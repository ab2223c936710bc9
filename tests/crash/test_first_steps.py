"""What a newcomer runs first: hello, a workflow and its caller in one file, and the demo. Each kills something."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.fixtures.process import Spawn

ONE_FILE = """
import asyncio
from datetime import timedelta

import dbos_compat
from temporalio import activity, workflow
from temporalio.worker import Worker


@activity.defn
async def greet(name: str) -> str:
    return f"Hello, {name}!"


@workflow.defn
class Greeting:
    @workflow.run
    async def run(self, name: str) -> str:
        return await workflow.execute_activity(greet, name, start_to_close_timeout=timedelta(seconds=5))


async def main() -> None:
    client = await dbos_compat.connect()
    async with Worker(client, task_queue="q", workflows=[Greeting], activities=[greet]):
        print(await client.execute_workflow(Greeting.run, "Ada", id="hello", task_queue="q"))
    await dbos_compat.disconnect(client)


if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.fixture
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the embedded Postgres of these programs keeps its data; the last program that uses it stops the server."""
    return tmp_path_factory.mktemp("data")


@pytest.mark.timeout(120)
def test_hello_greets_twice_and_is_killed_once(spawn: Spawn, data_dir: Path) -> None:
    hello = spawn("-m", "dbos_compat.hello", env={"DBOS_COMPAT_DATA_DIR": str(data_dir)}, name="hello")
    assert hello.wait(within=90) == 0, hello.output
    measured = re.search(r"^Hello, Ada! +2 activities, (\d+) commits, \d+ ms$", hello.output, re.MULTILINE)
    assert measured, hello.output
    assert measured[1] == "3"
    assert re.search(r"^Hello, Grace! +2 activities .* killed once on the way", hello.output, re.MULTILINE), (
        hello.output
    )


def test_workflow_and_caller_may_share_a_file_with_the_one_line(
    spawn: Spawn, postgres_url: str, tmp_path: Path
) -> None:
    """The sandbox imports the file again, and with it this package."""
    program = tmp_path / "one_file.py"
    program.write_text(ONE_FILE)
    run = spawn(str(program), env={"DBOS_SYSTEM_DATABASE_URL": postgres_url}, name="one_file.py")
    run.wait_for_line("^Hello, Ada!")
    assert run.wait() == 0


@pytest.mark.timeout(180)
def test_the_demo_keeps_every_promise_without_a_terminal(spawn: Spawn) -> None:
    demo = spawn("-m", "examples.checkout.demo", env={"TERM": "dumb"}, name="demo")
    assert demo.wait(within=150) == 0, demo.output
    assert re.search(r"All \d+ promises hold", demo.output)
    assert "\x1b" not in demo.output, "escape codes where there is no terminal"


def test_the_demo_says_how_to_use_it(spawn: Spawn) -> None:
    demo = spawn("-m", "examples.checkout.demo", "--help", name="demo --help")
    assert demo.wait() == 0
    assert "usage: python -m examples.checkout.demo" in demo.output
