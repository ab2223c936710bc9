"""Durable: what was found in memory, on a real Postgres, with a real worker process that is really killed.

A schedule becomes a *script*: how each activity ends, and which messages come after how many of them. The script is played
once in peace and once for each place at which the worker is killed (SIGKILL at a failpoint); another worker goes on. The
ending must be the same, and Temporal's ``Replayer`` has to accept every history. Timers are real here: scripts in which a
workflow sleeps for long or an activity times out are left out, and so are those with several runs. Children are stubs here, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from temporalio.client import (
    Client,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.service import RPCError
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

import dbos_compat
from dbos_compat.native_threads import outlive_native_threads
from dbos_core import failpoints
from dbos_shadow.determinism.failure import DeterminismError, Rule
from dbos_shadow.determinism.inferred import inferred
from dbos_shadow.determinism.plan import Plan
from dbos_shadow.determinism.run import Lived, run_schedule
from dbos_shadow.trace import Arrival, ArrivalKind, Plain, StepKind

NAMESPACE = "determinism"
PLACES: Sequence[tuple[str, int]] = (
    ("writer.before_flush", 2),
    ("writer.after_flush", 1),
    ("writer.after_flush", 2),
    ("activity.before_start", 1),
    ("activity.before_report", 1),
)
"""Where the worker is killed, and at which passing. A place that a script does not pass is no harm."""
SCRIPTS_MAX = 3
SLEEPS_MS_MAX = 2_000
WITHIN_S = 60.0
_READY = "ready"
_STEPS = frozenset(
    {
        StepKind.ACTIVITY, StepKind.LOCAL_ACTIVITY, StepKind.TIMER, StepKind.PATCH, StepKind.CANCEL_TIMER,
        StepKind.CANCEL_ACTIVITY, StepKind.CHILD,
    }
)  # fmt: skip
_UPDATES = frozenset({StepKind.UPDATE_ACCEPTED, StepKind.UPDATE_COMPLETED})


@dataclass(frozen=True, slots=True)
class Said:
    """A message, and after how many ended activities it comes."""

    after: int
    kind: str
    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Script:
    """A schedule, as far as processes can play it."""

    decisions: tuple[int, ...]
    inputs: tuple[str, ...]
    endings: Mapping[str, tuple[bool, str]]
    """Id of an activity → does it complete, and its JSON result or the type of its error."""
    messages: tuple[Said, ...]
    waiting: tuple[str, ...] = ()
    """Ids of activities that go on until they are cancelled."""
    children: Mapping[str, tuple[bool, str]] = field(default_factory=dict)
    """How children end, by workflow id, and by type for those whose ids are made up."""
    bounded: bool = False
    """Some attempt may not be made again, so that whoever kills its worker changes how it ends."""


@dataclass(slots=True)
class Report:
    """What was played."""

    scripts: int = 0
    kills: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def __str__(self) -> str:
        left = "".join(f"; {count} left out: {why}" for why, count in sorted(self.left_out.items()))
        return f"{self.scripts} scripts on Postgres with {self.kills} kills in {self.seconds:.0f} s{left}"


class LeftOut(Exception):
    """Why a schedule is no script."""


def script_of(lived: Lived) -> Script:
    """The script of a schedule.

    Raises:
        LeftOut: processes cannot play it in reasonable time.
    """
    if len(lived.traces) != 1:
        raise LeftOut("it has not ended, or continued as new")
    trace = lived.traces[0]
    if any(step.kind not in _STEPS | _UPDATES for step in trace.steps):
        raise LeftOut("it signals or cancels other workflows")
    rung = [trace.steps[a.step] for a in trace.arrivals if a.kind is ArrivalKind.TIMER and a.step is not None]
    if sum(timer.duration_ms or 0 for timer in rung) > SLEEPS_MS_MAX:
        raise LeftOut("it sleeps for long")
    endings: dict[str, tuple[bool, str]] = {}
    messages: list[Said] = []
    waiting: list[str] = []
    children: dict[str, tuple[bool, str]] = {}
    for arrival in trace.arrivals:
        if arrival.kind in (ArrivalKind.ACTIVITY, ArrivalKind.LOCAL_ACTIVITY) and arrival.step is not None:
            step = trace.steps[arrival.step]
            if arrival.how == "canceled" and arrival.kind is ArrivalKind.ACTIVITY:
                waiting.append(step.id)
            elif arrival.how in ("completed", "failed"):
                endings[step.id] = _end_of(arrival)
            else:
                raise LeftOut("an activity times out")
        elif arrival.kind in (ArrivalKind.CHILD_STARTED, ArrivalKind.CHILD) and arrival.step is not None:
            step = trace.steps[arrival.step]
            if arrival.how not in ("completed", "failed") or (
                arrival.kind is ArrivalKind.CHILD_STARTED and arrival.how == "failed"
            ):
                raise LeftOut("a child is cancelled, or cannot be started")
            if arrival.kind is ArrivalKind.CHILD:
                children[f"id {step.id}"] = end = _end_of(arrival)
                children.setdefault(f"type {step.name}", end)
        elif arrival.is_message:
            messages.append(Said(len(endings), arrival.kind.value, arrival.name, _json(arrival.values)))
    bounded = any(
        name == "retry_maximum_attempts" and most for step in trace.steps for name, most in step.options or ()
    )
    return Script(lived.decisions, _json(trace.inputs), endings, tuple(messages), tuple(waiting), children, bounded)


def _end_of(arrival: Arrival) -> tuple[bool, str]:
    failed = arrival.failure.cause or arrival.failure if arrival.failure is not None else None
    return (False, failed.type) if failed is not None else (True, (_json(arrival.values) or ("null",))[0])


def _json(values: Sequence[Any]) -> tuple[str, ...]:
    if not all(isinstance(value, Plain) for value in values):
        raise LeftOut("a value is no JSON")
    return tuple(value.text for value in values)


def run_durably(
    workflow: type, kept: Sequence[Sequence[int]], url: str, *, scripts_max: int = SCRIPTS_MAX, sandboxed: bool = True
) -> Report:
    """Play schedules on a real Postgres, with kills.

    Args:
        workflow: the class; stubs are inferred from annotations.
        kept: decision lists, as ``check_workflow(...).kept`` has them.
        url: of the database; namespace ``determinism`` is used.
        scripts_max: how many different scripts are played.
        sandboxed: the workers run workflows in Temporal's sandbox.

    Raises:
        DeterminismError: a kill changes how the workflow ends, or Temporal's Replayer refuses a history.
    """
    plan = inferred(workflow, sandboxed=False)
    report = Report()
    begun = time.monotonic()
    found: dict[str, Script] = {}
    for decisions in ((), *kept):
        if len(found) == scripts_max:
            break
        try:
            script = script_of(run_schedule(plan, decisions))
        except LeftOut as reason:
            report.left_out[str(reason)] += 1
        else:
            told = script.inputs, script.endings, script.messages, script.waiting, script.children
            found.setdefault(repr(told), script)
    stage = _Stage(workflow, plan, url, sandboxed)
    asyncio.run(stage.play(list(found.values()), report))
    report.seconds = time.monotonic() - begun
    return report


@dataclass(slots=True)
class _Stage:
    workflow: type
    plan: Plan
    url: str
    sandboxed: bool

    async def play(self, scripts: Sequence[Script], report: Report) -> None:
        client = await dbos_compat.connect(self.url, namespace=NAMESPACE)
        try:
            for script in scripts:
                report.scripts += 1
                peaceful = [await self._once(client, script, None, report) for _ in range(2)]
                if peaceful[0] != peaceful[1]:
                    continue  # messages and activities race in it: no ending is the right one
                if script.bounded:
                    report.left_out["kills, as an attempt that dies may not be made again"] += 1
                for place, passing in PLACES if not script.bounded else ():
                    ending = await self._once(client, script, f"{place}=kill@{passing}", report)
                    if ending != peaceful[0]:
                        what = (
                            f"in peace it is {peaceful[0]}, with its worker killed ({place}, {passing}) it is {ending}."
                        )
                        raise self._broken(Rule.CRASH_FREE, what, script)
        finally:
            await dbos_compat.disconnect(client)

    async def _once(self, client: Client, script: Script, kill: str | None, report: Report) -> str:
        """One life of the script; how the workflow has ended."""
        queue = f"determinism-{uuid.uuid4()}"
        async with contextlib.AsyncExitStack() as stack:
            start = await stack.enter_async_context(self._workers(script, queue))
            victim = await start(kill)
            values = [json.loads(text) for text in script.inputs]
            name = self.plan.name
            handle = await client.start_workflow(name, args=values, id=queue, task_queue=queue)
            telling = asyncio.ensure_future(self._tell(client, handle, script))
            ended = asyncio.ensure_future(_ending(handle))
            deadline = time.monotonic() + WITHIN_S
            while not ended.done() and time.monotonic() < deadline:
                await asyncio.wait([ended], timeout=0.05)
                if victim.poll() is not None and not ended.done():
                    assert victim.returncode == -signal.SIGKILL, f"a worker ended by itself with {victim.returncode}"
                    report.kills += 1
                    victim = await start(None)
            telling.cancel()
            (told,) = await asyncio.gather(telling, return_exceptions=True)
            if isinstance(told, Exception):
                raise told
            if not ended.done():
                ended.cancel()
                await handle.terminate()
                raise self._broken(
                    Rule.WAKE_UP, f"it has not ended within {WITHIN_S:.0f} s ({kill or 'no kill'}).", script
                )
            history = await handle.fetch_history()
            if victim.poll() is not None:
                report.kills += victim.returncode == -signal.SIGKILL
        outlive_native_threads()
        replayed = await Replayer(
            workflows=[self.workflow],
            workflow_runner=UnsandboxedWorkflowRunner(),
            namespace=NAMESPACE,
        ).replay_workflow(history, raise_on_replay_failure=False)
        if replayed.replay_failure is not None:
            raise self._broken(Rule.HISTORY, f"{replayed.replay_failure}", script, history.to_json())
        return ended.result()

    async def _tell(self, client: Client, handle: WorkflowHandle[Any, Any], script: Script) -> None:
        """Send the messages, each once so many activities have ended; or after a second, if it is what the workflow waits for."""
        for message in script.messages:
            wait_until = time.monotonic() + 1.0
            while time.monotonic() < wait_until:
                events = (await handle.fetch_history()).events
                if sum(e.WhichOneof("attributes") in _ENDED for e in events) >= message.after:
                    break
                await asyncio.sleep(0.02)
            values = [json.loads(text) for text in message.values]
            # It may have ended, or its handler refuse: as in the schedule, the caller bears it.
            with contextlib.suppress(RPCError, WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError):
                if message.kind == "signal":
                    await handle.signal(message.name, args=values)
                elif message.kind == "update":
                    await handle.execute_update(message.name, args=values)
                else:
                    await handle.cancel()

    @contextlib.asynccontextmanager
    async def _workers(self, script: Script, queue: str) -> AsyncIterator[Callable[[str | None], Any]]:
        """Starts worker processes; those that live at the end are ended."""
        started: list[subprocess.Popen[str]] = []
        with tempfile.TemporaryDirectory() as folder:
            order = Path(folder) / "order.json"
            cls = self.workflow
            order.write_text(
                json.dumps(
                    {
                        "module": cls.__module__,
                        "name": cls.__qualname__,
                        "queue": queue,
                        "sandboxed": self.sandboxed,
                        "endings": script.endings,
                        "waiting": script.waiting,
                        "children": script.children,
                    }
                )
            )

            async def start(kill: str | None) -> subprocess.Popen[str]:
                env = {
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                    "DBOS_SYSTEM_DATABASE_URL": self.url,
                    failpoints.ENVIRONMENT: kill or "",
                }
                command = [sys.executable, "-m", "dbos_shadow.determinism.durable_worker", str(order)]
                worker = await asyncio.to_thread(subprocess.Popen, command, env=env, stdout=subprocess.PIPE, text=True)
                started.append(worker)
                assert worker.stdout is not None
                line = await asyncio.to_thread(worker.stdout.readline)
                assert line.strip() == _READY or worker.poll() is not None, f"a worker said {line!r}"
                return worker

            try:
                yield start
            finally:
                for worker in started:
                    worker.kill()
                    worker.wait()
                    if worker.stdout is not None:
                        worker.stdout.close()

    def _broken(self, rule: Rule, what: str, script: Script, history: str | None = None) -> DeterminismError:
        return DeterminismError(
            rule, f"On Postgres {what}", workflow=self.plan.name, decisions=script.decisions, history=history
        )


_ENDED = frozenset(f"activity_task_{how}_event_attributes" for how in ("completed", "failed", "timed_out", "canceled"))


async def _ending(handle: WorkflowHandle[Any, Any]) -> str:
    try:
        return f"completed with {await handle.result()!r}"
    except WorkflowFailureError as error:
        cause = error.cause
        return f"ended by {type(cause).__name__} {getattr(cause, 'type', '')}".rstrip()


__all__ = ["LeftOut", "Report", "Script", "run_durably", "script_of"]
