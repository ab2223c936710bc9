"""The part ``determinism``: what its visits tell, and what is made of it."""

from __future__ import annotations

import dataclasses
import json

import pytest

from benchmarks.readme import render
from benchmarks.report import grids
from benchmarks.schedules import JUDGED, ROWS, Schedules, Visit, measure_schedules, summary


def visit(row: str, cpu_seconds: float) -> Visit:
    return Visit(row=row, schedules=300, steps=1_800, cpu_seconds=cpu_seconds)


def found() -> Schedules:
    return summary([visit(row, seconds) for row in ROWS for seconds in (1.0, 2.0, 3.0)])


def test_medians_and_the_budget() -> None:
    schedules = found()
    assert schedules.per_second == dict.fromkeys(ROWS, pytest.approx(150.0))
    assert schedules.steps == dict.fromkeys(ROWS, pytest.approx(6.0))
    assert not schedules.kept
    assert dataclasses.replace(schedules, per_second=schedules.per_second | {JUDGED: 200.0}).kept


def test_as_tables() -> None:
    run = {
        "date": "2026-01-02",
        "command": "python -m benchmarks",
        "machine": dict.fromkeys(
            ("processor", "cores", "memory_gb", "filesystem", "system", "python", "load_at_start"), "x"
        ),
    }
    document = json.loads(json.dumps({"determinism": {"run": run, "results": found().to_json(), "error": None}}))
    (grid,) = grids(document)
    assert [row[-1] for row in grid.rows if row[0] == ROWS[JUDGED]] == ["MISS"]
    assert "### Determinism kit" in render(document, [])
    document["determinism"] |= {"results": None, "error": "it fell over"}
    (grid,) = grids(document)
    assert grid.rows == [("schedules", "it fell over")]


async def test_visits_are_made() -> None:
    told: list[Visit] = []
    schedules = await measure_schedules(20, 1, told=told.append)
    assert [one.row for one in told] == list(ROWS)
    assert all(one.schedules >= 20 and one.steps >= one.schedules for one in told)
    assert set(schedules.per_second) == set(ROWS)
