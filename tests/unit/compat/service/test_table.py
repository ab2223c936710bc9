"""Every RPC of temporalio is answered or explained, and the differences page is what the ledger prints."""

from __future__ import annotations

import inspect
import re

import pytest
from temporalio import service as services
from temporalio.service import RPCStatusCode

from dbos_compat.differences import BY_RPC, LEDGER, Kind, page
from dbos_compat.errors import Unsupported, from_kernel, no_such_rpc
from dbos_compat.service.table import SERVICES
from dbos_core.errors import BadCommit, DBOSCompatError, LeaseLost, StoreUnavailable
from tests.fixtures.process import REPOSITORY

NAMED = {
    "workflow": services.WorkflowService,
    "operator": services.OperatorService,
    "test": services.TestService,
    "health": services.HealthService,
}


def rpcs(service: type) -> set[str]:
    return {
        name for name, member in inspect.getmembers(service, inspect.iscoroutinefunction) if not name.startswith("_")
    }


@pytest.mark.parametrize("name", NAMED)
def test_every_rpc_has_a_handler_or_an_entry_in_the_ledger(name: str) -> None:
    handled = set(SERVICES.get(name, {}))
    known = rpcs(NAMED[name])
    assert known, "temporalio's service has RPCs"
    assert known - handled - set(BY_RPC) == set()
    assert handled <= known


def test_no_rpc_is_both_answered_and_declared_unsupported() -> None:
    assert {rpc for table in SERVICES.values() for rpc in table} & set(BY_RPC) == set()


def test_the_ledger_names_only_rpcs_that_exist() -> None:
    assert set(BY_RPC) <= {rpc for service in NAMED.values() for rpc in rpcs(service)}


def test_slugs_are_unique_and_fit_for_a_link() -> None:
    assert len(LEDGER) == page().count('<a id="')
    assert all(re.fullmatch(r"[a-z0-9-]+", slug) for slug in LEDGER)


def test_the_page_is_what_the_ledger_prints() -> None:
    assert (REPOSITORY / "migration_guides" / "differences.md").read_text(encoding="utf-8") == page()


@pytest.mark.parametrize("slug", [entry.slug for entry in LEDGER.values() if entry.kind is Kind.UNSUPPORTED])
def test_an_unsupported_feature_is_named_with_its_page(slug: str) -> None:
    error = from_kernel(Unsupported(slug, "somewhere"))
    assert error.status is RPCStatusCode.UNIMPLEMENTED
    assert error.grpc_status.code == RPCStatusCode.UNIMPLEMENTED
    assert LEDGER[slug].feature in error.message
    assert "somewhere" in error.message
    assert f"migration_guides/differences.md#{slug}" in error.message


def test_unknown_rpcs_are_named() -> None:
    error = no_such_rpc("workflow", "make_coffee")
    assert error.status is RPCStatusCode.UNIMPLEMENTED
    assert "make_coffee" in error.message
    assert "#workflow-rules" in no_such_rpc("workflow", "create_workflow_rule").message
    assert "#cloud-api" in no_such_rpc("cloud", "get_user").message


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StoreUnavailable("away"), RPCStatusCode.UNAVAILABLE),
        (BadCommit("NUL"), RPCStatusCode.INVALID_ARGUMENT),
        (LeaseLost("lapsed"), RPCStatusCode.INTERNAL),
    ],
)
def test_kernel_errors_have_a_status(error: DBOSCompatError, status: RPCStatusCode) -> None:
    assert from_kernel(error).status is status
    assert str(error) in from_kernel(error).message
