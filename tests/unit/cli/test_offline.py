"""What the command does without a database: help, versions, differences, wrong usage."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from dbos_compat.cli import app
from dbos_compat.cli.run import Exit, Output, duration, fail
from dbos_compat.differences import LEDGER
from dbos_compat.private import SDK_VERSION
from dbos_core.store.postgres.schema.migrate import DBOS_VERSION, own_version

run = CliRunner()


def commands(command: Any, *path: str) -> list[tuple[tuple[str, ...], Any]]:
    """Every command of the tree, with its words."""
    found = [(path, command)]
    for name, child in getattr(command, "commands", {}).items():
        found += commands(child, *path, name)
    return found


EVERY = commands(get_command(app))
assert len(EVERY) == 15, "three groups, four commands at the top, six below workflow, two below runs"


@pytest.mark.parametrize(("path", "command"), EVERY, ids=[" ".join(path) or "dbos-compat" for path, _ in EVERY])
def test_every_help_explains_and_gives_an_example(path: tuple[str, ...], command: Any) -> None:
    answer = run.invoke(app, [*path, "--help"])
    assert answer.exit_code == 0, answer.output
    assert command.help
    if not hasattr(command, "commands"):
        assert command.epilog is not None
        assert command.epilog.startswith(f"Example: dbos-compat {' '.join(path)}")


def test_the_help_says_what_exit_codes_mean() -> None:
    text = " ".join(run.invoke(app, ["--help"]).output.split())
    for number in range(6):
        assert re.search(rf"\b{number} \w", text.partition("Exit codes:")[2])


def test_versions_for_programs() -> None:
    answer = run.invoke(app, ["versions", "--json"])
    assert answer.exit_code == 0
    document = json.loads(answer.output)
    assert document["temporalio_installed"] == SDK_VERSION
    assert document["temporalio_supported"]["installed_is_supported"] is True
    assert (document["dbos_migration_min"], document["own_schema_version"]) == (DBOS_VERSION, own_version())


def test_differences_are_the_ledger() -> None:
    document = json.loads(run.invoke(app, ["differences", "--json"]).output)
    assert {entry["slug"] for entry in document} == set(LEDGER)
    text = run.invoke(app, ["differences"]).output
    assert "worker-versioning" in text


def test_one_difference_by_the_name_that_errors_use() -> None:
    document = json.loads(run.invoke(app, ["differences", "worker-versioning", "--json"]).output)
    assert [entry["slug"] for entry in document] == ["worker-versioning"]
    assert document[0]["advice"] == LEDGER["worker-versioning"].advice


def test_an_unknown_difference_is_wrong_usage() -> None:
    answer = run.invoke(app, ["differences", "everything"])
    assert answer.exit_code == 2
    assert "no entry 'everything'" in answer.stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30d", timedelta(days=30)),
        ("12h", timedelta(hours=12)),
        ("90 m", timedelta(minutes=90)),
        ("1.5s", timedelta(seconds=1.5)),
        ("2w", timedelta(weeks=2)),
    ],
)
def test_durations(text: str, expected: timedelta) -> None:
    assert duration(text) == expected


@pytest.mark.parametrize("text", ["", "30", "d", "-3d", "30 days", "9e9d", "99999999999999d"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        duration(text)


@pytest.mark.parametrize(
    "words",
    [
        ["retention"],
        ["retention", "--older-than", "soon"],
        ["retention", "--older-than", "1d", "--batch", "0"],
        ["workflow", "signal", "w", "s", "--input", "Ada"],
        ["workflow", "list", "--limit", "0"],
    ],
)
def test_wrong_usage_ends_with_2_before_any_database_is_asked(words: list[str]) -> None:
    answer = run.invoke(app, words, env={"DBOS_SYSTEM_DATABASE_URL": "postgresql://nobody@nowhere.invalid/x"})
    assert answer.exit_code == 2, answer.output


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://localhost/app", "no Postgres URL"),
        ("ada:secret@localhost/app", "no Postgres URL"),
        ("host=localhost password=secret", "no Postgres URL"),
        ("postgresql://ada:secret@[localhost/app", "cannot be read"),
        ("postgresql://ada:secret@127.0.0.1:1/app", "cannot be reached"),
    ],
)
def test_a_database_that_is_none_ends_with_4(url: str, said: str) -> None:
    answer = run.invoke(app, ["workflow", "list", "--url", url])
    assert answer.exit_code == 4, answer.output
    assert said in answer.stderr
    assert "secret" not in answer.output + answer.stderr


def test_an_error_is_printed_as_it_is(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        fail(Output(), "workflow not found for ID: [/x] [bold]", Exit.NOT_FOUND)
    assert "[/x] [bold]" in capfd.readouterr().err


def test_errors_for_programs_are_json() -> None:
    answer = run.invoke(app, ["workflow", "list", "--json", "--url", "mysql://localhost/app"])
    assert answer.exit_code == 4
    assert answer.stdout == ""
    assert json.loads(answer.stderr)["exit_code"] == 4
