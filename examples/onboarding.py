"""A workflow that changes while runs of it are open: three versions of its code, and no run that minds.

    python -m examples.onboarding

starts a run under the first version and finishes it under the second, on the database that ``DBOS_SYSTEM_DATABASE_URL``
names, or on an embedded one; with ``TEMPORAL_ADDRESS`` set on a Temporal server. In a repository the three classes are
three states of one file; here they stand side by side, under the same workflow type.
"""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

QUEUE = "onboarding"
WELCOME_BY_LETTER = "welcome-by-letter"


@activity.defn
async def send(what: str, to: str) -> str:
    return f"{what} to {to}"


async def sent(what: str, to: str) -> str:
    return await workflow.execute_activity(send, args=[what, to], start_to_close_timeout=timedelta(minutes=1))


@workflow.defn(name="Onboarding")
class First:
    """As it was written at first: an e-mail when the customer has confirmed."""

    def __init__(self) -> None:
        self.confirmed = False

    @workflow.run
    async def run(self, customer: str) -> list[str]:
        done = [await sent("request", customer)]
        await workflow.wait_condition(lambda: self.confirmed)
        return [*done, await sent("e-mail", customer)]

    @workflow.signal
    def confirm(self) -> None:
        self.confirmed = True


@workflow.defn(name="Onboarding")
class Second:
    """A letter comes first, for runs that have not passed this place yet. Those that have, do as before."""

    def __init__(self) -> None:
        self.confirmed = False

    @workflow.run
    async def run(self, customer: str) -> list[str]:
        done = []
        if workflow.patched(WELCOME_BY_LETTER):
            done.append(await sent("letter", customer))
        done.append(await sent("request", customer))
        await workflow.wait_condition(lambda: self.confirmed)
        return [*done, await sent("e-mail", customer)]

    @workflow.signal
    def confirm(self) -> None:
        self.confirmed = True


@workflow.defn(name="Onboarding")
class Third:
    """No run of the first version is open any more: the old way can go, the mark stays until none of the second is."""

    def __init__(self) -> None:
        self.confirmed = False

    @workflow.run
    async def run(self, customer: str) -> list[str]:
        workflow.deprecate_patch(WELCOME_BY_LETTER)
        done = [await sent("letter", customer), await sent("request", customer)]
        await workflow.wait_condition(lambda: self.confirmed)
        return [*done, await sent("e-mail", customer)]

    @workflow.signal
    def confirm(self) -> None:
        self.confirmed = True


async def asked(handle: WorkflowHandle[Any, Any]) -> bool:
    """Has the request gone out?"""
    events = (await handle.fetch_history()).events
    return any(event.HasField("activity_task_completed_event_attributes") for event in events)


async def main() -> None:
    if address := os.environ.get("TEMPORAL_ADDRESS"):
        client = await Client.connect(address)
    else:
        import dbos_compat

        client = await dbos_compat.connect()
    async with Worker(client, task_queue=QUEUE, workflows=[First], activities=[send]):
        old = await client.start_workflow("Onboarding", "ada", id="onboarding-ada", task_queue=QUEUE, result_type=list)
        while not await asked(old):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    async with Worker(client, task_queue=QUEUE, workflows=[Second], activities=[send]):
        new = await client.start_workflow("Onboarding", "bob", id="onboarding-bob", task_queue=QUEUE, result_type=list)
        for handle in (old, new):
            await handle.signal(First.confirm)
            print(handle.id, await handle.result())
    if not address:
        await dbos_compat.disconnect(client)


if __name__ == "__main__":
    asyncio.run(main())
