"""What workflow code may ask of the clock and of chance, and that the answers stay."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.client import Client

from .support import MakeWorker, eventually


@activity.defn
async def step() -> None:
    return None


@workflow.defn
class Chances:
    """Asks for time and chance around a step, and remembers the answers for a query."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.go = False

    @workflow.run
    async def run(self) -> list[Any]:
        self.ask()
        await workflow.execute_activity(step, start_to_close_timeout=timedelta(seconds=30))
        self.ask()
        await workflow.wait_condition(lambda: self.go)
        self.ask()
        return self.answers

    def ask(self) -> None:
        self.answers.append(
            [
                workflow.now().isoformat(),
                workflow.time(),
                workflow.random().randint(0, 10**9),
                workflow.random().random(),
                str(workflow.uuid4()),
            ]
        )

    @workflow.signal
    def proceed(self) -> None:
        self.go = True

    @workflow.query
    def so_far(self) -> list[Any]:
        return self.answers


async def test_time_and_chance_are_the_same_on_another_worker(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    handle = await client.start_workflow(Chances.run, id=wid, task_queue=queue)

    async def two_asked() -> list[Any]:
        answers = await handle.query(Chances.so_far)
        assert len(answers) == 2
        return answers

    async with make_worker(client, task_queue=queue, workflows=[Chances], activities=[step]):
        first = await eventually(two_asked)
    async with make_worker(client, task_queue=queue, workflows=[Chances], activities=[step]):
        assert await handle.query(Chances.so_far) == first
        await handle.signal(Chances.proceed)
        answers = await handle.result()
    assert answers[:2] == first
    assert len({answer[4] for answer in answers}) == 3
    assert len({answer[2] for answer in answers}) == 3


async def test_two_runs_have_different_chances(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    answers = []
    async with make_worker(client, task_queue=queue, workflows=[Chances], activities=[step]):
        for number in range(2):
            handle = await client.start_workflow(Chances.run, id=f"{wid}-{number}", task_queue=queue)
            await handle.signal(Chances.proceed)
            answers.append(await handle.result())
    assert {answer[4] for answer in answers[0]}.isdisjoint({answer[4] for answer in answers[1]})


async def test_now_is_the_time_of_the_step_and_never_goes_back(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    before = datetime.now(UTC)
    async with make_worker(client, task_queue=queue, workflows=[Chances], activities=[step]):
        handle = await client.start_workflow(Chances.run, id=wid, task_queue=queue)
        await handle.signal(Chances.proceed)
        answers = await handle.result()
    times = [datetime.fromisoformat(answer[0]) for answer in answers]
    assert times == sorted(times)
    assert before - timedelta(seconds=1) < times[0]
    assert times[-1] < datetime.now(UTC) + timedelta(seconds=1)
    assert all(time.tzinfo is not None for time in times)


async def test_the_history_has_the_time_that_the_workflow_saw(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Chances], activities=[step]):
        handle = await client.start_workflow(Chances.run, id=wid, task_queue=queue)
        await handle.signal(Chances.proceed)
        answers = await handle.result()
    history = await handle.fetch_history()
    started = [
        event.event_time.ToDatetime(UTC)
        for event in history.events
        if event.HasField("workflow_task_started_event_attributes")
    ]
    seen = datetime.fromisoformat(answers[0][0])
    assert abs(started[0] - seen) < timedelta(milliseconds=1)
