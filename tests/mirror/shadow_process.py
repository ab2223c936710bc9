"""The worker of a mirror as a program, to be killed: ``python -m tests.mirror.shadow_process <temporal> <database>``."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta

from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner

from dbos_core.store.postgres.results import PostgresResults
from dbos_shadow.mirror import MirrorWorker
from dbos_shadow.mirror.keeping import Kept
from dbos_shadow.verdict import Judgement
from tests.mirror.programs import WORKFLOWS


def tell(judgement: Judgement) -> None:
    print(
        "judged", judgement.workflow_id, judgement.run_id, judgement.verdict, judgement.way, judgement.note, flush=True
    )


async def main(address: str, url: str) -> None:
    results = PostgresResults(url)
    await results.open()
    worker = MirrorWorker(
        await Client.connect(address),
        url=url,
        workflows=WORKFLOWS,
        workflow_runner=UnsandboxedWorkflowRunner(),
        on_judgement=tell,
        kept=Kept(results=results, key=b"the same one each time"),
        lease=timedelta(seconds=2),
    )
    async with worker:
        print("following", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
