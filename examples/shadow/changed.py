"""The checkout with a mistake: whoever cleaned it up believed that a charge need not be refunded."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from examples.checkout import activities, workflows
    from examples.checkout.shared import CheckoutInput, CheckoutResult


@workflow.defn(name="CheckoutWorkflow")
class ChangedCheckout(workflows.CheckoutWorkflow):
    @workflow.init
    def __init__(self, order: CheckoutInput) -> None:
        super().__init__(order)

    @workflow.run
    async def run(self, order: CheckoutInput) -> CheckoutResult:
        return await super().run(order)

    async def _take_back(self) -> None:
        self._undo = [undo for undo in self._undo if undo[0] is not activities.refund_charge]
        await super()._take_back()
