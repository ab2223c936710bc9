"""Correct workflows pass: the examples of this repository, sandboxed or not, with a codec and interceptors of a user's."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload
from temporalio.client import Interceptor
from temporalio.converter import DataConverter, PayloadCodec
from temporalio.exceptions import ApplicationError

from dbos_compat.hello import Greet, compose, find_greeting
from dbos_shadow.determinism import (
    Kind,
    Profile,
    check_workflow,
    determinism_test,
    from_type,
    may_fail,
    plan,
    returns,
    run_schedule,
)
from dbos_shadow.determinism.elsewhere import Reference
from dbos_shadow.determinism.replayer import can_be_replayed
from dbos_shadow.trace import Status, Trace
from examples.checkout import activities
from examples.checkout.shared import CheckoutInput
from examples.checkout.workflows import CheckoutWorkflow
from examples.nightly_report import NightlyReport, sales_since_last_time
from examples.subscription import Subscription, SubscriptionWorkflow, charge

CI = Profile(name="examples", schedules=200, seconds=10, hash_seeds=0)
NIGHTLY = Profile(name="examples at night", schedules=10_000, seconds=1_800, replayer_every=500, hash_seeds=2)

ORDERS = st.builds(
    CheckoutInput,
    approval_seconds=st.sampled_from([0.0, 3600.0]),
    charge_once=st.booleans(),
    charge_seconds=st.just(0.0),
)
DECLINED = ApplicationError("declined", type="CardDeclined", non_retryable=True)


def charged_implies_ordered_or_refunded(trace: Trace) -> bool:
    """Money moves only for an order, or it is asked back."""
    done = {
        trace.steps[arrival.step].name
        for arrival in trace.arrivals
        if arrival.step is not None and arrival.how == "completed"
    }
    asked = {step.name for step in trace.steps}
    return "charge_card" not in done or bool({"create_order", "refund_charge"} & asked)


test_checkout = determinism_test(
    CheckoutWorkflow.run,
    args=ORDERS,
    activities={
        activities.reserve_inventory: returns(from_type(str)),
        activities.release_inventory: returns(),
        activities.charge_card: may_fail(DECLINED, value=from_type(str)),
        activities.refund_charge: returns(),
        activities.create_order: may_fail(ApplicationError("no", type="NoOrder"), value=from_type(str)),
        activities.send_confirmation_email: returns(),
    },
    signals=[CheckoutWorkflow.approve],
    updates=[CheckoutWorkflow.change_address],
    queries=[CheckoutWorkflow.status],
    invariants=[charged_implies_ordered_or_refunded],
    sandboxed=False,
    profile=CI,
)

test_subscription = determinism_test(
    SubscriptionWorkflow.run,
    args=Subscription("ada", 900, 3600.0),
    activities={charge: returns("paid")},
    signals=[SubscriptionWorkflow.end],
    updates=[SubscriptionWorkflow.change_price],
    queries=[SubscriptionWorkflow.months_paid],
    sandboxed=False,
    profile=CI,
)

test_nightly_report = determinism_test(
    NightlyReport.run,
    activities={sales_since_last_time: returns(from_type(int))},
    sandboxed=False,
    profile=CI,
)

test_hello = determinism_test(
    Greet.run,
    activities={find_greeting: returns(from_type(str)), compose: returns(from_type(str))},
    must_end=True,
    sandboxed=False,
    profile=dataclasses.replace(CI, hash_seeds=1),
)

ALL = {
    "checkout": test_checkout,
    "subscription": test_subscription,
    "nightly_report": test_nightly_report,
    "hello": test_hello,
}


@pytest.mark.nightly
@pytest.mark.timeout(2_000)
@pytest.mark.parametrize("name", ALL)
def test_many_schedules(name: str) -> None:
    reference = Reference(__name__, __file__, "ALL", key=name)
    explored = check_workflow(ALL[name].plan, profile=NIGHTLY, reference=reference)
    print(f"{name}: {explored.schedules} schedules, {explored.steps} steps, {explored.seconds:.0f} s")
    assert explored.schedules >= NIGHTLY.schedules
    assert explored.replayed
    assert explored.elsewhere
    assert not explored.unchecked


def greeting(**options: Any) -> Any:
    return plan(Greet.run, activities={find_greeting: returns("Hello"), compose: returns("Hello, Ada!")}, **options)


def test_in_the_sandbox() -> None:
    explored = check_workflow(greeting(), profile=Profile(name="few", schedules=10, seconds=30, hash_seeds=0))
    assert explored.replayed == 1


class Reversing(PayloadCodec):
    """Not a secret, but not JSON either."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload(metadata={"encoding": b"reversed"}, data=p.SerializeToString()[::-1]) for p in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload.FromString(p.data[::-1]) for p in payloads]


