"""Replay on the core: what unchanged code does is what was recorded, and what changed code does is found."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from temporalio import workflow
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.contrib.opentelemetry import TracingInterceptor
from temporalio.worker import UnsandboxedWorkflowRunner

from dbos_compat.workbench import Workbench
from dbos_shadow.free_run import free_run
from dbos_shadow.recorded import Recorded
from dbos_shadow.replay import replay_recorded
from dbos_shadow.verdict import Judgement, Reason, Verdict
from tests.fixtures.waiting import eventually
from tests.unit.shadow import changed_steps
from tests.unit.shadow.engine import engine, recorded
from tests.unit.shadow.programs import (
    ACTIVITIES,
    SOON,
    WORKFLOWS,
    Again,
    Cancelled,
    Fails,
    Listens,
    Locally,
    Parent,
    Steps,
    add,
)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with engine(WORKFLOWS, ACTIVITIES) as client:
        yield client


async def judged(found: Recorded, workflows: Sequence[type] = WORKFLOWS, **options: Any) -> Judgement:
    async with Workbench(workflows, workflow_runner=UnsandboxedWorkflowRunner()) as bench:
        return await replay_recorded(found, bench, **options)


def matches(judgement: Judgement) -> None:
    assert judgement.comparison is not None, judgement.note
    assert judgement.comparison.differences == ()
    assert (judgement.verdict, judgement.reason, judgement.note) == (Verdict.MATCH, None, "")


async def ended(handle: WorkflowHandle[Any, Any]) -> WorkflowHandle[Any, Any]:
    with contextlib.suppress(WorkflowFailureError):
        await handle.result()
    return handle


@pytest.mark.parametrize(
    ("run", "args"),
    [(Steps.run, [5]), (Parent.run, []), (Fails.run, []), (Again.run, [1]), (Again.run, [0]), (Locally.run, [])],
    ids=["steps", "parent", "fails", "again", "last", "locally"],
)
async def test_unchanged_code_matches(client: Client, run: Any, args: list[Any]) -> None:
    handle = await client.start_workflow(run, args=args, id="w", task_queue="q")
    await ended(handle)
    first = client.get_workflow_handle("w", run_id=handle.first_execution_run_id)
    judgement = await judged(await recorded(first))
    matches(judgement)
    assert judgement.steps or run in (Fails.run,)


async def test_messages(client: Client) -> None:
    handle = await client.start_workflow(Listens.run, id="w", task_queue="q")
    await handle.signal(Listens.hear, "one")
    assert await handle.execute_update(Listens.ask, "two") == 2
    for refused in ("bad", ""):
        with pytest.raises(WorkflowUpdateFailedError):
            await handle.execute_update(Listens.ask, refused)
    matches(await judged(await recorded(handle)))  # half-finished
    await handle.signal(Listens.hear, "stop")
    await handle.result()
    judgement = await judged(await recorded(handle))
    matches(judgement)
    assert {"signal", "update", "timer", "cancel_timer", "activity"} <= judgement.features


async def has_had_a_task(handle: WorkflowHandle[Any, Any]) -> bool:
    return any(
        [event.HasField("workflow_task_completed_event_attributes") async for event in handle.fetch_history_events()]
    )


async def test_a_run_without_a_task_is_no_match(client: Client) -> None:
    """No code has had a say in it, whatever the code is."""
    handle = await client.start_workflow(Cancelled.run, id="w", task_queue="nobody is here")
    await handle.terminate("enough")
    judgement = await judged(await recorded(await ended(handle)))
    assert (judgement.verdict, judgement.reason) == (Verdict.NOT_RUN, Reason.NO_TASK)


@pytest.mark.parametrize("how", ["cancel", "terminate"])
async def test_ends_from_outside(client: Client, how: str) -> None:
    handle = await client.start_workflow(Cancelled.run, id="w", task_queue="q")
    if how == "cancel":
        await handle.cancel()
    else:
        await eventually(lambda: has_had_a_task(handle), what="the run has had a task")
        await handle.terminate("enough", reason="because")
    matches(await judged(await recorded(await ended(handle))))


async def test_unknown_type(client: Client) -> None:
    handle = await client.start_workflow(Fails.run, id="w", task_queue="q")
    judgement = await judged(await recorded(await ended(handle)), [Steps])
    assert (judgement.verdict, judgement.reason) == (Verdict.NOT_RUN, Reason.UNKNOWN_TYPE)


async def test_cut_histories_are_inconclusive(client: Client) -> None:
    handle = await client.start_workflow(Steps.run, 1, id="w", task_queue="q")
    found = await recorded(await ended(handle))
    gap = Recorded(
        workflow_id="w",
        run_id=found.run_id,
        workflow_type="Steps",
        events=[*found.events[:4], *found.events[6:]],
        source="",
    )
    tail = Recorded(workflow_id="w", run_id=found.run_id, workflow_type="Steps", events=found.events[3:], source="")
    end = Recorded(
        workflow_id="w", run_id=found.run_id, workflow_type="Steps", events=found.events[:9], source="", closed=True
    )
    for cut, code in ((gap, "gap"), (tail, "no_start"), (end, "cut_at_end")):
        judgement = await judged(cut)
        assert (judgement.verdict, judgement.reason, judgement.subject) == (
            Verdict.INCONCLUSIVE,
            Reason.TRUNCATED,
            code,
        )


@pytest.mark.parametrize("run", [Steps.run, Locally.run, Parent.run], ids=["steps", "locally", "parent"])
async def test_no_beginning_of_a_history_differs(client: Client, run: Any) -> None:
    """Where what a task has asked for is cut in two nobody can tell; everywhere else it is a run that is open."""
    handle = await client.start_workflow(run, *([1] if run is Steps.run else []), id="w", task_queue="q")
    found = await recorded(await ended(handle))
    verdicts = set()
    async with Workbench(WORKFLOWS, workflow_runner=UnsandboxedWorkflowRunner()) as bench:
        for size in range(1, len(found.events) + 1):
            judgement = await replay_recorded(replace(found, events=found.events[:size], closed=None), bench)
            verdicts.add((judgement.verdict, judgement.reason, judgement.subject))
    cut = (Verdict.INCONCLUSIVE, Reason.TRUNCATED, "cut_in_task")
    assert verdicts == {(Verdict.MATCH, None, ""), (Verdict.NOT_RUN, Reason.NO_TASK, "no_task"), cut}


async def test_changed_code_is_no_cut(client: Client) -> None:
    """Of a run that is known to be open the record is whole; and a cut explains only what comes behind all that is there."""
    handle = await client.start_workflow(Steps.run, 1, id="w", task_queue="q")
    found = await recorded(await ended(handle))
    tasks = [n for n, event in enumerate(found.events, 1) if event.HasField("workflow_task_completed_event_attributes")]
    part = replace(found, events=found.events[: tasks[-1]], closed=None)
    assert (await judged(part)).reason is Reason.TRUNCATED
    assert (await judged(replace(part, closed=False))).verdict is Verdict.MISMATCH
    assert (await judged(part, [changed_steps.Steps])).verdict is Verdict.MISMATCH


@workflow.defn(name="Steps", sandboxed=False)
class AsksNexus:
    """The code now wants what the core refuses by name."""

    @workflow.run
    async def run(self, start: int) -> None:
        client = workflow.create_nexus_client(endpoint="somewhere", service="Greeter")
        await client.execute_operation("greet", start)


@workflow.defn(name="Steps", sandboxed=False)
class AddsOtherwiseAndAsksNexus:
    """The same, and what it asks for before is not what it was."""

    @workflow.run
    async def run(self, start: int) -> None:
        await asyncio.gather(
            *[workflow.execute_activity(add, args=[start + 1, n], start_to_close_timeout=SOON) for n in range(3)]
        )
        client = workflow.create_nexus_client(endpoint="somewhere", service="Greeter")
        await client.execute_operation("greet", start)


async def test_what_differs_before_it_is_a_difference(client: Client) -> None:
    handle = await client.start_workflow(Steps.run, 1, id="w", task_queue="q")
    judgement = await judged(await recorded(await ended(handle)), [AddsOtherwiseAndAsksNexus])
    assert judgement.verdict is Verdict.MISMATCH
    assert judgement.comparison is not None
    assert {difference.path for difference in judgement.comparison.differences} == {"activity add: inputs[0]"}


async def test_what_is_not_supported_is_named(client: Client) -> None:
    handle = await client.start_workflow(Steps.run, 1, id="w", task_queue="q")
    judgement = await judged(await recorded(await ended(handle)), [AsksNexus])
    assert (judgement.verdict, judgement.reason, judgement.subject) == (
        Verdict.INCONCLUSIVE,
        Reason.UNSUPPORTED,
        "nexus",
    )
    assert judgement.comparison is not None


@pytest.mark.parametrize("judge", [replay_recorded, free_run])
async def test_a_traced_run_matches(judge: Any) -> None:
    """Under replay OpenTelemetry's interceptor adds no header, and in a free run one with other ids."""
    tracing = TracingInterceptor(TracerProvider().get_tracer("tests"))
    async with engine(WORKFLOWS, ACTIVITIES, interceptors=[tracing]) as client:
        handle = await client.start_workflow(Steps.run, 5, id="w", task_queue="q")
        await handle.result()
        found = await recorded(handle)
    assert any("_tracer-data" in event.activity_task_scheduled_event_attributes.header.fields for event in found.events)
    async with Workbench(WORKFLOWS, workflow_runner=UnsandboxedWorkflowRunner(), interceptors=[tracing]) as bench:
        judgement = await judge(found, bench)
    matches(judgement)
    assert judgement.masked["tracing"] > 0
