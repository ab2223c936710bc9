"""The command ``dbos-compat`` against a real database, with the checkout example as the application."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from dbos_compat.cli import app
from tests.fixtures.process import Program, Spawn

runner = CliRunner()


class Cli:
    """Runs a command on the test's database."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __call__(self, *words: str, ends_with: int = 0) -> str:
        answer = runner.invoke(app, [*words, "--url", self.url])
        assert answer.exit_code == ends_with, answer.output
        return answer.stdout if ends_with == 0 else answer.output

    def json(self, *words: str, ends_with: int = 0) -> Any:
        answer = runner.invoke(app, [*words, "--json", "--url", self.url])
        assert answer.exit_code == ends_with, answer.output
        return json.loads(answer.stdout)


@pytest.fixture
def cli(postgres_url: str) -> Cli:
    return Cli(postgres_url)


@pytest.fixture
def start(spawn: Spawn, postgres_url: str) -> Iterator[Any]:
    """``start(cart, *words)`` starts a checkout with the example's own starter; a worker runs it."""
    env = {"DBOS_SYSTEM_DATABASE_URL": postgres_url}
    worker = spawn("-m", "examples.checkout.worker", env=env, name="worker")
    worker.wait_for_line("worker ready")

    def one(cart: str, *words: str) -> Program:
        starter = spawn("-m", "examples.checkout.starter", "start", cart, *words, env=env, name=f"start {cart}")
        starter.wait_for_line("started")
        return starter

    yield one
    worker.terminate()


def test_migrate_creates_once_and_checks(cli: Cli, postgres_url: str) -> None:
    assert "SchemaMissing" not in cli("migrate", "--check", ends_with=4)
    made = cli.json("migrate")
    assert (made["dbos_schema"], made["own_schema"]) == ("dbos", "dbos_compat")
    assert "is ready" in cli("migrate")
    assert cli.json("migrate", "--check") == made
    other = cli.json("migrate", "--namespace", "orders")
    assert (other["dbos_schema"], other["own_schema"]) == ("dbos_orders", "dbos_compat_orders")
    with psycopg.connect(postgres_url) as connection:
        rows = connection.execute("select schema_name from information_schema.schemata").fetchall()
    assert {"dbos", "dbos_compat", "dbos_orders", "dbos_compat_orders"} <= {row[0] for row in rows}


def test_a_schema_of_another_application_is_refused(cli: Cli) -> None:
    cli("migrate", "--application", "shop")
    assert "shop" in cli("workflow", "list", ends_with=4)
    cli("workflow", "list", "--application", "shop")


def test_the_life_of_a_workflow(cli: Cli, start: Any) -> None:
    assert "no workflow matches" in cli("workflow", "list")
    start("one", "--approval", "600", "--no-wait")
    (listed,) = cli.json("workflow", "list", "--query", "ExecutionStatus = 'Running'")
    assert (listed["workflow_id"], listed["type"], listed["status"]) == ("checkout-one", "CheckoutWorkflow", "RUNNING")
    shown = cli.json("workflow", "show", "checkout-one")
    assert (shown["run_id"], shown["task_queue"]) == (listed["run_id"], "checkout")
    cli("workflow", "signal", "checkout-one", "approve", "--input", '"Ada"')
    result = cli.json("workflow", "result", "checkout-one")
    assert result["result"]["approved_by"] == "Ada"
    history = cli.json("workflow", "show", "checkout-one", "--history")["history"]
    assert history[-1]["eventType"] == "EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED"
    for words in (["list"], ["show", "checkout-one", "--history"], ["result", "checkout-one"]):
        assert "one" in cli("workflow", *words)
    assert "already completed" in cli("workflow", "signal", "checkout-one", "approve", ends_with=3)


def test_workflows_that_do_not_complete_end_with_1(cli: Cli, start: Any) -> None:
    start("cancelled", "--approval", "600", "--no-wait")
    cli("workflow", "cancel", "checkout-cancelled")
    assert "did not complete" in cli("workflow", "result", "checkout-cancelled", ends_with=1)
    start("ended", "--approval", "600", "--no-wait")
    cli("workflow", "terminate", "checkout-ended", "--reason", "sent twice")
    document = cli.json("workflow", "result", "checkout-ended", ends_with=1)
    assert "sent twice" in document["failure"][0]
    start("declined", "--declined", "--no-wait")
    document = cli.json("workflow", "result", "checkout-declined", ends_with=1)
    assert document["failure"][-1] == "CardDeclined: the card of ada was declined"


def test_a_workflow_that_is_not_there_ends_with_3(cli: Cli) -> None:
    for words in (["show", "x"], ["result", "x"], ["signal", "x", "s"], ["cancel", "x"], ["terminate", "x"]):
        assert "x" in cli("workflow", *words, ends_with=3)


def test_a_filter_that_cannot_be_read_ends_with_5(cli: Cli) -> None:
    assert "error" in cli("workflow", "list", "--query", "Colour is 'red' or so", ends_with=5)


def test_retention_deletes_what_is_finished_and_old_enough(cli: Cli, start: Any) -> None:
    for n in range(3):
        start(str(n), "--no-wait")
        cli("workflow", "result", f"checkout-{n}")
    start("open", "--approval", "600", "--no-wait")
    assert cli.json("retention", "--older-than", "1h")["deleted"] == 0
    counted = cli.json("retention", "--older-than", "0s", "--dry-run")
    assert (counted["found"], counted["deleted"], counted["dry_run"]) == (3, 0, True)
    assert len(cli.json("workflow", "list")) == 4
    assert "deleted 3 runs" in cli("retention", "--older-than", "0s", "--batch", "2")
    assert [row["workflow_id"] for row in cli.json("workflow", "list")] == ["checkout-open"]
