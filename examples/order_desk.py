"""Orders that are found again: search attributes, list filters, counts by status, and a batch over what a filter finds.

    python -m examples.order_desk

places some orders and looks for them, on the database that ``DBOS_SYSTEM_DATABASE_URL`` names, or on an embedded one; with
``TEMPORAL_ADDRESS`` set on a Temporal server, whose listings follow a moment later.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid

from temporalio import workflow
from temporalio.api.batch.v1 import BatchOperationSignal
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.workflowservice.v1 import StartBatchOperationRequest
from temporalio.client import Client, WorkflowHandle
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.service import RPCError
from temporalio.worker import Worker

QUEUE = "orders"
CUSTOMER = SearchAttributeKey.for_keyword("OrderCustomer")
CENTS = SearchAttributeKey.for_int("OrderCents")
STATE = SearchAttributeKey.for_keyword("OrderState")
KINDS = {
    CUSTOMER.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    CENTS.name: IndexedValueType.INDEXED_VALUE_TYPE_INT,
    STATE.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
}


@workflow.defn
class Order:
    """Waits for its payment, and says in its attributes how far it is."""

    def __init__(self) -> None:
        self.paid = False

    @workflow.run
    async def run(self) -> str:
        workflow.upsert_search_attributes([STATE.value_set("open")])
        await workflow.wait_condition(lambda: self.paid)
        workflow.upsert_search_attributes([STATE.value_set("paid")])
        return str(workflow.memo_value("note", type_hint=str))

    @workflow.signal
    def pay(self) -> None:
        self.paid = True


async def add_attributes(client: Client) -> None:
    """A Temporal server wants them declared; here it makes filters strict."""
    with contextlib.suppress(RPCError):  # they are there
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(namespace=client.namespace, search_attributes=KINDS)
        )


async def place(client: Client, order_id: str, customer: str, cents: int) -> WorkflowHandle[Order, str]:
    return await client.start_workflow(
        Order.run,
        id=order_id,
        task_queue=QUEUE,
        memo={"note": f"for {customer}"},
        search_attributes=TypedSearchAttributes(
            [SearchAttributePair(CUSTOMER, customer), SearchAttributePair(CENTS, cents)]
        ),
    )


async def found(client: Client, where: str) -> list[str]:
    return sorted([run.id async for run in client.list_workflows(where)])


async def by_status(client: Client, where: str) -> dict[str, int]:
    count = await client.count_workflows(f"{where} GROUP BY ExecutionStatus")
    return {str(group.group_values[0]): group.count for group in count.groups}


async def pay_all(client: Client, where: str) -> None:
    """A signal to each run that the filter finds, by the server's own loop."""
    await client.workflow_service.start_batch_operation(
        StartBatchOperationRequest(
            namespace=client.namespace,
            visibility_query=where,
            job_id=str(uuid.uuid4()),
            reason="the bank has paid",
            signal_operation=BatchOperationSignal(signal="pay", identity=client.identity),
        )
    )


async def main() -> None:
    if address := os.environ.get("TEMPORAL_ADDRESS"):
        client = await Client.connect(address)
    else:
        import dbos_compat

        client = await dbos_compat.connect()
    await add_attributes(client)
    async with Worker(client, task_queue=QUEUE, workflows=[Order]):
        for number, (customer, cents) in enumerate([("ada", 900), ("ada", 12_000), ("bob", 450)], 1):
            with contextlib.suppress(RPCError):
                await place(client, f"order-{number}", customer, cents)
        ours = "WorkflowType = 'Order'"
        while len(await found(client, f"{ours} AND OrderState = 'open'")) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        print("of ada, above 10.00:", await found(client, f"{ours} AND OrderCustomer = 'ada' AND OrderCents > 1000"))
        await pay_all(client, f"{ours} AND OrderCustomer IN ('ada', 'bob') AND OrderCents BETWEEN 400 AND 1000")
        while (statuses := await by_status(client, ours)).get("Completed", 0) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        print("by status:", statuses)
        await client.get_workflow_handle("order-2").terminate("the example is over")
    if not address:
        await dbos_compat.disconnect(client)


if __name__ == "__main__":
    asyncio.run(main())
