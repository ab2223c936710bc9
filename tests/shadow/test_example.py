"""The shadow's example: what it has recorded is still what its code does, and what it changes is found."""

from __future__ import annotations

from pathlib import Path

import pytest
from temporalio.client import Client

from dbos_shadow.checks import ShadowMismatch, assert_same
from examples.checkout.workflows import CheckoutWorkflow
from examples.shadow.changed import ChangedCheckout
from examples.shadow.check import HISTORIES
from examples.shadow.mirror import mirrored
from examples.shadow.record import record

pytestmark = pytest.mark.timeout(180)


def test_the_recorded_runs_are_the_same() -> None:
    assert len(assert_same(HISTORIES, workflows=[CheckoutWorkflow])) == 6


def test_the_change_is_found_where_it_is() -> None:
    with pytest.raises(ShadowMismatch, match="2 of 6 runs") as found:
        assert_same(HISTORIES, workflows=[ChangedCheckout])
    assert str(found.value).count("L1 activity refund_charge: step: missing") == 2


def test_they_name_no_machine() -> None:
    for path in HISTORIES.glob("*.json"):
        text = path.read_text()
        assert "stackTrace" not in text
        assert '"identity": "the checkout example"' in text


@pytest.mark.temporal
async def test_they_can_be_recorded_again(temporal_address: str, tmp_path: Path) -> None:
    written = await record(await Client.connect(temporal_address), tmp_path / "again")
    assert {path.name for path in written} == {path.name for path in HISTORIES.glob("*.json")}


@pytest.mark.temporal
async def test_they_are_the_same_in_a_mirror(temporal_address: str) -> None:
    report = await mirrored(await Client.connect(temporal_address))
    assert (report.exit_code, report.counts.match, report.counts.total) == (0, 6, 6)
