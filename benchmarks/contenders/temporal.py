"""Temporal: a stock client and worker on a development server on loopback."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from temporalio.client import Client

from benchmarks.contenders.temporal_app import worker_session
from benchmarks.load import Execute, serve
from benchmarks.protocol import Job


@asynccontextmanager
async def session(job: Job) -> AsyncIterator[Execute]:
    client = await Client.connect(job.url)
    async with worker_session(client, sandboxed=job.sandboxed) as execute:
        yield execute


if __name__ == "__main__":
    serve(session)
