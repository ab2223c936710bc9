"""Callers: who starts the workflow, signals it, updates it, asks it and cancels it, through temporalio's own client.

A caller outlives the process that it talks to: a request whose answer was lost is sent again with the same request id, as
a client would.
"""

from __future__ import annotations

import contextvars
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message as ProtoMessage
from temporalio.client import Client, WorkflowUpdateFailedError
from temporalio.exceptions import TemporalError
from temporalio.service import RPCError

from dbos_shadow.determinism.process import Process

Ask = Callable[[Client], Awaitable[Any]]

_current: contextvars.ContextVar[Call] = contextvars.ContextVar("dbos_shadow.determinism.call")


@dataclass(slots=True, eq=False)
class Call:
    """One request, until it is answered."""

    kind: str
    """start, signal, update, query, cancel"""
    name: str
    id: str
    """The request's or the update's."""
    ask: Ask
    values: tuple[int, ...] = ()
    """Which values its arguments have."""
    task: Any = None
    process: Process | None = None
    answered: bool = False
    error: str | None = None
    """Why it was refused, in the caller's words."""
    unsent: bool = False
    """It never left the client: what the test has given for it cannot be sent."""
    acked_before: tuple[str, ...] = ()
    """Ids of the signals that had been acknowledged when this one was sent."""
    tried: int = 0
    duplicate: bool = False

    @property
    def open(self) -> bool:
        return not self.answered


def stamped(req: ProtoMessage) -> None:
    """Give a request the id of the call that it is made for: what the client makes up differs each time."""
    call = _current.get(None)
    if call is not None and "request_id" in req.DESCRIPTOR.fields_by_name:
        req.request_id = call.id  # type: ignore[attr-defined]


@dataclass(slots=True)
class Callers:
    """All calls of a schedule."""

    told: Callable[[Call], None]
    """Called when a call is answered or refused."""
    calls: list[Call] = field(default_factory=list)
    waiting: list[Call] = field(default_factory=list)
    acked: list[str] = field(default_factory=list)
    """Ids of acknowledged signals, in order."""

    def send(self, call: Call, process: Process) -> None:
        """Begin it. Its answer comes when the process gets round to it."""
        call.acked_before = tuple(self.acked)
        self.calls.append(call)
        self.waiting.append(call)
        self._try(call, process)

    def _try(self, call: Call, process: Process) -> None:
        call.process = process
        call.tried += 1
        client = process.stage.client

        async def asked() -> None:
            _current.set(call)
            try:
                await call.ask(client)
            except WorkflowUpdateFailedError as error:
                call.error = str(error.cause)
            except RPCError as error:
                call.error = error.message
            except Exception as error:
                call.error = f"{type(error).__name__}: {error}"
                call.unsent = not isinstance(error, TemporalError)

        call.task = process.loop.create_task(asked())

    def again(self, process: Process) -> None:
        """Requests whose process died go to another one."""
        for call in self.waiting:
            if call.process is not process and (call.process is None or call.process.dead):
                self._try(call, process)

    def listen(self) -> None:
        """Who has been answered?"""
        if not self.waiting:
            return
        still: list[Call] = []
        for call in self.waiting:
            if not call.task.done():
                still.append(call)
                continue
            call.answered = True
            if call.kind == "signal" and call.error is None and not call.duplicate:
                self.acked.append(call.id)
            self.told(call)
        self.waiting = still
