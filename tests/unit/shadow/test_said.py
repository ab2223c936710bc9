"""What is said about a step besides its inputs is compared, too: who is meant, how it weighs, what people read."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.client import WorkflowFailureError
from temporalio.common import Priority, RetryPolicy, SearchAttributeKey
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory, FailureError

from dbos_shadow.checks import judge_histories
from dbos_shadow.difference import Kind, Level
from dbos_shadow.judging import How
from dbos_shadow.recorded import Recorded
from dbos_shadow.verdict import Judgement, Verdict, Way
from tests.unit.shadow.engine import engine, recorded
from tests.unit.shadow.programs import KEYWORD, SOON

ONE, TWO = (f"3f2b8f0e-0000-4000-8000-00000000000{last}" for last in "ab")
TEXT = SearchAttributeKey.for_text(KEYWORD.name)
AS_IT_WAS: dict[str, Any] = {
    "summary": "by card",
    "nap": "a nap",
    "details": "at length",
    "weight": 2.0,
    "key": "gold",
    "of the child": "gold",
    "signalled": ONE,
    "cancelled": ONE,
    "attribute": KEYWORD,
    "delay": timedelta(seconds=5),
    "category": ApplicationErrorCategory.BENIGN,
}
SAID = dict(AS_IT_WAS)
"""What the workflow says, as of now."""


@activity.defn
async def charge() -> None:
    """Nothing is charged."""


@workflow.defn(sandboxed=False)
class Little:
    @workflow.run
    async def run(self) -> None:
        """The end."""


@workflow.defn(sandboxed=False)
class Says:
    @workflow.run
    async def run(self) -> None:
        priority = Priority(fairness_key=SAID["key"], fairness_weight=SAID["weight"])
        await workflow.execute_activity(charge, start_to_close_timeout=SOON, summary=SAID["summary"], priority=priority)
        await workflow.sleep(0.001, summary=SAID["nap"])
        await workflow.execute_child_workflow(
            Little.run,
            id=f"{workflow.info().workflow_id}-little",
            static_details=SAID["details"],
            priority=Priority(fairness_key=SAID["of the child"]),
        )
        for ask in (
            workflow.get_external_workflow_handle("nobody", run_id=SAID["signalled"]).signal("go"),
            workflow.get_external_workflow_handle("nobody", run_id=SAID["cancelled"]).cancel(),
        ):
            try:
                await ask
            except FailureError:
                workflow.logger.debug("as expected")
        workflow.upsert_search_attributes([SAID["attribute"].value_set("a")])
        raise ApplicationError("no", type="No", next_retry_delay=SAID["delay"], category=SAID["category"])


@workflow.defn(sandboxed=False)
class Again:
    @workflow.run
    async def run(self, left: int) -> None:
        if left:
            workflow.continue_as_new(left - 1, retry_policy=RetryPolicy(maximum_attempts=2))


async def _said(run: Any, *args: Any) -> Recorded:
    async with engine([Says, Little, Again], [charge]) as client:
        handle = await client.start_workflow(run, args=args, id="w", task_queue="q")
        with contextlib.suppress(WorkflowFailureError):
            await handle.result()
        return await recorded(client.get_workflow_handle("w", run_id=handle.first_execution_run_id))


@pytest.fixture(scope="module")
def said() -> Recorded:
    return asyncio.run(_said(Says.run))


def judged(found: Recorded, way: Way = Way.REPLAY) -> Judgement:
    (judgement,) = judge_histories([found], [Says, Little, Again], how=How(way=way))
    assert judgement.comparison is not None, judgement.note
    return judgement


@pytest.mark.parametrize("way", [Way.REPLAY, Way.FREE_RUN])
def test_unchanged_code_says_the_same(said: Recorded, way: Way) -> None:
    """Also its failure has no cause but its own: the check began in no error's handler."""
    assert judged(said, way).verdict is Verdict.MATCH


@pytest.mark.parametrize(
    ("what", "now", "level", "kind", "path"),
    [
        ("summary", "by cash", Level.OPTIONS, Kind.VALUE, "activity charge: summary"),
        ("nap", None, Level.OPTIONS, Kind.MISSING, "timer: summary"),
        ("details", "in short", Level.OPTIONS, Kind.VALUE, "child Little: details"),
        ("weight", 3.0, Level.OPTIONS, Kind.VALUE, "activity charge: options.fairness_weight"),
        ("key", "silver", Level.OPTIONS, Kind.VALUE, "activity charge: options.fairness_key"),
        ("of the child", None, Level.OPTIONS, Kind.MISSING, "child Little: options.fairness_key"),
        ("signalled", None, Level.INPUTS, Kind.MISSING, "signal_external go: run_id"),
        ("cancelled", TWO, Level.INPUTS, Kind.VALUE, "cancel_external: run_id"),
        (
            "attribute",
            TEXT,
            Level.INPUTS,
            Kind.TYPE,
            f"upsert_search_attributes: search_attributes.{KEYWORD.name}.type",
        ),
        ("delay", timedelta(seconds=6), Level.OUTCOME, Kind.VALUE, "outcome: failure.next_retry_delay_ms"),
        ("category", ApplicationErrorCategory.UNSPECIFIED, Level.OUTCOME, Kind.VALUE, "outcome: failure.category"),
    ],
)
def test_each_change_is_found(
    said: Recorded, monkeypatch: pytest.MonkeyPatch, what: str, now: Any, level: Level, kind: Kind, path: str
) -> None:
    monkeypatch.setitem(SAID, what, now)
    comparison = judged(said).comparison
    assert comparison is not None
    assert [(found.level, found.kind, found.path) for found in comparison.differences] == [(level, kind, path)]


def test_summaries_that_no_server_has_kept_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Older servers leave out all of them. Which, nobody can tell."""
    with monkeypatch.context() as silent:
        for what in ("summary", "nap", "details"):
            silent.setitem(SAID, what, None)
        found = asyncio.run(_said(Says.run))
    judgement = judged(found)
    assert judgement.verdict is Verdict.MATCH
    assert judgement.comparison is not None
    assert [(gap.reason, gap.path) for gap in judgement.comparison.unchecked] == [
        ("not_recorded", "activity charge: summary"),
        ("not_recorded", "timer: summary"),
        ("not_recorded", "child Little: details"),
    ]


def test_the_retry_policy_of_the_next_run_is_not_recorded() -> None:
    judgement = judged(asyncio.run(_said(Again.run, 1)))
    assert judgement.verdict is Verdict.MATCH
    assert judgement.comparison is not None
    assert [(gap.reason, gap.path) for gap in judgement.comparison.unchecked] == [
        ("not_recorded", "continue_as_new Again: options.retry_policy")
    ]
