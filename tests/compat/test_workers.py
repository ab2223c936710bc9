"""Workers: how much at once, several side by side, and how they go."""

from __future__ import annotations

import asyncio
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import nexusrpc.handler
import pytest
from temporalio import activity, workflow
from temporalio.client import Client, WorkflowFailureError
from temporalio.worker import ResourceBasedSlotConfig, WorkerTuner

from .calls import Call, Order, Retry, start_call
from .support import Connect, MakeWorker, chain, eventually

LIMIT = timedelta(seconds=30)


class Counter:
    """How many activities run at once."""

    def __init__(self) -> None:
        self.now = 0
        self.most = 0
        self.go = asyncio.Event()

    @activity.defn
    async def count_me(self) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        await self.go.wait()
        self.now -= 1


@workflow.defn
class Fan:
    @workflow.run
    async def run(self, width: int) -> int:
        await asyncio.gather(
            *[workflow.execute_activity("count_me", start_to_close_timeout=LIMIT) for _ in range(width)]
        )
        return width


@pytest.mark.parametrize("limit", [1, 3])
async def test_max_concurrent_activities(
    client: Client, make_worker: MakeWorker, queue: str, wid: str, limit: int
) -> None:
    counter = Counter()
    async with make_worker(
        client, task_queue=queue, workflows=[Fan], activities=[counter.count_me], max_concurrent_activities=limit
    ):
        handle = await client.start_workflow(Fan.run, 6, id=wid, task_queue=queue)

        async def full() -> None:
            assert counter.now == limit

        await eventually(full)
        counter.go.set()
        assert await handle.result() == 6
    assert counter.most == limit


@workflow.defn
class Hello:
    @workflow.run
    async def run(self, name: str) -> list[str]:
        return [f"Hello, {name}!", workflow.info().task_queue]


