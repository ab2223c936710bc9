"""Runs that were reset: which run a history is of, and what its code was told that it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import UnsandboxedWorkflowRunner

from dbos_compat.workbench import Workbench
from dbos_shadow.reading import exporting, files
from dbos_shadow.recorded import Recorded
from dbos_shadow.replay import replay_recorded
from dbos_shadow.resets import run_id_of
from dbos_shadow.verdict import Judgement, Verdict
from tests.unit.shadow.engine import engine, recorded

SOON = timedelta(seconds=20)


@activity.defn
async def tell(run_id: str, known: str) -> str:
    return f"{run_id} {known}"


@workflow.defn(name="Named", sandboxed=False)
class Named:
    """Tells an activity which run it is: as it knew it at its beginning, and as it is told now."""

    def __init__(self) -> None:
        self.known = workflow.info().run_id
        self.rounds = 0

    @workflow.run
    async def run(self) -> str:
        for number in range(3):
            await workflow.wait_condition(lambda past=number: self.rounds >= past)  # type: ignore[misc]
            await self.ask()
        return str(workflow.uuid4())

    async def ask(self) -> None:
        run_id = workflow.info().run_id
        await workflow.execute_activity(tell, args=[run_id, self.known], start_to_close_timeout=SOON)

    @workflow.signal
    def go(self) -> None:
        self.rounds += 1


@workflow.defn(name="Named", sandboxed=False)
class Choosing(Named):
    """The code now wants something else of a run that was reset, also where that was not one yet."""

    @workflow.run
    async def run(self) -> str:
        return await super().run()

    async def ask(self) -> None:
        info = workflow.info()
        if info.run_id == info.first_execution_run_id:
            await super().ask()
        else:
            await workflow.sleep(1)

    @workflow.signal
    def go(self) -> None:
        super().go()


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with engine([Named], [tell]) as client:
        yield client


async def reset(client: Client, handle: WorkflowHandle[Any, Any], run_id: str, task: int) -> str:
    """Back to a task of a run, by its number; the id of the run that comes of it, when that has ended."""
    events = (await client.get_workflow_handle(handle.id, run_id=run_id).fetch_history()).events
    tasks = [event.event_id for event in events if event.HasField("workflow_task_completed_event_attributes")]
    answer = await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=handle.id, run_id=run_id),
            workflow_task_finish_event_id=tasks[task],
            request_id=f"{run_id} {task}",
        )
    )
    await client.get_workflow_handle(handle.id, run_id=answer.run_id).result()
    return answer.run_id


@pytest.fixture
async def chain(client: Client) -> list[Recorded]:
    """A run, what became of it after a reset, and what became of that after another one, further on."""
    handle = await client.start_workflow(Named.run, id="w", task_queue="q")
    await handle.signal(Named.go)
    await handle.signal(Named.go)
    await handle.result()
    ids = [str(handle.result_run_id)]
    for task in (1, -2):
        ids.append(await reset(client, handle, ids[-1], task))
    return [await recorded(client.get_workflow_handle("w", run_id=run_id), run_id) for run_id in ids]


async def judged(found: Sequence[Recorded], workflows: Sequence[type], **options: Any) -> list[Judgement]:
    async with Workbench(workflows, **options) as bench:
        return [await replay_recorded(one, bench) for one in found]


def test_a_history_says_of_which_run_it_is(chain: list[Recorded], tmp_path: Path) -> None:
    ids = [run.run_id for run in chain]
    assert len(set(ids)) == 3
    assert [run_id_of(run.events) for run in chain] == ids
    for run in chain:
        (read,) = files.read(exporting.write(tmp_path, run))
        assert isinstance(read, Recorded)
        assert read.run_id == run.run_id
    assert run_id_of([]) == ""


@pytest.mark.parametrize("options", [{}, {"workflow_runner": UnsandboxedWorkflowRunner()}], ids=["sandbox", "none"])
async def test_code_is_told_each_id_as_it_was(chain: list[Recorded], options: dict[str, Any]) -> None:
    """Also what it has kept since its beginning: after a reset that is the new one."""
    inputs = [
        {payload.data for payload in event.activity_task_scheduled_event_attributes.input.payloads}
        for event in chain[2].events
        if event.HasField("activity_task_scheduled_event_attributes")
    ]
    assert inputs == [{f'"{run.run_id}"'.encode()} for run in chain], "else nothing is shown here"
    for judgement in await judged(chain, [Named], **options):
        assert judgement.comparison is not None, judgement.note
        assert (judgement.verdict, judgement.comparison.differences) == (Verdict.MATCH, ())


async def test_code_that_asks_for_something_else_under_another_id_is_found(chain: list[Recorded]) -> None:
    first, second, _ = await judged(chain, [Choosing])
    assert first.verdict is Verdict.MATCH
    assert (second.verdict, second.subject) == (Verdict.MISMATCH, "NON_DETERMINISTIC_ERROR")


async def test_a_run_id_that_nobody_knows_is_the_one_of_its_history(chain: list[Recorded]) -> None:
    (judgement,) = await judged([replace(chain[0], run_id="")], [Named])
    assert (judgement.verdict, judgement.expected and judgement.expected.run_id) == (Verdict.MATCH, chain[0].run_id)
