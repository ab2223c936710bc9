"""Correct workflows of tricky shapes pass: the kit blames nobody for what Temporal takes."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
from datetime import timedelta

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from dbos_compat.private_workbench import left_in
from dbos_shadow.determinism import Plan, Profile, Rule, check_workflow, plan, returns, run_schedule, times_out
from dbos_shadow.determinism.crew import Crew
from dbos_shadow.determinism.decisions import Listed
from dbos_shadow.determinism.elsewhere import Reference
from dbos_shadow.determinism.run import live
from dbos_shadow.determinism.silence import quiet
from tests.shadow.determinism.tricky import chains, life, messages, tasks

PLANS: dict[str, Plan] = {**tasks.PLANS, **messages.PLANS, **life.PLANS, **chains.PLANS}
ENDLESS = frozenset({"by a schedule"})
FEW = Profile(name="few", schedules=40, seconds=10, hash_seeds=0)
NIGHTLY = Profile(name="tricky at night", schedules=10_000, seconds=1_800, replayer_every=500, hash_seeds=2)


@pytest.mark.parametrize("name", PLANS)
def test_a_few_schedules(name: str) -> None:
    explored = check_workflow(PLANS[name], profile=FEW)
    assert explored.schedules
    assert explored.replayed


@pytest.mark.nightly
@pytest.mark.timeout(2_400)
@pytest.mark.parametrize("name", PLANS)
def test_many_schedules(name: str) -> None:
    how = dataclasses.replace(NIGHTLY, schedules=3_000) if name in ENDLESS else NIGHTLY
    explored = check_workflow(PLANS[name], profile=how, reference=Reference(__name__, __file__, "PLANS", key=name))
    assert explored.schedules >= how.schedules
    assert explored.elsewhere
    assert not explored.unchecked


@pytest.mark.parametrize("name", PLANS)
def test_whether_it_is_followed_changes_nothing(name: str) -> None:
    """The second life of a schedule does without, and what it journals is compared with what the first has."""
    crew = Crew(PLANS[name])
    with contextlib.closing(crew), quiet():
        for decisions in ([], [0, 3], [0, 0, 0, 5]):
            lives = [live(crew, Listed(decisions), whole=False, followed=followed) for followed in (True, False)]
            assert lives[0].rows
            assert lives[0].rows == lives[1].rows
            assert lives[0].commands == lives[1].commands


WAYS = itertools.count()
"""Of the world, and not of a workflow: each instance that asks gets another number, as each has its own order of a set of
tasks."""


class _Cancels:
    """Cancels two things at once, in one order or the other."""

    async def cancel(self, first: asyncio.Task[object], second: asyncio.Task[object]) -> None:
        await workflow.sleep(1)
        both = [first, second]
        for task in both if next(WAYS) % 2 else reversed(both):
            task.cancel()
        await asyncio.gather(*both, return_exceptions=True)

    @staticmethod
    def activity() -> asyncio.Task[object]:
        return asyncio.create_task(workflow.execute_activity("work", start_to_close_timeout=timedelta(minutes=5)))

    @staticmethod
    def timer() -> asyncio.Task[object]:
        return asyncio.create_task(workflow.sleep(100))

    @staticmethod
    def child(name: str) -> asyncio.Task[object]:
        return asyncio.create_task(workflow.execute_child_workflow("Child", id=name))


@workflow.defn
class TwoActivities(_Cancels):
    @workflow.run
    async def run(self) -> None:
        await self.cancel(self.activity(), self.activity())


@workflow.defn
class TwoTimers(_Cancels):
    @workflow.run
    async def run(self) -> None:
        await self.cancel(self.timer(), self.timer())


@workflow.defn
class TwoChildren(_Cancels):
    @workflow.run
    async def run(self) -> None:
        await self.cancel(self.child("one"), self.child("two"))


@workflow.defn
class OneOfEach(_Cancels):
    @workflow.run
    async def run(self) -> None:
        await self.cancel(self.activity(), self.timer())


def _plan(cls: type) -> Plan:
    return plan(cls, activities={"work": times_out()}, children={"Child": times_out()}, cancels=False, sandboxed=False)


@pytest.mark.parametrize("cls", [TwoActivities, TwoTimers, TwoChildren, OneOfEach])
async def test_the_order_of_cancels_is_no_concern_where_it_is_none_of_temporal(cls: type) -> None:
    """The engine and Temporal's Replayer agree on which."""
    lived = run_schedule(_plan(cls), [])
    replayer = Replayer(workflows=[cls], workflow_runner=UnsandboxedWorkflowRunner())
    ends = []
    for _ in range(2):  # once in each order
        history = WorkflowHistory.from_json("determinism", lived.histories[0])
        result = await replayer.replay_workflow(history, raise_on_replay_failure=False)
        ends.append(result.replay_failure)
    if cls is OneOfEach:
        assert lived.error is not None
        assert lived.error.rule is Rule.REPLAY
        assert any("TMPRL1100" in str(end) for end in ends)
    else:
        assert lived.error is None
        assert ends == [None, None]


def test_a_run_whose_time_is_up_waits_for_nothing() -> None:
    """Workers are busy and a process dies in the moment in which a child's time is up: nobody begins what it waits for."""
    assert run_schedule(PLANS["child or bust"], [2, 0, 4]).error is None


@pytest.mark.parametrize(
    ("name", "decisions"),
    [
        ("child or bust", [2, 0, 1, 7, 2]),
        ("against time", [0, 0, 0, 0, 0, 10, 10, 0, 8, 2]),
        ("against time", [2, 1, 0, 4, 1]),
    ],
)
def test_a_run_whose_time_was_up_before_the_clock_was_set_back_waits_for_nothing(
    name: str, decisions: list[int]
) -> None:
    """Nor does one whose time is up when it is taken over. What came then it does not take; it ends as soon as an alarm
    rings, or when the clock is there again."""
    assert run_schedule(PLANS[name], decisions).error is None


def test_instances_that_were_leaving_when_their_process_died_are_gone() -> None:
    """Else the next schedule would find one of the same run id."""
    crew = Crew(PLANS["policies"])
    with contextlib.closing(crew), quiet():
        assert live(crew, Listed([2, 9, 8, 22, 9, 1, 33, 4, 5, 2]), whole=False).error is None
        assert [left_in(stage.host) for stage in crew._stages.values()] == [[]] * len(crew._stages)


@pytest.mark.parametrize("name", ["by a schedule", "against time"])
def test_a_signal_does_not_hasten_a_run_that_begins_later(name: str) -> None:
    """It waits in the store until the run's time comes, and no wake-up is lost."""
    lived = run_schedule(PLANS[name], [0, 9] if name == "against time" else [])
    assert lived.error is None
    assert any(happening.name in ("bump", "hear") for happening in lived.happenings)


def test_the_same_update_id_in_the_next_run_is_another_update() -> None:
    """Its caller waits for that one, though the run before has completed one of this id."""
    assert run_schedule(PLANS["by a schedule"], [0, 0, 0, 0, 0, 6]).error is None


def test_a_workflow_that_is_its_own_child() -> None:
    lived = run_schedule(PLANS["tree"], [])
    assert lived.error is None
    assert sum(happening.name == "Tree" and happening.text == "completed" for happening in lived.happenings) == 7
    with pytest.raises(ValueError, match="'Tree' cannot be stubs: that is the workflow under test"):
        plan(life.Tree.run, children={life.Tree: returns(1)})
