"""Free run: the core drives by itself, the record answers, and nothing is ever done to the world."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.client import Client, WithStartWorkflowOperation
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner

from dbos_compat.workbench import Workbench
from dbos_shadow.difference import Kind, Level
from dbos_shadow.free_run import free_run
from dbos_shadow.names import BadNames, NameMap
from dbos_shadow.recorded import Recorded
from dbos_shadow.replay import replay_recorded
from dbos_shadow.verdict import Judgement, Reason, Verdict, Way
from tests.unit.shadow import changed
from tests.unit.shadow.changed import Order
from tests.unit.shadow.changed_activities import ACTIVITIES as MARKED
from tests.unit.shadow.engine import engine, recorded
from tests.unit.shadow.ported import Purchase, WithAudit, audit
from tests.unit.shadow.programs import ACTIVITIES, WORKFLOWS, Again, Listens, Locally, Parent, Steps

NAMES = NameMap.from_yaml(
    """
    workflows: {Order: Purchase}
    activities: {reserve: hold, charge: pay, ship: send}
    signals: {note: remark}
    """
)


async def _order() -> Recorded:
    async with engine([Order], MARKED) as client:
        handle = await client.start_workflow(Order.run, 7, id="order", task_queue="q")
        await handle.signal(Order.note, "careful")
        await handle.result()
        return await recorded(handle)


@pytest.fixture(scope="module")
def order() -> Recorded:
    return asyncio.run(_order())


@pytest.fixture(autouse=True)
def nothing_has_run() -> None:
    changed.RAN.clear()


async def ran_free(found: Recorded, *workflows: type, **options: Any) -> Judgement:
    async with Workbench(workflows, workflow_runner=UnsandboxedWorkflowRunner()) as bench:
        judgement = await free_run(found, bench, **options)
    assert judgement.way is Way.FREE_RUN
    return judgement


def matches(judgement: Judgement) -> None:
    assert judgement.comparison is not None, judgement.note
    assert judgement.comparison.differences == ()
    assert judgement.verdict is Verdict.MATCH, judgement.note


async def test_the_same_code_does_the_same(order: Recorded) -> None:
    matches(await ran_free(order, Order))
    assert changed.RAN == []


async def _all() -> dict[str, Recorded]:
    found = {}
    async with engine(WORKFLOWS, ACTIVITIES) as client:
        for name, run, args in (
            ("steps", Steps.run, [5]),
            ("parent", Parent.run, []),
            ("again", Again.run, [1]),
            ("locally", Locally.run, []),
        ):
            handle = await client.start_workflow(run, args=args, id=name, task_queue="q")
            await handle.result()
            first = client.get_workflow_handle(name, run_id=handle.first_execution_run_id)
            found[name] = await recorded(first)
        found["messages"] = await _messages(client)
        half = await client.start_workflow(Listens.run, id="half", task_queue="q")
        await half.execute_update(Listens.ask, "one")
        found["half"] = await recorded(half)
        stopped = await client.start_workflow(Listens.run, id="stopped", task_queue="q")
        await stopped.execute_update(Listens.ask, "one")
        await stopped.terminate()
        found["stopped"] = await recorded(stopped)
    return found


async def _messages(client: Client) -> Recorded:
    operation = WithStartWorkflowOperation(
        Listens.run, id="messages", task_queue="q", id_conflict_policy=WorkflowIDConflictPolicy.FAIL
    )
    await client.execute_update_with_start_workflow(Listens.ask, "first", start_workflow_operation=operation)
    handle = await operation.workflow_handle()
    await handle.signal(Listens.hear, "second")
    await handle.execute_update(Listens.ask, "third")
    await handle.signal(Listens.hear, "stop")
    await handle.result()
    return await recorded(handle)


@pytest.fixture(scope="module")
def programs() -> dict[str, Recorded]:
    return asyncio.run(_all())


@pytest.mark.parametrize("name", ["steps", "parent", "again", "locally", "messages", "half", "stopped"])
async def test_programs(programs: dict[str, Recorded], name: str) -> None:
    matches(await ran_free(programs[name], *WORKFLOWS))


# -- who answers -------------------------------------------------------------------------------------------------------


async def test_what_has_neither_result_nor_stub_stops_the_run_and_is_named(order: Recorded) -> None:
    judgement = await ran_free(order, WithAudit, names=NAMES)
    assert (judgement.verdict, judgement.reason) == (Verdict.INCONCLUSIVE, Reason.NO_STUB)
    assert judgement.subject == "audit"
    assert "activity audit" in judgement.note
    assert "not executed" in judgement.note
    assert changed.RAN == []


async def test_a_stub_answers(order: Recorded) -> None:
    seen: list[int] = []

    async def stub(amount: int) -> str:
        seen.append(amount)
        return "as if audited"

    judgement = await ran_free(order, WithAudit, names=NAMES, stubs={"audit": stub})
    assert seen == [7]
    assert judgement.verdict is Verdict.MISMATCH
    assert judgement.comparison is not None
    (extra,) = [d for d in judgement.comparison.differences if d.path.endswith(": step")]
    assert (extra.level, extra.kind, extra.path) == (Level.SEQUENCE, Kind.EXTRA, "activity audit: step")
    assert changed.RAN == []


async def test_real_code_runs_only_where_it_is_asked_for_by_name(order: Recorded) -> None:
    @activity.defn(name="audit")
    async def real(amount: int) -> str:
        assert activity.in_activity()
        return await audit(amount)

    await ran_free(order, WithAudit, names=NAMES, run_for_real={"audit": real})
    assert changed.RAN == ["audit 7"]


async def test_stubs_may_fail_and_may_be_values(order: Recorded) -> None:
    def refuses(value: Any) -> str:
        raise ApplicationError("out of stock", type="OutOfStock", non_retryable=True)

    failed = await ran_free(order, Order, stubs={"ship": refuses})
    assert failed.actual is not None
    assert failed.actual.outcome.status.value == "failed"
    other = await ran_free(order, Order, stubs={"ship": "ship done"})
    matches(other)


async def test_a_child_may_have_a_stub(programs: dict[str, Recorded]) -> None:
    found = programs["parent"]
    judgement = await ran_free(found, *WORKFLOWS, stubs={"Steps": {"raw": [], "sums": []}})
    assert judgement.comparison is not None
    assert {d.level for d in judgement.comparison.differences} == {Level.INPUTS}


# -- names -------------------------------------------------------------------------------------------------------------


async def test_a_port_by_hand_is_compared_through_names(order: Recorded) -> None:
    matches(await ran_free(order, Purchase, names=NAMES))
    assert changed.RAN == []


async def test_without_names_nobody_is_known(order: Recorded) -> None:
    judgement = await ran_free(order, Purchase)
    assert (judgement.verdict, judgement.reason, judgement.subject) == (
        Verdict.NOT_RUN,
        Reason.UNKNOWN_TYPE,
        "Order",
    )


@pytest.mark.parametrize(
    "text", ["[]", "activities: 3", "activity: {a: b}", "activities: {a: 1}", "activities: {a: c, b: c}", "{"]
)
def test_bad_names(text: str) -> None:
    with pytest.raises(BadNames):
        NameMap.from_yaml(text)


# -- what is different -------------------------------------------------------------------------------------------------


async def test_changed_code_is_found(order: Recorded) -> None:
    judgement = await ran_free(order, changed.OtherInput)
    assert judgement.verdict is Verdict.MISMATCH
    assert judgement.comparison is not None
    assert judgement.comparison.first is not None
    assert judgement.comparison.first.path == "activity charge: inputs[0].amount"


async def test_a_timer_that_was_never_recorded_rings(order: Recorded) -> None:
    """A timer is skipped; the code goes on, and the timer alone is the difference."""
    judgement = await ran_free(order, changed.TwoTimers)
    assert judgement.comparison is not None
    assert judgement.actual is not None
    assert judgement.actual.outcome.status.value == "completed"
    (extra,) = [d for d in judgement.comparison.differences if d.path == "timer: step"]
    assert extra.kind is Kind.EXTRA


async def test_what_never_ends_is_stopped(order: Recorded) -> None:
    judgement = await ran_free(order, changed.Endless)
    assert judgement.verdict is Verdict.MISMATCH
    assert "came to no end" in judgement.note
    assert judgement.comparison is not None
    assert judgement.comparison.first is not None


async def test_cut_histories_are_inconclusive(order: Recorded) -> None:
    cut = dataclasses.replace(order, events=[*order.events[:4], *order.events[6:]])
    judgement = await ran_free(cut, Order)
    assert (judgement.verdict, judgement.reason) == (Verdict.INCONCLUSIVE, Reason.TRUNCATED)


async def test_no_beginning_of_a_history_differs(order: Recorded) -> None:
    verdicts = set()
    for size in range(1, len(order.events) + 1):
        judgement = await ran_free(dataclasses.replace(order, events=order.events[:size], closed=None), Order)
        verdicts.add((judgement.verdict, judgement.reason))
    assert verdicts <= {
        (Verdict.MATCH, None),
        (Verdict.INCONCLUSIVE, Reason.TRUNCATED),
        (Verdict.INCONCLUSIVE, Reason.NO_STUB),
        (Verdict.NOT_RUN, Reason.NO_TASK),
    }


@workflow.defn(sandboxed=False)
class SaysWhenItBegan:
    @workflow.run
    async def run(self) -> int:
        return workflow.info().workflow_start_time.microsecond


@pytest.mark.parametrize("judge", [free_run, replay_recorded])
async def test_a_run_has_begun_when_the_record_says_to_the_microsecond(judge: Any) -> None:
    async with engine([SaysWhenItBegan], []) as client:
        handle = await client.start_workflow(SaysWhenItBegan.run, id="began", task_queue="q")
        await handle.result()
        found = await recorded(handle)
    first, *_, last = found.events
    first.event_time.nanos = 123_456_789
    last.workflow_execution_completed_event_attributes.result.payloads[0].data = b"123456"
    async with Workbench([SaysWhenItBegan], workflow_runner=UnsandboxedWorkflowRunner()) as bench:
        matches(await judge(found, bench))
