"""The floor: one-row durable commits, one connection per slot, as pgbench would do them.

One operation here is one commit, not a workflow. It shows what the disk and the server allow to anybody who
commits row by row; group commit is the way to go below it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from benchmarks.load import Execute, serve
from benchmarks.protocol import Job

TABLE = "create table if not exists floor (id bigint generated always as identity primary key, value integer)"
INSERT = "insert into floor (value) values ($1)"


@asynccontextmanager
async def session(job: Job) -> AsyncIterator[Execute]:
    connections: asyncio.Queue[asyncpg.Connection] = asyncio.Queue()
    for _ in range(job.inflight):
        connections.put_nowait(await asyncpg.connect(job.url))
    first = await connections.get()
    await first.execute(TABLE)
    connections.put_nowait(first)

    async def execute(number: int) -> int:
        connection = connections.get_nowait()  # as many connections as slots: there is always one
        try:
            await connection.execute(INSERT, number)
        finally:
            connections.put_nowait(connection)
        return number + 2

    yield execute
    while not connections.empty():
        await connections.get_nowait().close()


if __name__ == "__main__":
    serve(session)
