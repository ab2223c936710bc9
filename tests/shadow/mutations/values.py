"""Edits that show in attributes, failures and values; and in the examples."""

from __future__ import annotations

from tests.shadow.mutations.mutation import Mutation, edits

ATTRIBUTES: list[Mutation] = [
    *edits(
        "attributes/labels",
        "attributes:Labels",
        rows=[
            (
                "a search attribute is dropped",
                'KEYWORDS.value_set(["b", "a"]),',
                "",
                "L2 missing upsert_search_attributes: search_attributes.CompatKeywords",
            ),
            (
                "a search attribute's value",
                "INT.value_set(1)",
                "INT.value_set(2)",
                "L2 value upsert_search_attributes: search_attributes.CompatInt",
            ),
            ("a memo's value", '"last": "ünï ✓"', '"last": "uni"', "L2 value upsert_memo: memo.last"),
            (
                "a memo is not written",
                '        workflow.upsert_memo({"found": None, "last": "ünï ✓"})\n',
                "",
                "L1 missing upsert_memo: step",
            ),
        ],
    ),
    *edits(
        "attributes/reads_its_labels",
        "attributes:ReadsItsLabels",
        rows=[
            (
                "a priority is read otherwise",
                "priority_key == 4",
                "priority_key != 4",
                "L1 missing activity look_up: step",
            ),
        ],
    ),
]

FAILURES: list[Mutation] = [
    *edits(
        "failures/fails_details",
        "failures:Fails",
        rows=[
            ("a failure's message", '"with details"', '"with a detail"', "L0 value outcome: failure.message"),
            ("a failure's details", '{"a": [1, 2]}', '{"a": [1, 3]}', "L0 value outcome: failure.details[0].a[1]"),
            (
                "a failure may be tried again",
                "non_retryable=True",
                "non_retryable=False",
                "L0 value outcome: failure.non_retryable",
            ),
        ],
    ),
    *edits(
        "failures/fails_chain",
        "failures:Fails",
        rows=[
            ("a failure's type", 'type="Outer"', 'type="Outermost"', "L0 value outcome: failure.type"),
            (
                "a failure's cause",
                'raise ApplicationError("the effect", 2, type="Outer") from error',
                'raise ApplicationError("the effect", 2, type="Outer") from None',
                "L0 missing outcome: failure.cause",
            ),
        ],
    ),
    *edits(
        "failures/cancelled_with_clean_up",
        "failures:Waits",
        rows=[
            (
                "a cancellation is swallowed",
                "                await asyncio.sleep(0.01)\n                raise",
                "                await asyncio.sleep(0.01)\n                return 'fine'",
                "L0 type outcome: status",
            ),
            (
                "clean-up is left out",
                "                await workflow.execute_activity(tidy, start_to_close_timeout=SOON)\n",
                "",
                "L1 missing activity tidy: step",
            ),
        ],
    ),
    *edits(
        "failures/fails_none_of_them",
        "failures:Fails",
        rows=[
            (
                "it fails where it did well",
                "        return how",
                "        raise ApplicationError('never')",
                "L0 type outcome: status",
            ),
        ],
    ),
]

VALUES: list[Mutation] = [
    *edits(
        "codec/secrets",
        "converters:Secrets",
        rows=[
            (
                "an encrypted input",
                "(whisper, secret,",
                "(whisper, secret.upper(),",
                "L2 value activity whisper: inputs[0]",
            ),
            ("an encrypted memo", '{"secret": secret}', '{"secret": "none"}', "L2 value upsert_memo: memo.secret"),
        ],
    ),
    *edits(
        "pydantic/orders",
        "converters:Orders",
        rows=[
            ("a pydantic field", "timedelta(days=1)", "timedelta(days=2)", "L2 value activity discount: inputs[0].due"),
        ],
    ),
    *edits(
        "points/walk",
        "converters:Walk",
        rows=[
            (
                "an input beside a value of one's own type",
                "(1, 2, 3)",
                "(1, 2, 4)",
                "L2 value activity move: inputs[1]",
            ),
            ("a value of one's own type", "here = start", "here = Point(0, 0)", "L2 value activity move: inputs[0]"),
        ],
    ),
    *edits(
        "context/asked_by_ada",
        "context",
        workflow_type="Asks",
        rows=[
            (
                "a header",
                "payload_converter.to_payload(name)}",
                "payload_converter.to_payload(name.upper())}",
                "L3 value activity who_asks: headers.caller",
            ),
        ],
    ),
    *edits(
        "determinism/chance",
        "determinism:Chance",
        rows=[
            (
                "chance is asked once more",
                "        values: list[Any]",
                "        random.random()\n        values: list[Any]",
                "L2 value activity keep: inputs[0]",
            ),
        ],
    ),
    *edits(
        "payloads/dataclasses_and_bytes",
        "payloads:Painter",
        rows=[
            ("a key in a dataclass", '["first"]', '["second"]', "L0 missing outcome: values[0].by_name.first"),
        ],
    ),
]

EXAMPLES: list[Mutation] = [
    *edits(
        "examples/checkout_approved",
        "examples.checkout.workflows:CheckoutWorkflow",
        rows=[
            (
                "the old address is used",
                "charge_id, self._address)",
                "charge_id, order.address)",
                "L2 value activity create_order: inputs[0].address.city",
            ),
        ],
    ),
    *edits(
        "examples/checkout_not_approved",
        "examples.checkout.workflows:CheckoutWorkflow",
        rows=[
            (
                "an approval is not waited for",
                "order.approval_seconds > 0",
                "order.approval_seconds > 9999",
                "L1 missing timer: step",
            ),
        ],
    ),
    *edits(
        "examples/checkout_declined",
        "examples.checkout.workflows:CheckoutWorkflow",
        rows=[
            (
                "the reservation is not taken back",
                "        self._undo.append((activities.release_inventory, reservation_id))\n",
                "",
                "L1 missing activity release_inventory: step",
            ),
        ],
    ),
    *edits(
        "examples/subscribed",
        "examples.subscription:SubscriptionWorkflow",
        rows=[
            ("a month is charged twice", "months_paid + 1", "months_paid", "L2 value activity charge: inputs[2]"),
        ],
    ),
]
