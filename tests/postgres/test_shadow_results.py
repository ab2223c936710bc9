"""The shadow's commands on a database: results in a schema of their own, and journals through Postgres and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from dbos_compat.cli import app
from tests.unit.shadow.conftest import exported

__all__ = ["exported"]

PROGRAMS = "tests.unit.shadow.programs:WORKFLOWS"


def run(*words: object) -> Any:
    return CliRunner().invoke(app, ["shadow", *map(str, words)])


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DBOS_COMPAT_DATA_DIR", str(tmp_path / "data"))


def test_results_are_kept_reported_and_purged(postgres_url: str, exported: Path) -> None:
    judged = run("replay", exported, "-w", PROGRAMS, "--database", postgres_url, "--no-sandbox", "--json")
    assert judged.exit_code == 0, judged.output
    with psycopg.connect(postgres_url) as connection:
        row = connection.execute("select count(*), count(distinct config) from dbos_shadow.results").fetchone()
        assert row == (6, 1)
        schemas = connection.execute("select nspname from pg_namespace where nspname like 'dbos%'").fetchall()
        assert schemas == [("dbos_shadow",)], "nothing else is touched"
    again = run("replay", exported, "-w", PROGRAMS, "--database", postgres_url, "--no-sandbox", "--json")
    before, after = json.loads(judged.stdout), json.loads(again.stdout)
    assert after["campaign"] == before["campaign"] | {"taken_over": 6}
    assert after | {"campaign": before["campaign"]} == before
    report = run("report", "--database", postgres_url, "--sample-floor", 1, "--json")
    assert report.exit_code == 0, report.output
    assert json.loads(report.stdout)["counts"]["match"] == 6
    assert json.loads(report.stdout)["strata"] == json.loads(judged.stdout)["strata"] != []
    purged = run("purge", "--older-than", "0s", "--database", postgres_url, "--json")
    assert json.loads(purged.stdout)["deleted"] == 6
    assert run("report", "--database", postgres_url).exit_code == 2


def test_retention(postgres_url: str, exported: Path) -> None:
    run("replay", exported, "-w", PROGRAMS, "--database", postgres_url, "--no-sandbox")
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            "update dbos_shadow.results set at_ms = at_ms - 86400000 * 91::bigint where workflow_id = 'locally'"
        )
    words = ["--database", postgres_url, "--no-sandbox", "--type", "Steps", "--retention", "90d"]
    assert run("replay", exported, "-w", PROGRAMS, *words).exit_code == 0
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("select count(*) from dbos_shadow.results").fetchone() == (5,)


def test_journals_through_postgres_and_back(postgres_url: str, exported: Path) -> None:
    answer = run("replay", exported, "-w", PROGRAMS, "--store", postgres_url, "--no-sandbox", "--json")
    assert answer.exit_code == 0, answer.output
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("select count(*) from dbos_compat_shadow_store.runs").fetchone() == (0,)
