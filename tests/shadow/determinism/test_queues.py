"""Activities, children and next runs on task queues of their own: there are workers for those, too."""

from __future__ import annotations

from datetime import timedelta

import pytest
from temporalio import workflow

from dbos_shadow.determinism import Profile, check_workflow, inferred, run_schedule
from dbos_shadow.determinism.durable import run_durably
from dbos_shadow.determinism.durable_play import WORKFLOW_ID, Play
from tests.fixtures.waiting import eventually

MINUTE = timedelta(minutes=1)
SOME = Profile(name="some", schedules=150, seconds=20, hash_seeds=0)


@workflow.defn
class Kid:
    @workflow.run
    async def run(self) -> int:
        return workflow.info().attempt


@workflow.defn
class Renders:
    """An activity on the queue of heavy machines, and one on its own."""

    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity("render", start_to_close_timeout=MINUTE, task_queue="heavy")
        await workflow.execute_activity("tell", start_to_close_timeout=MINUTE)


@workflow.defn
class HasKid:
    @workflow.run
    async def run(self) -> int:
        return await workflow.execute_child_workflow(Kid.run, task_queue="kids")


@workflow.defn
class Moves:
    """Its next run is on another queue."""

    @workflow.run
    async def run(self, moved: bool = False) -> str:
        if not moved:
            workflow.continue_as_new(True, task_queue="elsewhere")
        await workflow.execute_activity("tell", start_to_close_timeout=MINUTE)
        return "moved"


@pytest.mark.parametrize("tested", [Renders, HasKid, Moves])
def test_somebody_serves_it(tested: type) -> None:
    lived = run_schedule(inferred(tested, sandboxed=False), [])
    assert lived.error is None
    assert lived.traces[-1].outcome.status == "completed"


@pytest.mark.parametrize("tested", [Renders, HasKid, Moves])
def test_it_holds(tested: type) -> None:
    assert check_workflow(inferred(tested, sandboxed=False), profile=SOME).schedules == SOME.schedules


@pytest.mark.timeout(300)
def test_on_postgres(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dbos_shadow.determinism.durable.PLACES", [("activity.before_report", 1)])
    monkeypatch.setattr("dbos_shadow.determinism.durable.FURTHER", ())
    monkeypatch.setattr("dbos_shadow.determinism.durable.singles", lambda *_: iter(()))
    for tested in (Renders, Moves):
        report = run_durably(tested, [], postgres_url, sandboxed=False)
        assert (report.scripts, report.kills, dict(report.left_out)) == (1, 1, {}), str(report)


@pytest.mark.timeout(300)
def test_a_run_is_seen_that_has_ended_before_it_was_looked_at(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = Play._look

    async def look_late(play: Play) -> None:
        async def moved() -> bool:
            newest = await play._store.find(WORKFLOW_ID, None)
            return newest is not None and newest.run_id != play._first_run_id

        if not play._runs:
            await eventually(moved)
        await look(play)

    monkeypatch.setattr(Play, "_look", look_late)
    monkeypatch.setattr("dbos_shadow.determinism.durable.PLACES", [])
    monkeypatch.setattr("dbos_shadow.determinism.durable.FURTHER", ())
    monkeypatch.setattr("dbos_shadow.determinism.durable.singles", lambda *_: iter(()))
    report = run_durably(Moves, [], postgres_url, sandboxed=False)
    assert (report.scripts, dict(report.left_out)) == (1, {"kills, as it passes no place for one": 1})
