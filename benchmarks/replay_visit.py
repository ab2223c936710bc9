"""One visit of the part ``shadow``: ``python -m benchmarks.replay_visit core|replayer HISTORIES``. Prints one JSON object, and
on standard error now and then how many histories are through."""

import asyncio
import json
import logging
import resource
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from typing import Any

from temporalio.client import WorkflowHistory
from temporalio.worker import (
    Replayer,
    UnsandboxedWorkflowRunner,
    Worker,
    WorkflowInstance,
    WorkflowInstanceDetails,
    WorkflowRunner,
)

from benchmarks.replay_workflows import FiftyEvents, add
from benchmarks.replays import Visit
from dbos_compat.connect import connect_store, disconnect
from dbos_compat.workbench import Workbench
from dbos_core.clock import SystemClock
from dbos_core.store.memory import MemoryStore
from dbos_shadow.recorded import Recorded
from dbos_shadow.replay import replay_recorded
from dbos_shadow.verdict import Verdict

DIFFERENT = 50
"""Histories that are made; they are replayed one after the other, again and again."""
WARM_UP = 20
SAID_EVERY = 200


async def made() -> list[Recorded]:
    """Histories of the engine's own, in memory, and yet as a server writes them."""
    client = await connect_store(MemoryStore(SystemClock()))
    found = []
    async with Worker(
        client,
        task_queue="replays",
        workflows=[FiftyEvents],
        activities=[add],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        for number in range(DIFFERENT):
            handle = await client.start_workflow(FiftyEvents.run, number, id=f"replay-{number}", task_queue="replays")
            await handle.result()
            history = await handle.fetch_history()
            found.append(
                Recorded(
                    workflow_id=handle.id,
                    run_id=handle.first_execution_run_id or "",
                    workflow_type="FiftyEvents",
                    events=list(history.events),
                    source="memory",
                )
            )
    await disconnect(client)
    return found


async def by_the_core(runs: list[Recorded], histories: int) -> tuple[float, float, float]:
    inside = _Inside()
    async with Workbench([FiftyEvents], workflow_runner=inside) as bench:
        for number in range(WARM_UP):
            await replay_recorded(runs[number % DIFFERENT], bench)
        inside.seconds = 0.0
        begun, wall = time.process_time(), time.perf_counter()
        for number in range(histories):
            judgement = await replay_recorded(runs[number % DIFFERENT], bench)
            assert judgement.verdict is Verdict.MATCH, judgement.note
            say(number + 1)
        return time.process_time() - begun, time.perf_counter() - wall, inside.seconds


class _Inside(WorkflowRunner):
    """temporalio's plain runner; adds up what its workflow instances take."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._plain = UnsandboxedWorkflowRunner()

    def prepare_workflow(self, defn: Any) -> None:
        self._plain.prepare_workflow(defn)

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        instance = self._plain.create_instance(det)
        activate = instance.activate

        def measured(activation: Any) -> Any:
            begun = time.thread_time()
            try:
                return activate(activation)
            finally:
                self.seconds += time.thread_time() - begun

        instance.activate = measured  # type: ignore[method-assign]
        return instance


async def by_the_replayer(runs: list[Recorded], histories: int) -> tuple[float, float, float]:
    replayer = Replayer(workflows=[FiftyEvents], workflow_runner=UnsandboxedWorkflowRunner())

    async def chosen(count: int) -> AsyncIterator[WorkflowHistory]:
        for number in range(count):
            recorded = runs[number % DIFFERENT]
            yield WorkflowHistory(f"{recorded.workflow_id}-{number}", recorded.events)

    async def replay(count: int, say: Callable[[int], None] = lambda _: None) -> None:
        number = 0
        async with replayer.workflow_replay_iterator(chosen(count)) as results:
            async for result in results:
                assert result.replay_failure is None, result.replay_failure
                number += 1
                say(number)

    await replay(WARM_UP)
    begun, wall = time.process_time(), time.perf_counter()
    await replay(histories, say)
    return time.process_time() - begun, time.perf_counter() - wall, 0.0


def say(through: int) -> None:
    if through % SAID_EVERY == 0:
        print(through, file=sys.stderr, flush=True)


async def main(way: str, histories: int) -> None:
    runs = await made()
    cpu, wall, inside = await (by_the_core if way == "core" else by_the_replayer)(runs, histories)
    visit = Visit(
        way=way,
        histories=histories,
        events=len(runs[0].events),
        cpu_seconds=cpu,
        wall_seconds=wall,
        inside_seconds=inside,
        memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )
    print(json.dumps(asdict(visit)))


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