async def test_one_workflow_task_at_a_time_is_enough(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(
        client,
        task_queue=queue,
        workflows=[Hello],
        max_concurrent_workflow_tasks=2,
        max_concurrent_workflow_task_polls=2,
    ):
        results = await asyncio.gather(
            *[client.execute_workflow(Hello.run, str(n), id=f"{wid}-{n}", task_queue=queue) for n in range(20)]
        )
    assert [result[0] for result in results] == [f"Hello, {n}!" for n in range(20)]


async def test_several_workers_on_several_queues_in_one_process(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    queues = [f"{queue}-{n}" for n in range(3)]
    async with (
        make_worker(client, task_queue=queues[0], workflows=[Hello]),
        make_worker(client, task_queue=queues[1], workflows=[Hello]),
        make_worker(client, task_queue=queues[2], workflows=[Hello]),
    ):
        results = await asyncio.gather(
            *[client.execute_workflow(Hello.run, q, id=f"{wid}-{q}", task_queue=q) for q in queues]
        )
    assert results == [[f"Hello, {q}!", q] for q in queues]


async def test_two_workers_of_two_clients_share_one_queue(
    connect: Connect, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    client, other = await connect(), await connect()
    async with (
        make_worker(client, task_queue=queue, workflows=[Hello], identity="one"),
        make_worker(other, task_queue=queue, workflows=[Hello], identity="two"),
    ):
        results = await asyncio.gather(
            *[client.execute_workflow(Hello.run, str(n), id=f"{wid}-{n}", task_queue=queue) for n in range(10)]
        )
    assert [result[0] for result in results] == [f"Hello, {n}!" for n in range(10)]


async def test_a_worker_does_only_what_its_own_queue_has(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=f"{queue}-other", workflows=[Hello]):
        handle = await client.start_workflow(Hello.run, "x", id=wid, task_queue=queue)
        await client.execute_workflow(Hello.run, "y", id=f"{wid}-2", task_queue=f"{queue}-other")
        assert (await handle.describe()).history_length == 2
    async with make_worker(client, task_queue=queue, workflows=[Hello]):
        assert await handle.result() == ["Hello, x!", queue]


@workflow.defn
class LongLived:
    def __init__(self) -> None:
        self.seen: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_condition(lambda: len(self.seen) >= 3)
        return self.seen

    @workflow.signal
    def add(self, text: str) -> None:
        self.seen.append(text)

    @workflow.query
    def so_far(self) -> list[str]:
        return self.seen


async def test_a_run_goes_on_from_worker_to_worker(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    handle = await client.start_workflow(LongLived.run, id=wid, task_queue=queue)
    for number in range(3):
        async with make_worker(client, task_queue=queue, workflows=[LongLived]):
            await handle.signal(LongLived.add, str(number))

            async def seen(expected: int = number + 1) -> None:
                assert len(await handle.query(LongLived.so_far)) == expected

            await eventually(seen)
    async with make_worker(client, task_queue=queue, workflows=[LongLived]):
        assert await handle.result() == ["0", "1", "2"]


class Shutdown:
    """An activity that notices that its worker goes."""

    def __init__(self, patience: bool) -> None:
        self.patience = patience
        self.started = asyncio.Event()
        self.events: list[str] = []

    @activity.defn
    async def work(self) -> list[Any]:
        info = activity.info()
        if info.attempt > 1:
            return ["retried", info.attempt, list(info.heartbeat_details)]
        activity.heartbeat("half way")
        self.started.set()
        try:
            await activity.wait_for_worker_shutdown()
            self.events.append("told")
            assert activity.is_worker_shutdown()
            if self.patience:
                return ["finished in time", info.attempt]
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.events.append("cancelled")
            raise
        raise AssertionError("unreachable")


async def test_an_activity_may_finish_within_the_graceful_period(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    shutdown = Shutdown(patience=True)
    async with make_worker(
        client,
        task_queue=queue,
        workflows=[Call],
        activities=[shutdown.work],
        graceful_shutdown_timeout=timedelta(seconds=20),
    ):
        handle = await start_call(client, queue, wid, Order("work", heartbeat=20, retry=Retry()))
        await shutdown.started.wait()
    assert shutdown.events == ["told"]
    async with make_worker(client, task_queue=queue, workflows=[Call]):
        assert await handle.result() == ["finished in time", 1]


async def test_an_activity_that_does_not_finish_in_time_is_cancelled_and_retried_elsewhere(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    shutdown = Shutdown(patience=False)
    async with make_worker(
        client,
        task_queue=queue,
        workflows=[Call],
        activities=[shutdown.work],
        graceful_shutdown_timeout=timedelta(milliseconds=100),
    ):
        handle = await start_call(client, queue, wid, Order("work", heartbeat=20, retry=Retry()))
        await shutdown.started.wait()
    assert shutdown.events == ["told", "cancelled"]
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[shutdown.work]):
        assert await handle.result() == ["retried", 2, ["half way"]]


async def test_shutting_down_is_an_ordinary_failure_for_the_retry_policy(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    shutdown = Shutdown(patience=False)
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[shutdown.work]):
        handle = await start_call(client, queue, wid, Order("work", heartbeat=20, retry=Retry(attempts=1)))
        await shutdown.started.wait()
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[shutdown.work]):
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
        assert chain(failed.value)[1:] == [
            "ActivityError 'Activity task failed' work MAXIMUM_ATTEMPTS_REACHED",
            "ApplicationError 'Worker is shutting down and this activity did not complete in time' type=WorkerShutdown",
        ]


async def test_a_worker_can_be_run_and_shut_down_by_hand(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    worker = make_worker(client, task_queue=queue, workflows=[Hello])
    running = asyncio.create_task(worker.run())
    assert await client.execute_workflow(Hello.run, "x", id=wid, task_queue=queue) == ["Hello, x!", queue]
    assert worker.is_running
    await worker.shutdown()
    await asyncio.wait_for(running, 15)
    assert worker.is_shutdown


async def test_a_worker_of_activities_only(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    counter = Counter()
    counter.go.set()
    async with (
        make_worker(client, task_queue=queue, activities=[counter.count_me]),
        make_worker(client, task_queue=queue, workflows=[Fan], no_remote_activities=True),
    ):
        assert await client.execute_workflow(Fan.run, 2, id=wid, task_queue=queue) == 2


async def test_a_worker_with_nothing_to_do_is_refused(client: Client, make_worker: MakeWorker) -> None:
    with pytest.raises(ValueError, match="At least one activity, Nexus service, or workflow must be specified"):
        make_worker(client, task_queue="x")


async def test_slow_activities_do_not_hold_up_workflows(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    counter = Counter()
    async with make_worker(
        client,
        task_queue=queue,
        workflows=[Fan, Hello],
        activities=[counter.count_me],
        max_concurrent_activities=1,
    ):
        blocked = await client.start_workflow(Fan.run, 2, id=wid, task_queue=queue)
        assert await client.execute_workflow(Hello.run, "x", id=f"{wid}-2", task_queue=queue) == ["Hello, x!", queue]
        counter.go.set()
        assert await blocked.result() == 2


@activity.defn
async def add_one(number: int) -> int:
    return number + 1


@workflow.defn
class AddTwo:
    @workflow.run
    async def run(self, number: int) -> int:
        for _ in range(2):
            number = await workflow.execute_activity(add_one, number, start_to_close_timeout=LIMIT)
        return number


async def test_many_workflows_at_once_each_get_their_own_result(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[AddTwo], activities=[add_one]):
        results = await asyncio.gather(
            *[client.execute_workflow(AddTwo.run, n, id=f"{wid}-{n}", task_queue=queue) for n in range(60)]
        )
    assert results == [n + 2 for n in range(60)]


async def test_more_runs_than_the_cache_holds(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[LongLived], max_cached_workflows=2):
        handles = [await client.start_workflow(LongLived.run, id=f"{wid}-{n}", task_queue=queue) for n in range(6)]
        for text in ("a", "b", "c"):
            for handle in handles:
                await handle.signal(LongLived.add, text)
        assert await asyncio.gather(*[handle.result() for handle in handles]) == [["a", "b", "c"]] * 6


async def test_a_worker_of_an_unknown_namespace_is_refused(client: Client, make_worker: MakeWorker, queue: str) -> None:
    config = client.config()
    config["namespace"] = "nowhere"
    worker = make_worker(Client(**config), task_queue=queue, activities=[nothing])
    with pytest.raises(RuntimeError, match=r"^Worker validation failed.*(?i:namespace)"):
        await worker.run()


@activity.defn
async def nothing() -> None: ...


@nexusrpc.handler.service_handler
class Greetings:
    @nexusrpc.handler.sync_operation
    async def greet(self, _context: nexusrpc.handler.StartOperationContext, name: str) -> str:
        return f"hello {name}"


async def test_nexus_handlers_do_not_keep_a_worker_from_its_other_work(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    counter = Counter()
    counter.go.set()
    worker = make_worker(
        client,
        task_queue=queue,
        workflows=[Fan],
        activities=[counter.count_me],
        nexus_service_handlers=[Greetings()],
    )
    async with worker:
        await client.execute_workflow(Fan.run, 2, id=wid, task_queue=queue)
        assert worker.is_running
    assert worker.is_shutdown


class Broken(ThreadPoolExecutor):
    """Its threads are gone."""

    def submit(self, *args: Any, **kwargs: Any) -> Any:
        raise BrokenExecutor("broken")


async def test_a_fatal_error_ends_the_worker_and_is_told(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    told: list[tuple[str, bool, bool]] = []

    async def tell(error: BaseException) -> None:
        told.append((str(error), worker.is_shutdown, running.done()))

    @activity.defn
    def never() -> None:
        raise AssertionError

    broken = Broken(1)
    worker = make_worker(
        client, task_queue=queue, workflows=[Call], activities=[never], activity_executor=broken, on_fatal_error=tell
    )
    running = asyncio.create_task(worker.run())
    handle = await start_call(client, queue, wid, Order("never"))
    with pytest.raises(RuntimeError, match="Activity worker failed"):
        await asyncio.wait_for(running, 20)
    assert told == [("Activity worker failed", False, False)], "once, before anything is shut down"
    assert worker.is_shutdown
    await handle.terminate()


async def test_several_kinds_of_slots(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    counter = Counter()
    tuner = WorkerTuner.create_fixed(workflow_slots=5, activity_slots=2, local_activity_slots=3)
    async with make_worker(client, task_queue=queue, workflows=[Fan], activities=[counter.count_me], tuner=tuner):
        handle = await client.start_workflow(Fan.run, 5, id=wid, task_queue=queue)

        async def full() -> None:
            assert counter.now == 2

        await eventually(full)
        counter.go.set()
        assert await handle.result() == 5
    assert counter.most == 2


async def test_a_resource_based_tuner_is_taken(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    counter = Counter()
    counter.go.set()
    tuner = WorkerTuner.create_resource_based(
        target_memory_usage=0.95,
        target_cpu_usage=0.95,
        activity_config=ResourceBasedSlotConfig(minimum_slots=1, maximum_slots=2),
    )
    async with make_worker(client, task_queue=queue, workflows=[Fan], activities=[counter.count_me], tuner=tuner):
        assert await client.execute_workflow(Fan.run, 5, id=wid, task_queue=queue) == 5
    assert counter.most <= 2


async def test_activities_are_started_at_the_rate_of_the_worker(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    counter = Counter()
    counter.go.set()
    async with make_worker(
        client, task_queue=queue, workflows=[Fan], activities=[counter.count_me], max_activities_per_second=4
    ):
        begun = asyncio.get_running_loop().time()
        assert await client.execute_workflow(Fan.run, 8, id=wid, task_queue=queue) == 8
        assert asyncio.get_running_loop().time() - begun >= 0.9
