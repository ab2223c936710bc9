"""What the ledger says of a cancellation that comes while a workflow signals another one (``cancelled-while-signalling``)."""

from __future__ import annotations

import asyncio
import contextlib

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from dbos_shadow.determinism import Rule, inferred, run_schedule

INTERRUPTED = [0, 2, 0, 6]
"""The cancel request comes in the moment in which the signal is sent."""


@workflow.defn
class Tells:
    """Tells somebody who is not there, whenever it is asked to."""

    def __init__(self) -> None:
        self.asked = 0

    @workflow.run
    async def run(self) -> None:
        while True:
            await workflow.wait_condition(lambda: self.asked > 0)
            self.asked -= 1
            with contextlib.suppress(ApplicationError):
                await self.tell()

    @workflow.signal
    def ask(self) -> None:
        self.asked += 1

    async def tell(self) -> None:
        await workflow.get_external_workflow_handle("nobody").signal("news")


@workflow.defn
class TellsShielded(Tells):
    @workflow.run
    async def run(self) -> None:
        await super().run()

    async def tell(self) -> None:
        await asyncio.shield(super().tell())


def test_the_sdk_loses_it() -> None:
    error = run_schedule(inferred(Tells, sandboxed=False), INTERRUPTED).error
    assert error is not None
    assert error.rule is Rule.CANCEL_ENDS


def test_who_shields_the_signal_hears_of_it() -> None:
    lived = run_schedule(inferred(TellsShielded, sandboxed=False), INTERRUPTED)
    assert lived.error is None
    assert [str(trace.outcome.status) for trace in lived.traces] == ["canceled"]
