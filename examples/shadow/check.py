"""The proof as a plain function, for any test runner: ``python -m examples.shadow.check``."""

from __future__ import annotations

from pathlib import Path

from dbos_shadow.checks import ShadowMismatch, assert_same
from examples.checkout.workflows import CheckoutWorkflow
from examples.shadow.changed import ChangedCheckout

HISTORIES = Path(__file__).with_name("histories")


def main() -> None:
    judged = assert_same(HISTORIES, workflows=[CheckoutWorkflow])
    print(f"the checkout: {len(judged)} recorded runs, all the same")
    try:
        assert_same(HISTORIES, workflows=[ChangedCheckout])
    except ShadowMismatch as different:
        print(f"the changed one: {different}")


if __name__ == "__main__":
    main()
