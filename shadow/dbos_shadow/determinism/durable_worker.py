"""The worker process that is killed: ``python -m dbos_shadow.determinism.durable_worker``.

It is told what to do over a socket that it inherits (its descriptor is the only argument), a line of JSON each, and
answers each line with one. Its workflows, its kernel and its commits are real. Its clock stands still until it is told
another time, and its activities do nothing: an attempt waits until it is told how to end.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from base64 import b64decode
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from dbos_compat.connect import URL_VARIABLE, connect_store
from dbos_compat.engine import Engine
from dbos_core.activities.moves import State
from dbos_core.kernel import Kernel
from dbos_core.store.postgres.store import PostgresStore
from dbos_core.testing import VirtualClock
from dbos_core.testing.clock import settle
from dbos_shadow.determinism.children import PREFIX
from dbos_shadow.determinism.elsewhere import module_at

_BEAT_S = 0.1
_ALARMS_MAX = 1_000
BUILD_ID = "determinism"
"""Without one the SDK reads all code there is to make one, at each start."""
_FOR_EVER = timedelta(days=3650)
_FAILED = "failed"
"""Marks the payload by which a child is told with what error it ends."""
_IDLE = frozenset({State.BACKOFF, State.SPENT})

_answers: dict[str, Any] = {}
_waiting: list[tuple[str, str, bool]] = []
"""Of each attempt that runs: key, type, is it a local activity."""
_told = asyncio.Event()


def key_of(activity_type: str, workflow_id: str, run_id: str, activity_id: str) -> str:
    """By what an attempt is told how to end: a child by its workflow id, an activity by its own and the run's."""
    return f"child {workflow_id}" if activity_type.startswith(PREFIX) else f"{run_id} {activity_id}"


@activity.defn(dynamic=True)
async def scripted(args: Sequence[RawValue]) -> Any:
    """Every activity, and the end of every child."""
    info = activity.info()
    key = key_of(info.activity_type, info.workflow_id or "", info.workflow_run_id or "", info.activity_id)
    here = (key, info.activity_type, info.is_local)
    _waiting.append(here)
    try:
        asked_to_stop = False
        while True:
            try:
                answer = _answers.get(key)
                if answer is None:
                    await _told.wait()
                elif answer["how"] == "canceled":
                    if asked_to_stop:
                        raise asyncio.CancelledError
                    activity.heartbeat()  # its answer may be that it is to stop
                    await asyncio.sleep(_BEAT_S)
                elif answer["how"] == "hangs":
                    if info.attempt <= answer["fail"]:
                        raise _error(answer["before"])
                    await asyncio.Event().wait()
                else:
                    return _end(answer, of_child=info.activity_type.startswith(PREFIX))
            except asyncio.CancelledError:
                why = activity.cancellation_details()
                if why is None or not why.cancel_requested or asked_to_stop:
                    raise
                asked_to_stop = True  # and goes on, unless that is how it has to end
    finally:
        _waiting.remove(here)


def _end(answer: Any, *, of_child: bool) -> Any:
    if answer["how"] == "failed":
        if of_child:  # which shall fail so at once, be it an error after which an activity is tried again
            told = json.dumps(answer["failure"]).encode()
            return RawValue(Payload(metadata={"encoding": b"json/plain", _FAILED: b"1"}, data=told))
        raise _error(answer["failure"])
    return raw(answer["values"][0]) if answer["values"] else None


def _error(told: Any) -> ApplicationError:
    error = ApplicationError(
        told["message"],
        *map(raw, told["details"]),
        type=told["type"] or None,
        non_retryable=told["non_retryable"],
    )
    if told["cause"] is not None:
        error.__cause__ = _error(told["cause"])
    return error


def raw(wire: Sequence[str]) -> RawValue:
    """A value as it travelled (:func:`~dbos_shadow.determinism.durable_script.wire`)."""
    encoding, data = wire
    return RawValue(Payload(metadata={"encoding": encoding.encode()}, data=b64decode(data)))


