"""dbos-compat: the program of the ``temporal`` contender with its one line changed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import dbos_compat
from benchmarks.contenders.temporal_app import worker_session
from benchmarks.load import Execute, serve
from benchmarks.protocol import Job


@asynccontextmanager
async def session(job: Job) -> AsyncIterator[Execute]:
    client = await dbos_compat.connect(job.url)
    try:
        async with worker_session(client, sandboxed=job.sandboxed) as execute:
            yield execute
    finally:
        await dbos_compat.disconnect(client)


if __name__ == "__main__":
    serve(session)
