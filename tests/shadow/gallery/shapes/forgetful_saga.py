"""Cancellation may come between two lines that belong together."""

from __future__ import annotations

import asyncio

from temporalio import activity, workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from dbos_shadow.determinism import Rule, may_fail, plan, returns
from dbos_shadow.trace import StepKind, Trace
from tests.shadow.gallery.shape import MINUTE, Shape


@activity.defn
async def charge() -> str:
    raise NotImplementedError


@activity.defn
async def record(payment: str) -> None:
    raise NotImplementedError


@activity.defn
async def refund() -> None:
    raise NotImplementedError


def charged_is_recorded_or_refunded(trace: Trace) -> bool:
    """Whoever was charged has a record, or the money back."""
    asked = {step.name for step in trace.steps if step.kind is StepKind.ACTIVITY}
    charged = any(a.label == "activity charge" and a.how == "completed" for a in trace.arrivals)
    recorded = any(a.label == "activity record" and a.how == "completed" for a in trace.arrivals)
    return not charged or recorded or "refund" in asked


@workflow.defn(name="ForgetfulSaga")
class Broken:
    @workflow.run
    async def run(self) -> None:
        payment = await workflow.execute_activity(charge, start_to_close_timeout=MINUTE)
        try:
            await workflow.execute_activity(record, payment, start_to_close_timeout=MINUTE)
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise  # nobody wants it any more
            await workflow.execute_activity(refund, start_to_close_timeout=MINUTE)
            raise


@workflow.defn(name="ForgetfulSaga")
class Mended:
    @workflow.run
    async def run(self) -> None:
        try:
            payment = await workflow.execute_activity(charge, start_to_close_timeout=MINUTE)
            await workflow.execute_activity(record, payment, start_to_close_timeout=MINUTE)
        except BaseException:  # cancellation, too, and one that comes between the two
            await asyncio.shield(workflow.execute_activity(refund, start_to_close_timeout=MINUTE))
            raise


STUBS = {charge: returns("payment-1"), record: may_fail(), refund: returns()}
SHAPE = Shape(
    title="A saga that forgets its compensation when it is cancelled between charge and record",
    lesson="Compensate on cancellation as well, shielded from it.",
    broken=plan(Broken.run, activities=STUBS, invariants=[charged_is_recorded_or_refunded], sandboxed=False),
    mended=plan(Mended.run, activities=STUBS, invariants=[charged_is_recorded_or_refunded], sandboxed=False),
    rules=frozenset({Rule.INVARIANT}),
)
BROKEN = SHAPE.broken