@workflow.defn(dynamic=True, sandboxed=False)
class PlayedChild:
    """Every child. Who kills its worker does not change how it ends: its attempts are not bounded."""

    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> Any:
        try:
            ended: RawValue = await workflow.execute_activity(
                PREFIX + workflow.info().workflow_type,
                args=args,
                schedule_to_close_timeout=_FOR_EVER,
                result_type=RawValue,
            )
        except ActivityError as error:
            raise (error.cause or error) from None
        if _FAILED in ended.payload.metadata:
            raise _error(json.loads(ended.payload.data))
        return ended


class Player:
    """What a worker can be told, by name."""

    def __init__(self, kernel: Kernel, clock: VirtualClock) -> None:
        self._kernel = kernel
        self._clock = clock

    async def state(self) -> dict[str, Any]:
        """What goes on here, and what time is waited for."""
        kernel = self._kernel
        await settle()
        runs = list(kernel.live_runs.values())
        idle, lively = list[str](), set[str]()
        for machine in (m for uuid in kernel.live_runs for m in kernel.activities.pending(uuid)):
            spec, run = machine.spec, machine.run
            key = key_of(spec.activity_type, run.workflow_id, run.run_id, spec.activity_id)
            unserved = machine.state is State.OFFERED and not kernel.activities.serves(spec.task_queue)
            idle.append(key) if unserved or machine.state in _IDLE else lively.add(key)
        locals_here = sum(local for _, _, local in _waiting)
        return {
            "process": kernel.process_id,
            "busy": bool(
                any(run.busy or run.errands for run in runs)
                or kernel.claims.arriving
                or not kernel.writer.rests()
                or lively.difference(key for key, _, _ in _waiting)
                or sum(run.locals.under_way for run in runs) > locals_here
            ),
            "failing": next((str(r.failing.failure.message) for r in runs if r.failing and r.failing.failure), None),
            "runs": list(kernel.live_runs),
            "waiting": [(key, type_) for key, type_, _ in _waiting],
            "idle": idle,
            "next_ms": self._clock.next_ms,
        }

    async def now(self, ms: int) -> None:
        """It is another time."""
        clock = self._clock
        clock.jump(ms - clock.now_ms())
        for _ in range(_ALARMS_MAX):
            next_ms = clock.next_ms
            if next_ms is None or next_ms > clock.now_ms():
                break
            clock.advance_to_next()
            await settle()
        await self._kernel.claims.look_around()

    async def answer(self, key: str, told: Any) -> None:
        """How attempts of an activity end."""
        _answers[key] = told
        _told.set()
        _told.clear()


async def main(descriptor: int) -> None:
    """Serve until killed, or until whoever gives the orders is gone."""
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=descriptor), limit=1 << 26)

    async def heard() -> Any:
        line = await reader.readline()
        if not line:
            os._exit(0)
        return json.loads(line)

    async def say(answer: Any) -> None:
        writer.write(json.dumps(answer).encode() + b"\n")
        await writer.drain()

    order = await heard()
    found: Any = module_at(order["module"], order["file"])
    for part in order["name"].split("."):
        found = getattr(found, part)
    begin = await heard()
    clock = VirtualClock(begin["now_ms"])
    store = PostgresStore(os.environ[URL_VARIABLE], namespace=order["namespace"], create=False)
    client = await connect_store(store, namespace=order["namespace"], clock=clock)
    engine: Any = client.service_client
    assert isinstance(engine.engine, Engine)
    player = Player(engine.engine.kernel, clock)
    options: dict[str, Any] = {"build_id": BUILD_ID}
    if not order["sandboxed"]:
        options["workflow_runner"] = UnsandboxedWorkflowRunner()
    async with contextlib.AsyncExitStack() as workers:
        for queue in order["queues"]:
            worker = Worker(client, task_queue=queue, workflows=[found, PlayedChild], activities=[scripted], **options)
            await workers.enter_async_context(worker)
        await say("serves")
        while True:
            told = await heard()
            await say(await getattr(player, told.pop("do"))(**told))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
