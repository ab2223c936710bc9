"""The part ``shadow``: what its visits tell, and what is made of it."""

from __future__ import annotations

import dataclasses
import json

import pytest

from benchmarks.readme import render
from benchmarks.replays import Replays, Visit, measure_replays, summary
from benchmarks.report import grids


def visit(way: str, cpu_seconds: float, inside_seconds: float = 0.0) -> Visit:
    return Visit(
        way=way,
        histories=100,
        events=50,
        cpu_seconds=cpu_seconds,
        wall_seconds=cpu_seconds * 2,
        inside_seconds=inside_seconds,
        memory_mb=60.0,
    )


def found() -> Replays:
    visits = [visit("core", 0.1, 0.03), visit("replayer", 0.9), visit("replayer", 0.6), visit("core", 0.2, 0.05)]
    return summary([*visits, visit("core", 0.15, 0.04), visit("replayer", 0.7)])


def test_medians_and_the_budget() -> None:
    replays = found()
    assert (replays.core_ms, replays.replayer_ms, replays.inside_ms) == pytest.approx((1.5, 7.0, 0.4))
    assert replays.times == pytest.approx(4.667, abs=0.001)
    assert not replays.kept
    assert dataclasses.replace(replays, replayer_ms=7.5).kept


def test_as_tables() -> None:
    run = {
        "date": "2026-01-02",
        "command": "python -m benchmarks",
        "machine": dict.fromkeys(
            ("processor", "cores", "memory_gb", "filesystem", "system", "python", "load_at_start"), "x"
        ),
    }
    document = json.loads(json.dumps({"shadow": {"run": run, "results": found().to_json(), "error": None}}))
    (grid,) = grids(document)
    assert "4.7 times faster, budget ≥ 5×: MISS" in grid.note
    assert "### Replays of the shadow" in render(document, [])
    document["shadow"] |= {"results": None, "error": "it fell over"}
    (grid,) = grids(document)
    assert grid.rows == [("replays", "it fell over")]


async def test_visits_are_made() -> None:
    told: list[Visit] = []
    said: list[str] = []
    replays = await measure_replays(200, 1, told=told.append, doing=said.append)
    assert [(one.way, one.histories, one.events) for one in told] == [("core", 200, 50), ("replayer", 200, 50)]
    assert [text.partition(": ")[2] for text in said] == [
        f"200 histories by the {way}{end}" for way in ("core", "replayer") for end in ("", ", 200 through")
    ]
    assert 0 < replays.inside_ms < replays.core_ms
