"""Workers and their options: slots, rates, an interceptor, a graceful shutdown that loses nothing.

    python -m examples.fleet

renders films on the database that ``DBOS_SYSTEM_DATABASE_URL`` names, or on an embedded one; with ``TEMPORAL_ADDRESS`` set
on a Temporal server. One worker runs the workflows, another one the heavy activities of a queue of their own. The second
is taken down in the middle, as a deployment does; its activity writes down how far it has come, and goes on from there.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    FixedSizeSlotSupplier,
    Interceptor,
    Worker,
    WorkerTuner,
)

QUEUE = "films"
HEAVY_QUEUE = "films-heavy"
FRAMES = 20


class Frames:
    """Renders frame by frame; a frame that was drawn is not drawn again."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.drawn: Counter[str] = Counter()

    @activity.defn
    async def render(self, film: str) -> int:
        """Draws until the film is done, or until the worker has to go."""
        details = activity.info().heartbeat_details
        for frame in range(int(details[0]) if details else 0, FRAMES):
            if activity.is_worker_shutdown():
                raise ApplicationError("the worker goes home; another one takes over")
            await asyncio.sleep(self.seconds)
            self.drawn[f"{film}-{frame}"] += 1
            activity.heartbeat(frame + 1)
        return FRAMES


@workflow.defn
class Film:
    @workflow.run
    async def run(self, film: str) -> int:
        return await workflow.execute_activity_method(
            Frames.render,
            film,
            task_queue=HEAVY_QUEUE,
            start_to_close_timeout=timedelta(minutes=5),
            heartbeat_timeout=timedelta(seconds=30),
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=50), backoff_coefficient=1),
        )


class Attempts(Interceptor):
    """Counts the attempts, of whatever activity."""

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        return _Counting(next, self.count)


class _Counting(ActivityInboundInterceptor):
    def __init__(self, following: ActivityInboundInterceptor, count: Counter[str]) -> None:
        super().__init__(following)
        self.count = count

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        self.count[str(input.args[0])] += 1
        return await super().execute_activity(input)


async def fatal(error: BaseException) -> None:
    print(f"a worker ends: {error}")


def heavy_options(frames: Frames, attempts: Attempts) -> dict[str, Any]:
    """Of a worker that renders two films at once and begins at most ten a second; it goes within half a minute."""
    slots = FixedSizeSlotSupplier(2)
    return {
        "task_queue": HEAVY_QUEUE,
        "activities": [frames.render],
        "interceptors": [attempts],
        "tuner": WorkerTuner.create_composite(
            workflow_supplier=slots,
            activity_supplier=slots,
            local_activity_supplier=slots,
            nexus_supplier=slots,
        ),
        "max_activities_per_second": 10,
        "graceful_shutdown_timeout": timedelta(seconds=30),
        "max_heartbeat_throttle_interval": timedelta(milliseconds=100),
        "on_fatal_error": fatal,
    }


async def main() -> None:
    if address := os.environ.get("TEMPORAL_ADDRESS"):
        client = await Client.connect(address)
    else:
        import dbos_compat

        client = await dbos_compat.connect()
    frames, attempts = Frames(0.05), Attempts()
    async with Worker(client, task_queue=QUEUE, workflows=[Film]):
        async with Worker(client, **heavy_options(frames, attempts)):
            films = [
                await client.start_workflow(Film.run, name, id=f"film-{name}", task_queue=QUEUE)
                for name in ("ark", "bat", "cup")
            ]
            while sum(frames.drawn.values()) < FRAMES // 2:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            print("a deployment: the heavy worker goes after", sum(frames.drawn.values()), "frames")
        async with Worker(client, **heavy_options(frames, attempts)):
            print("rendered:", [await film.result() for film in films])
    print("attempts:", dict(attempts.count), "- frames drawn twice:", sum(n > 1 for n in frames.drawn.values()))
    if not address:
        await dbos_compat.disconnect(client)


if __name__ == "__main__":
    asyncio.run(main())
