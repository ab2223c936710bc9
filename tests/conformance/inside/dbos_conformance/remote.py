"""Two processes: the RPCs of this one answered by another, over a pipe.

A message is one pickle-free frame: a JSON head (rpc, service, timeout …) and the protobuf bytes.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import struct
import sys
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TypeVar

import google.protobuf.message
import google.protobuf.symbol_database
from temporalio.client import Client
from temporalio.service import ConnectConfig, RPCError, RPCStatusCode

from dbos_compat.elsewhere import Elsewhere
from dbos_compat.engine import Engine
from dbos_compat.private import EngineServiceClient

Response = TypeVar("Response", bound=google.protobuf.message.Message)


# -- frames ------------------------------------------------------------------------------------------------------------


def _frame(head: Mapping[str, Any], body: bytes) -> bytes:
    text = json.dumps(head).encode()
    return struct.pack(">II", len(text), len(body)) + text + body


async def _read(reader: asyncio.StreamReader) -> tuple[dict[str, Any], bytes]:
    head, body = struct.unpack(">II", await reader.readexactly(8))
    values: dict[str, Any] = json.loads(await reader.readexactly(head))
    return values, await reader.readexactly(body)


# -- this side ---------------------------------------------------------------------------------------------------------


class RpcProcess:
    """The other process, and the calls that wait for its answer."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._writer = process.stdin
        self._reader = process.stdout
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[tuple[dict[str, Any], bytes]]] = {}
        self._receiving = asyncio.ensure_future(self._receive())

    @classmethod
    async def start(cls, url: str) -> RpcProcess:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            __file__,
            env={**os.environ, "CONFORMANCE_URL": url},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=64 << 20,
        )
        return cls(process)

    async def call(self, head: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        number = next(self._numbers)
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._writer.write(_frame({**head, "number": number}, body))
        try:
            answer: tuple[dict[str, Any], bytes] = await future
            return answer
        finally:
            self._waiting.pop(number, None)
            if future.cancelled():
                self._writer.write(_frame({"cancel": number, "number": number}, b""))

    async def _receive(self) -> None:
        try:
            while True:
                head, body = await _read(self._reader)
                future = self._waiting.get(head["number"])
                if future is not None and not future.done():
                    future.set_result((head, body))
        except asyncio.IncompleteReadError:
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(ConnectionError("the process that answers RPCs has ended"))

    async def close(self) -> None:
        self._writer.close()
        try:
            await asyncio.wait_for(self._process.wait(), 10)
        except TimeoutError:
            self._process.kill()
            raise
        await self._receiving


class RemoteServiceClient(EngineServiceClient):
    """Workers stay here, on the local engine; every RPC goes to the other process, from whatever loop it comes."""

    def __init__(self, config: ConnectConfig, engine: Engine, process: Elsewhere[RpcProcess]) -> None:
        super().__init__(config, engine)
        self._process = process

    async def _rpc_call(
        self,
        rpc: str,
        req: google.protobuf.message.Message,
        resp_type: type[Response],
        *,
        service: str,
        retry: bool,
        metadata: Mapping[str, str | bytes],
        timeout: timedelta | None,
    ) -> Response:
        head = {
            "rpc": rpc,
            "type": req.DESCRIPTOR.full_name,
            "service": service,
            "timeout": timeout.total_seconds() if timeout is not None else None,
        }
        message = req.SerializeToString()
        answer, body = await self._process.call(lambda process: process.call(head, message))
        if "error" in answer:
            raise RPCError(answer["error"], RPCStatusCode(answer["status"]), body)
        if "raised" in answer:
            raise RuntimeError(answer["raised"])
        return resp_type.FromString(body)


# -- the other side ----------------------------------------------------------------------------------------------------


async def _answer(client: Client, head: dict[str, Any], body: bytes) -> bytes:
    service = client.service_client
    assert isinstance(service, EngineServiceClient)
    request = google.protobuf.symbol_database.Default().GetSymbol(head["type"])()
    request.ParseFromString(body)
    timeout = timedelta(seconds=head["timeout"]) if head["timeout"] is not None else None
    number = {"number": head["number"]}
    try:
        response = await service.engine.call(
            head["rpc"], request, service=head["service"], metadata={}, timeout=timeout
        )
    except RPCError as error:
        return _frame({**number, "error": error.message, "status": int(error.status)}, error.raw_grpc_status)
    except Exception as error:
        return _frame({**number, "raised": f"{type(error).__name__}: {error}"}, b"")
    return _frame(number, response.SerializeToString())


async def _serve() -> None:
    import dbos_compat

    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=64 << 20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    transport, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(os.dup(1), "wb"))
    sys.stdout = sys.stderr
    client = await dbos_compat.connect(os.environ["CONFORMANCE_URL"])
    calls: dict[int, asyncio.Task[None]] = {}

    async def call(head: dict[str, Any], body: bytes) -> None:
        transport.write(await _answer(client, head, body))

    try:
        while True:
            head, body = await _read(reader)
            number = head["number"]
            if "cancel" in head:
                if task := calls.get(number):
                    task.cancel()
                continue
            calls[number] = task = asyncio.ensure_future(call(head, body))
            task.add_done_callback(lambda _, number=number: calls.pop(number, None))  # type: ignore[misc]
    except asyncio.IncompleteReadError:
        pass
    finally:
        for task in calls.values():
            task.cancel()
        await dbos_compat.disconnect(client)


if __name__ == "__main__":
    asyncio.run(_serve())
