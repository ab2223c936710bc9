"""A Temporal development server for a while: in memory, on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from temporalio.client import Client
from temporalio.service import RPCError

READY_WITHIN_S = 30.0


def temporal_command() -> str | None:
    """The ``temporal`` command, beside this Python or on the PATH."""
    beside = Path(sys.executable).with_name("temporal")
    return str(beside) if beside.exists() else shutil.which("temporal")


@contextlib.asynccontextmanager
async def development_server(command: str) -> AsyncIterator[Client]:
    """A client of a server that goes away afterwards.

    Raises:
        TimeoutError: it did not start.
    """
    port, http_port = _free_ports(2)
    words = ["server", "start-dev", "--headless", "--ip", "127.0.0.1", "--log-level", "never"]
    words += ["--port", str(port), "--http-port", str(http_port)]
    nothing = asyncio.subprocess.DEVNULL
    server = await asyncio.create_subprocess_exec(command, *words, stdin=nothing, stdout=nothing, stderr=nothing)
    try:
        yield await _connected(f"127.0.0.1:{port}")
    finally:
        server.kill()
        await server.wait()


async def _connected(address: str) -> Client:
    async with asyncio.timeout(READY_WITHIN_S):
        while True:
            with contextlib.suppress(RPCError, RuntimeError):
                client = await Client.connect(address, identity="the checkout example")
                await client.count_workflows()
                return client
            await asyncio.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago; all held at once, so that they differ."""
    with contextlib.ExitStack() as sockets:
        ports = []
        for _ in range(count):
            probe = sockets.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
        return ports
