"""``dbos-compat shadow mirror``: the back of a mirror as a command, on a real Temporal server."""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.worker import Worker
from typer.testing import CliRunner

from dbos_compat.cli import app
from dbos_core.store.postgres.results import PostgresResults
from dbos_shadow.cli.following import warnings
from dbos_shadow.mirror import Mirror
from dbos_shadow.quiet import quiet
from tests.fixtures.process import Spawn
from tests.fixtures.waiting import eventually
from tests.mirror.programs import ACTIVITIES, WORKFLOWS, Basket, Failing, Order, ended, executions
from tests.mirror.support import UNSANDBOXED

PROGRAM = "tests.mirror.programs:WORKFLOWS"
Shadow = Callable[..., Coroutine[Any, Any, Any]]


@pytest.fixture
def shadow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shadow:
    """Runs a command of the shadow, while this event loop goes on."""
    monkeypatch.setenv("DBOS_COMPAT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("DBOS_SHADOW_DATABASE_URL", raising=False)

    async def invoke(*words: object) -> Any:
        return await asyncio.to_thread(CliRunner().invoke, app, ["shadow", *map(str, words)])

    return invoke


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "A mirror needs --database"),
        (("--database", "postgresql://x@127.0.0.1:1/y", "--run-deadline", "5s"), "no --run-deadline here"),
    ],
)
async def test_wrong_usage(shadow: Shadow, words: tuple[str, ...], said: str) -> None:
    answer = await shadow("mirror", "-w", PROGRAM, *words)
    assert answer.exit_code == 2
    assert said in answer.output


def test_an_operator_hears_what_is_wrong_and_nothing_of_payloads(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("dbos_shadow")
    with quiet(), warnings():
        logger.warning("the mirror's database is away")
        logger.info("not worth a word")
        try:
            raise ValueError("canary")
        except ValueError:
            logger.exception("the mirror of workflow %r failed", "order-1")
    logger.warning("nobody listens any more")
    said = capsys.readouterr().err
    assert "the mirror's database is away" in said
    assert "the mirror of workflow 'order-1' failed (ValueError)" in said
    assert not [word for word in ("canary", "not worth", "nobody listens") if word in said]


@pytest.mark.temporal
async def test_from_noted_runs_to_a_report_and_on_from_there(
    temporal_client: Client, temporal_address: str, postgres_url: str, shadow: Shadow
) -> None:
    executions.clear()
    queue = f"command-{uuid.uuid4()}"
    command = ["mirror", "-w", PROGRAM, "--no-sandbox", "--address", temporal_address, "--database", postgres_url,
               "--sample-floor", "1", "--json"]  # fmt: skip
    async with (
        Mirror(temporal_client, url=postgres_url) as mirror,
        Worker(
            mirror.client, task_queue=queue, workflows=WORKFLOWS, activities=ACTIVITIES, workflow_runner=UNSANDBOXED
        ),
    ):
        await mirror.flush()  # the tables are there
        basket = await mirror.client.start_workflow(Basket.run, 600.0, id=f"{queue}-basket", task_queue=queue)
        for number in range(2):
            name = f"{queue}-{number}"
            await ended(await mirror.client.start_workflow(Order.run, name, id=name, task_queue=queue))
        await mirror.flush()
        answer = await shadow(*command, "--enough", "2")
        assert answer.exit_code == 3, answer.output
        report = json.loads(answer.stdout)
        assert report["counts"] | {"match": 2, "inconclusive": 1} == report["counts"]
        assert {found["workflow_type"]: found["decision"] for found in report["types"]} == {
            "Order": "go",
            "Basket": "cannot_tell",
        }
        await basket.signal(Basket.close)
        await basket.result()
        await ended(await mirror.client.start_workflow(Failing.run, id=f"{queue}-failing", task_queue=queue))
        await mirror.flush()
        answer = await shadow(*command, "--caught-up")
    assert answer.exit_code == 0, answer.output
    report = json.loads(answer.stdout)
    assert report["counts"] | {"match": 4, "inconclusive": 0} == report["counts"]
    assert {found["ways"]["mirror"] for found in report["types"]} == {1, 2}
    assert {what: count for what, count in executions.items() if count > 1} == {}
    later = await shadow("report", "--name", "mirror", "--database", postgres_url, "--sample-floor", 1, "--json")
    assert json.loads(later.stdout)["counts"] == report["counts"]
    answer = await shadow(*command, "--for", "1s")
    assert (answer.exit_code, json.loads(answer.stdout)["counts"]) == (0, report["counts"])


@pytest.mark.temporal
async def test_as_a_service_it_stops_politely_and_says_what_is_open(
    temporal_client: Client, temporal_address: str, postgres_url: str, tmp_path: Path, spawn: Spawn
) -> None:
    queue = f"service-{uuid.uuid4()}"
    words = ["-m", "dbos_compat.cli", "shadow", "mirror", "-w", PROGRAM, "--no-sandbox", "--address", temporal_address]
    service = spawn(
        *words, "--database", postgres_url, env={"DBOS_COMPAT_DATA_DIR": str(tmp_path / "data")}, name="the service"
    )
    results = PostgresResults(postgres_url)
    await results.open()
    try:
        async with Mirror(temporal_client, url=postgres_url) as mirror:
            handle = await mirror.client.start_workflow(Basket.run, 600.0, id=f"{queue}-open", task_queue=queue)
            await mirror.flush()

            async def told() -> list[tuple[str, str]]:
                found = await results.campaigns("mirror")
                return [(row.verdict, row.reason) async for row in results.read(found[0].config)] if found else []

            assert await eventually(told, within=60) == [("inconclusive", "still_running")]
            assert await asyncio.to_thread(service.terminate) == 130
            await handle.terminate()
        assert "the same command goes on from here" in service.output
    finally:
        await results.close()
