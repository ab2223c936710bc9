"""DBOS Transact: a native async workflow with two async steps, stock settings, awaited directly."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from dbos import DBOS, DBOSConfig

from benchmarks.load import Execute, serve
from benchmarks.protocol import Job


@DBOS.step()
async def first_step(number: int) -> int:
    return number + 1


@DBOS.step()
async def second_step(number: int) -> int:
    return number + 1


@DBOS.workflow()
async def two_steps(number: int) -> int:
    return await second_step(await first_step(number))


@asynccontextmanager
async def session(job: Job) -> AsyncIterator[Execute]:
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": job.url,
        "application_version": "bench",
        "log_level": "WARNING",
    }
    DBOS(config=config)
    DBOS.launch()

    async def execute(number: int) -> int:
        return await two_steps(number)

    yield execute
    DBOS.destroy()


if __name__ == "__main__":
    serve(session)
