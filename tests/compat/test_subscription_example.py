"""The example of a workflow that lives for years, on every engine."""

from __future__ import annotations

import pytest
from temporalio.client import Client, WorkflowUpdateFailedError

from examples.subscription import MONTHS_PER_RUN, QUEUE, Subscription, SubscriptionWorkflow, charge, subscribe

from .chains import ended, runs
from .support import MakeWorker, eventually


async def test_a_subscription_of_several_years(client: Client, make_worker: MakeWorker, unique: str) -> None:
    async with make_worker(client, task_queue=QUEUE, workflows=[SubscriptionWorkflow], activities=[charge]):
        handle = await subscribe(client, Subscription(customer=unique, cents=900, month_s=0.001))

        async def in_the_second_year() -> None:
            assert len(await runs(client, handle)) > 1

        await eventually(in_the_second_year, within_s=25)
        with pytest.raises(WorkflowUpdateFailedError):
            await handle.execute_update(SubscriptionWorkflow.change_price, 0)
        assert await handle.execute_update(SubscriptionWorkflow.change_price, 1200) == 900
        await handle.signal(SubscriptionWorkflow.end)
        months = await handle.result()
        assert months > MONTHS_PER_RUN
        histories = await runs(client, handle)
        assert ended(histories[-1]) == "COMPLETED"
        assert {ended(events) for events in histories[:-1]} == {"CONTINUED_AS_NEW"}
