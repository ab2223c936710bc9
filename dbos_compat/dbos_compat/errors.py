"""Errors at the seam: kernel error → ``RPCError`` with Temporal's status; ``Unsupported`` with its guide page.

Temporal's client looks for the details of a failed RPC at index 0 of the ``GrpcStatus``, as ``google.protobuf.Any``
with ``type.googleapis.com`` URLs. The handlers in ``service`` raise what these functions make and nothing else.
"""

from __future__ import annotations

from google.protobuf.message import Message
from temporalio.api.common.v1 import GrpcStatus
from temporalio.api.errordetails.v1 import (
    NamespaceNotFoundFailure,
    NotFoundFailure,
    QueryFailedFailure,
    WorkflowExecutionAlreadyStartedFailure,
    WorkflowNotReadyFailure,
)
from temporalio.service import RPCError, RPCStatusCode

from dbos_compat.differences import BY_RPC, GUIDE, LEDGER, Difference
from dbos_core.errors import BadCommit, DBOSCompatError, PayloadTooLarge, StoreUnavailable, Theirs


class Unsupported(Theirs):
    """A feature of Temporal that is not here (yet). ``slug`` names its entry in the ledger of differences."""

    code = "DC207"

    def __init__(self, slug: str, where: str = "") -> None:
        self.difference: Difference = LEDGER[slug]
        self.slug = slug
        entry = self.difference
        super().__init__(
            f"Not supported by dbos-compat: {entry.feature}{f' ({where})' if where else ''}. {entry.advice} "
            f"See {entry.anchor}."
        )


def rpc_error(message: str, status: RPCStatusCode, *details: Message) -> RPCError:
    """An error as the Rust client would raise it for a server's answer."""
    grpc = GrpcStatus(code=int(status), message=message)
    for detail in details:
        grpc.details.add().Pack(detail)
    return RPCError(message, status, grpc.SerializeToString())


def invalid(message: str) -> RPCError:
    return rpc_error(message, RPCStatusCode.INVALID_ARGUMENT)


def not_found(message: str) -> RPCError:
    return rpc_error(message, RPCStatusCode.NOT_FOUND, NotFoundFailure())


def no_run(workflow_id: str, run_id: str = "") -> RPCError:
    """Temporal's two texts for a run that is not there."""
    if run_id:
        return not_found(f'workflow execution not found for workflow ID "{workflow_id}" and run ID "{run_id}"')
    return not_found(f"workflow not found for ID: {workflow_id}")


def already_completed() -> RPCError:
    return not_found("workflow execution already completed")


def no_namespace(namespace: str) -> RPCError:
    return rpc_error(
        f"Namespace {namespace} is not found.",
        RPCStatusCode.NOT_FOUND,
        NamespaceNotFoundFailure(namespace=namespace),
    )


def query_failed(message: str) -> RPCError:
    return rpc_error(message, RPCStatusCode.INVALID_ARGUMENT, QueryFailedFailure())


def already_started(message: str, *, request_id: str, run_id: str, first_run_id: str) -> RPCError:
    return rpc_error(
        message,
        RPCStatusCode.ALREADY_EXISTS,
        WorkflowExecutionAlreadyStartedFailure(
            start_request_id=request_id, run_id=run_id, first_execution_run_id=first_run_id
        ),
    )


def not_ready(message: str) -> RPCError:
    """The run's tasks fail, so that nobody can be served by it now."""
    return rpc_error(message, RPCStatusCode.FAILED_PRECONDITION, WorkflowNotReadyFailure())


def timeout_expired() -> RPCError:
    """What the Rust client raises when the caller's RPC timeout passes: a status of its own making, without details."""
    return RPCError("Timeout expired", RPCStatusCode.CANCELLED, b"")


def no_such_rpc(service: str, rpc: str) -> RPCError:
    """For an RPC without a handler: names the feature where the ledger knows it, the RPC otherwise."""
    if service == "cloud":
        return from_kernel(Unsupported("cloud-api", f"RPC {rpc}"))
    entry = BY_RPC.get(rpc)
    if entry is not None:
        return from_kernel(Unsupported(entry.slug, f"RPC {rpc}"))
    return rpc_error(
        f"Not supported by dbos-compat: RPC {rpc} of the {service} service. See {GUIDE}.",
        RPCStatusCode.UNIMPLEMENTED,
    )


def from_kernel(error: DBOSCompatError) -> RPCError:
    """The RPC error for an error of the kernel or of this package."""
    message = str(error)
    match error:
        case Unsupported():
            return rpc_error(message, RPCStatusCode.UNIMPLEMENTED)
        case StoreUnavailable():
            return rpc_error(message, RPCStatusCode.UNAVAILABLE)
        case BadCommit() | PayloadTooLarge():
            return rpc_error(message, RPCStatusCode.INVALID_ARGUMENT)
        case Theirs():
            return rpc_error(message, RPCStatusCode.FAILED_PRECONDITION)
        case _:
            return rpc_error(message, RPCStatusCode.INTERNAL)
