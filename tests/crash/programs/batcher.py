"""A process that orders a batch operation, carries it on, and gets killed in the middle.

Environment: ``DBOS_SYSTEM_DATABASE_URL``, ``CRASH_LEASE_SECONDS``; arguments: the job id, a filter, operations a second.
"""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import timedelta

from temporalio.api.batch.v1 import BatchOperationSignal
from temporalio.api.workflowservice.v1 import DescribeBatchOperationRequest, StartBatchOperationRequest

import dbos_compat

LOOK_EVERY_S = 0.05


async def main(job_id: str, query: str, per_second: float) -> None:
    lease = timedelta(seconds=float(os.environ["CRASH_LEASE_SECONDS"]))
    client = await dbos_compat.connect(os.environ["DBOS_SYSTEM_DATABASE_URL"], lease=lease)
    await client.workflow_service.start_batch_operation(
        StartBatchOperationRequest(
            namespace=client.namespace,
            job_id=job_id,
            reason="to be killed",
            visibility_query=query,
            signal_operation=BatchOperationSignal(signal="ring", identity="batcher"),
            max_operations_per_second=per_second,
        )
    )
    done = -1
    while True:
        found = await client.workflow_service.describe_batch_operation(
            DescribeBatchOperationRequest(namespace=client.namespace, job_id=job_id)
        )
        if found.complete_operation_count != done:
            done = found.complete_operation_count
            print(f"done {done}", flush=True)
        await asyncio.sleep(LOOK_EVERY_S)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