class Counting(Interceptor):
    def __init__(self) -> None:
        self.started = 0

    def intercept_client(self, next: Any) -> Any:  # noqa: A002  # the SDK's own name
        self.started += 1
        return next


def test_with_a_codec_and_interceptors() -> None:
    counting = Counting()
    converter = dataclasses.replace(DataConverter.default, payload_codec=Reversing())
    tested = greeting(sandboxed=False, client_options={"data_converter": converter, "interceptors": [counting]})
    explored = check_workflow(tested, profile=Profile(name="few", schedules=20, seconds=60, hash_seeds=0))
    assert explored.schedules
    assert counting.started
    lived = run_schedule(tested, [])
    assert lived.error is None
    assert "cmV2ZXJzZWQ" in lived.histories[0]  # "reversed", in the metadata of payloads


class Salting(PayloadCodec):
    """As a codec that encrypts: the same value is never written the same way."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload(metadata={"encoding": b"salted"}, data=os.urandom(8) + p.SerializeToString()) for p in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload.FromString(p.data[8:]) for p in payloads]


SALTED = dataclasses.replace(DataConverter.default, payload_codec=Salting())
test_with_a_codec_that_encrypts = determinism_test(
    SubscriptionWorkflow.run,
    args=Subscription("ada", 900, 3600.0),
    activities={charge: returns("paid")},
    signals=[SubscriptionWorkflow.end],
    updates=[SubscriptionWorkflow.change_price],
    queries=[SubscriptionWorkflow.months_paid],
    client_options={"data_converter": SALTED},
    sandboxed=False,
    profile=Profile(name="salted", schedules=60, seconds=30, hash_seeds=1),
)


def test_a_run_that_begins_later_though_the_clock_is_set() -> None:
    tested = greeting(sandboxed=False, start_options={"start_delay": timedelta(seconds=50)})
    assert check_workflow(tested, profile=Profile(name="few", schedules=60, seconds=60, hash_seeds=0)).schedules == 60


def test_a_run_that_is_yet_to_begin_is_not_replayed() -> None:
    """A cron schedule never ends: the newest run waits for its time, and Temporal's Replayer would wait with it."""
    tested = greeting(sandboxed=False, cancels=False, start_options={"cron_schedule": "* * * * *"})
    lived = run_schedule(tested, [])
    assert [can_be_replayed(history) for history in lived.histories] == [True] * len(lived.traces) + [False]
    explored = check_workflow(tested, profile=Profile(name="few", schedules=20, seconds=60, hash_seeds=0))
    assert explored.replayed == len(lived.traces)


@pytest.mark.parametrize("options", [{"start_delay": timedelta(hours=2)}, {"cron_schedule": "0 * * * *"}])
def test_a_run_that_begins_later(options: dict[str, Any]) -> None:
    """Until its first task nobody has it in memory, and that is no lost wake-up."""
    lived = run_schedule(greeting(sandboxed=False, cancels=False, start_options=options), [])
    assert lived.error is None
    assert lived.traces
    assert all(trace.outcome.status is Status.COMPLETED for trace in lived.traces)
    closed = next(h for h in lived.happenings if h.kind is Kind.CLOSED)
    assert closed.at_ms - lived.happenings[0].at_ms > 60_000


def test_a_plain_day() -> None:
    lived = run_schedule(greeting(sandboxed=False), [])
    assert lived.error is None
    assert [trace.outcome.status for trace in lived.traces] == [Status.COMPLETED]
    assert not any(happening.fault for happening in lived.happenings)
    assert lived.decisions == ()


def test_as_many_schedules_as_were_asked_for() -> None:
    """No schedule is counted twice, and Hypothesis draws the same ones again and again when it is asked the wrong way."""
    tested = greeting(sandboxed=False)
    explored = check_workflow(tested, profile=Profile(name="many", schedules=500, seconds=300, hash_seeds=0))
    assert explored.schedules == 500
