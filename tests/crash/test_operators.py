"""A worker dies while it carries out what an operator wants of an activity: nothing that was acknowledged is lost, and
what was not is done by the next one, or refused."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.common.v1 import RetryPolicy
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from tests.compat.operators import Operator, s
from tests.compat.support import eventually
from tests.crash.conftest import MakeWorker, StartWorker
from tests.crash.evidence import Ledger, assert_temporal_accepts_the_histories
from tests.crash.programs.workload import QUEUE, Patient

SOON = RetryPolicy(initial_interval=s(0.05))
COMMANDS: dict[str, Callable[[Operator], Awaitable[object]]] = {
    "pause": lambda operator: operator.pause(id="1", reason="wait"),
    "unpause": lambda operator: operator.unpause(id="1"),
    "reset": lambda operator: operator.reset(id="1"),
    "options": lambda operator: operator.change(
        ActivityOptions(retry_policy=SOON, start_to_close_timeout=s(17)),
        "retry_policy.initial_interval",
        "start_to_close_timeout",
        id="1",
    ),
}
IN_CI = {("pause", "before"), ("pause", "after"), ("reset", "before"), ("options", "after")}


async def waits_again_or_is_over(operator: Operator) -> None:
    described = await operator.client.get_workflow_handle(operator.workflow_id).describe()
    if described.status == WorkflowExecutionStatus.RUNNING:
        seen = await operator.sees()
        assert seen.HasField("next_attempt_schedule_time"), "not taken over yet"
        assert not seen.paused
        await operator.reset(id="1")


@pytest.mark.parametrize(
    ("command", "place"),
    [
        pytest.param(command, place, marks=[] if (command, place) in IN_CI else pytest.mark.nightly)
        for command in COMMANDS
        for place in ("before", "after")
    ],
)
async def test_the_command_outlives_the_worker(
    command: str, place: str, client: Client, survivor: MakeWorker, start_worker: StartWorker, ledger: Ledger
) -> None:
    paused_before = command == "unpause"
    victim = start_worker(failpoints=f"operator.{place}=kill@{2 if paused_before else 1}")
    await asyncio.to_thread(victim.wait_for_line, "worker ready")
    handle = await client.start_workflow(Patient.run, id="patient", task_queue=QUEUE)
    operator = Operator(client, "patient")

    async def waits_for_an_hour() -> None:
        seen = await operator.sees()
        assert seen.attempt == 2
        assert not seen.HasField("last_started_time") or seen.HasField("next_attempt_schedule_time")

    await eventually(waits_for_an_hour)
    if paused_before:
        await operator.pause(id="1")
    told = asyncio.ensure_future(COMMANDS[command](operator))
    status = await asyncio.to_thread(victim.wait, within=30)
    assert status == -signal.SIGKILL, f"the worker ended with {status}, not at operator.{place}"
    if place == "before":
        assert len(ledger.ran("patient")) == 1

    async with survivor():
        answer = (await asyncio.wait_for(asyncio.gather(told, return_exceptions=True), 40))[0]
        if isinstance(answer, BaseException):
            # It was carried out, and only the answer got lost: the workflow may be over when it is asked for again.
            assert place == "after"
            assert isinstance(answer, RPCError), answer
            assert answer.status is RPCStatusCode.NOT_FOUND
        if command == "pause":

            async def is_paused() -> None:
                seen = await operator.sees()
                assert (seen.paused, seen.pause_info.manual.reason) == (True, "wait")

            await eventually(is_paused)
            assert len(ledger.ran("patient")) == 1
            await operator.unpause(id="1")
        if place == "after" and command != "pause":
            # The attempt that the command has led to may have begun, and counts as one that was lost with its process.
            await eventually(partial(waits_again_or_is_over, operator), within_s=30)
        assert await asyncio.wait_for(handle.result(), 40) == "done"
    assert len(ledger.ran("patient")) >= 2
    await assert_temporal_accepts_the_histories(client, ["patient"])
