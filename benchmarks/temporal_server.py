"""A Temporal development server on loopback, started for one visit and gone after it."""

import asyncio
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.environments import CACHE, Environment

START_SECONDS = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def temporal_server(environment: Environment, *, durable: bool) -> AsyncIterator[tuple[str, int]]:
    """Yields its address and its process id. Durable means a database file, otherwise it keeps all in memory."""
    CACHE.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="temporal-", dir=CACHE))
    port = free_port()
    arguments = ["server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", str(port), "--log-level", "error"]
    if durable:
        arguments += ["--db-filename", str(folder / "temporal.db")]
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            environment.script("temporal"), *arguments, stdout=log, stderr=log, cwd=folder
        )
    try:
        await _listening(port, process, folder / "log")
        yield f"127.0.0.1:{port}", process.pid
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 10)
            except TimeoutError:
                process.kill()
                await process.wait()
        shutil.rmtree(folder, ignore_errors=True)


async def _listening(port: int, process: asyncio.subprocess.Process, log: Path) -> None:
    deadline = asyncio.get_running_loop().time() + START_SECONDS
    while asyncio.get_running_loop().time() < deadline:
        if process.returncode is not None:
            raise RuntimeError(f"the Temporal server ended at once: {log.read_text(errors='replace')[-500:]}")
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return
    raise RuntimeError(f"the Temporal server did not listen on port {port} within {START_SECONDS:.0f} s")
