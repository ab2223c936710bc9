"""The determinism test of the order workflow. Run it with ``pytest examples/determinism``."""

from __future__ import annotations

from dbos_shadow.determinism import determinism_test, from_type, may_fail, returns
from dbos_shadow.trace import Status, Trace
from examples.determinism.orders import Order, OrderWorkflow, Receipt, charge, refund, ship


def charged_implies_shipped_or_refunded(trace: Trace) -> bool:
    """Whoever has paid gets the parcel, or the money back."""
    done = {arrival.name for arrival in trace.arrivals if arrival.how == "completed"}
    ended = trace.outcome.status in (Status.COMPLETED, Status.FAILED, Status.CANCELED)
    return not ended or "charge" not in done or bool(done & {"ship", "refund"})


test_order = determinism_test(
    OrderWorkflow.run, args=from_type(Order),
    activities={charge: returns(from_type(Receipt)), ship: may_fail(ValueError), refund: returns()},
    signals=[OrderWorkflow.approve], invariants=[charged_implies_shipped_or_refunded], sandboxed=False,
)  # fmt: skip
