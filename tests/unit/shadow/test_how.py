"""The way in which runs are judged, from the command line and for plain checks: free runs, baselines, a database."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dbos_compat.cli import app
from dbos_shadow.checks import judge_histories
from dbos_shadow.judging import Baseline, How
from dbos_shadow.reading import exporting
from dbos_shadow.verdict import Reason, Verdict, Way
from tests.unit.shadow import changed
from tests.unit.shadow.changed import Order
from tests.unit.shadow.changed_activities import ACTIVITIES
from tests.unit.shadow.engine import engine, recorded

NAMES = """
workflows: {Order: Purchase}
activities: {reserve: hold, charge: pay, ship: send}
signals: {note: remark}
"""
PORTED = "tests.unit.shadow.ported"

Shadow = Callable[..., Any]


async def _order(folder: Path) -> None:
    async with engine([Order], ACTIVITIES) as client:
        handle = await client.start_workflow(Order.run, 7, id="order", task_queue="q")
        await handle.signal(Order.note, "careful")
        await handle.result()
        exporting.write(folder, await recorded(handle))


@pytest.fixture(scope="module")
def order(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one run."""
    folder = tmp_path_factory.mktemp("order")
    asyncio.run(_order(folder))
    return folder


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shadow:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DBOS_COMPAT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("DBOS_SHADOW_DATABASE_URL", raising=False)
    (tmp_path / "names.yaml").write_text(NAMES)
    changed.RAN.clear()

    def invoke(*words: object) -> Any:
        return CliRunner().invoke(app, ["shadow", "replay", *map(str, words)])

    return invoke


def counts() -> dict[str, int]:
    found: dict[str, int] = json.loads(Path("r.json").read_text())["counts"]
    return {name: count for name, count in found.items() if count}


def test_a_free_run_through_names(run: Shadow, order: Path) -> None:
    answer = run(order, "-w", f"{PORTED}:Purchase", "--way", "free-run", "--names", "names.yaml", "-o", "r.json")
    assert answer.exit_code == 0, answer.output
    assert counts() == {"match": 1}


def test_what_has_no_stub_cannot_be_told_and_does_not_run(run: Shadow, order: Path) -> None:
    words = [order, "-w", f"{PORTED}:WithAudit", "--way", "free-run", "--names", "names.yaml", "-o", "r.json"]
    answer = run(*words)
    assert answer.exit_code == 3, answer.output
    report = json.loads(Path("r.json").read_text())
    assert [(found["reason"], found["subject"]) for found in report["undecided"]] == [("no_stub", "audit")]
    assert run(*words, "--stubs", f"{PORTED}:STUBS").exit_code == 1
    assert counts() == {"mismatch": 1}
    assert changed.RAN == []
    assert run(*words, "--run-for-real", f"{PORTED}:REAL").exit_code == 1
    assert changed.RAN == ["audit 7"]


@pytest.mark.parametrize("baseline", list(Baseline))
def test_baselines(order: Path, baseline: Baseline) -> None:
    (same,) = judge_histories(order, [Order], how=How(baseline=baseline))
    assert same.verdict is Verdict.MATCH
    (gone,) = judge_histories(order, [changed.NoTimer], how=How(baseline=baseline))
    assert gone.verdict is Verdict.MISMATCH
    assert gone.reason is (None if baseline is Baseline.NONE else Reason.BASELINE)
    (steady,) = judge_histories(order, [changed.Unsteady], how=How(baseline=baseline))
    expected = (
        (Verdict.MISMATCH, None) if baseline is Baseline.NONE else (Verdict.INCONCLUSIVE, Reason.NONDETERMINISTIC)
    )
    assert (steady.verdict, steady.reason) == expected


def test_checks_may_run_free(order: Path) -> None:
    (judgement,) = judge_histories(order, [Order], how=How(way=Way.FREE_RUN))
    assert (judgement.verdict, judgement.way) == (Verdict.MATCH, Way.FREE_RUN)


def test_a_database_takes_the_journals(run: Shadow, order: Path, postgres_url: str) -> None:
    words = [order, "-w", "tests.unit.shadow.changed:Order", "-o", "r.json", "--fresh", "--store", postgres_url]
    for _ in range(2):
        answer = run(*words)
        assert answer.exit_code == 0, answer.output
        assert counts() == {"match": 1}
