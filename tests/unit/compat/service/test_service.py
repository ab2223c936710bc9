"""The service on a kernel in memory: RPCs that need no worker, and the shape of every refusal."""

from __future__ import annotations

import logging
import uuid
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import Payload, Payloads, WorkflowExecution
from temporalio.api.enums.v1 import (
    HistoryEventFilterType,
    IndexedValueType,
    UpdateWorkflowExecutionLifecycleStage,
    WorkflowExecutionStatus,
)
from temporalio.api.errordetails.v1 import (
    MultiOperationExecutionFailure,
    NamespaceNotFoundFailure,
    NotFoundFailure,
    WorkflowExecutionAlreadyStartedFailure,
)
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.update.v1 import Input, Meta, Request, UpdateRef, WaitPolicy
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    DescribeNamespaceRequest,
    DescribeWorkflowExecutionRequest,
    ExecuteMultiOperationRequest,
    GetSystemInfoRequest,
    GetWorkflowExecutionHistoryRequest,
    ListWorkflowExecutionsRequest,
    ListWorkflowRulesRequest,
    PollWorkflowExecutionUpdateRequest,
    QueryWorkflowRequest,
    RequestCancelWorkflowExecutionRequest,
    RespondActivityTaskCompletedByIdRequest,
    RespondActivityTaskCompletedRequest,
    SignalWithStartWorkflowExecutionRequest,
    SignalWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
    UpdateWorkflowExecutionRequest,
)
from temporalio.bridge.proto.health.v1 import HealthCheckRequest
from temporalio.service import RPCError, RPCStatusCode

from dbos_compat.convert.records import message
from dbos_compat.service.client import EngineService
from dbos_core.errors import StoreUnavailable
from dbos_core.kernel import Kernel
from dbos_core.mailbox import CANCEL, UPDATE
from tests.fixtures.waiting import eventually
from tests.unit.compat.service.conftest import refused, start_request

CLOSE_EVENT = HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT
ACCEPTED = UpdateWorkflowExecutionLifecycleStage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_ACCEPTED
KEYWORD = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
ORDER = WorkflowExecution(workflow_id="order-42")
NOBODY = str(uuid.UUID(int=7))


async def started(service: EngineService, **fields: Any) -> str:
    response: Any = await service.call("start_workflow_execution", start_request(**fields))
    return str(response.run_id)


async def terminated(service: EngineService, **fields: Any) -> Any:
    return await service.call(
        "terminate_workflow_execution",
        TerminateWorkflowExecutionRequest(namespace="default", workflow_execution=ORDER, **fields),
    )


async def close_page(service: EngineService, **fields: Any) -> Any:
    return await service.call(
        "get_workflow_execution_history",
        GetWorkflowExecutionHistoryRequest(
            namespace="default", execution=ORDER, history_event_filter_type=CLOSE_EVENT, **fields
        ),
    )


# -- start ---------------------------------------------------------------------------------------------------------------


async def test_a_start_answers_with_a_run(service: EngineService) -> None:
    response: Any = await service.call("start_workflow_execution", start_request())
    assert uuid.UUID(response.run_id).version == 7
    assert response.started
    assert response.first_execution_run_id == response.run_id
    assert response.link.workflow_event.workflow_id == "order-42"


async def test_the_same_request_again_is_the_same_run_even_after_its_end(service: EngineService) -> None:
    request = start_request()
    first: Any = await service.call("start_workflow_execution", request)
    await terminated(service)
    again: Any = await service.call("start_workflow_execution", request)
    assert (again.run_id, again.started) == (first.run_id, True)


async def test_a_running_workflow_stands_in_the_way(service: EngineService) -> None:
    request = start_request()
    first: Any = await service.call("start_workflow_execution", request)
    error = await refused(service, "start_workflow_execution", start_request())
    assert error.status is RPCStatusCode.ALREADY_EXISTS
    assert error.message == (f"Workflow execution is already running. WorkflowId: order-42, RunId: {first.run_id}.")
    detail = WorkflowExecutionAlreadyStartedFailure()
    assert error.grpc_status.details[0].type_url.startswith("type.googleapis.com/")
    assert error.grpc_status.details[0].Unpack(detail)
    assert (detail.start_request_id, detail.run_id, detail.first_execution_run_id) == (
        request.request_id,
        first.run_id,
        first.run_id,
    )


async def test_conflict_policies(service: EngineService) -> None:
    first = await started(service)
    used: Any = await service.call("start_workflow_execution", start_request(workflow_id_conflict_policy=2))
    assert (used.run_id, used.started) == (first, False)
    fresh: Any = await service.call("start_workflow_execution", start_request(workflow_id_conflict_policy=3))
    assert fresh.started
    assert fresh.run_id != first
    page: Any = await service.call(
        "get_workflow_execution_history",
        GetWorkflowExecutionHistoryRequest(
            namespace="default",
            execution=WorkflowExecution(workflow_id="order-42", run_id=first),
            history_event_filter_type=CLOSE_EVENT,
        ),
    )
    [event] = page.history.events
    ended = event.workflow_execution_terminated_event_attributes
    assert ended.reason == "TerminateIfRunning WorkflowIdReusePolicy"
    assert ended.details.payloads[0].data == f'"terminated by new runID: {fresh.run_id}"'.encode()


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        (
            3,
            "already finished. WorkflowId: order-42, RunId: {}. Workflow Id reuse policy: reject duplicate workflow Id.",
        ),
        (2, None),
    ],
)
async def test_reuse_policies_after_a_termination(service: EngineService, policy: int, text: str | None) -> None:
    first = await started(service)
    await terminated(service)
    request = start_request(workflow_id_reuse_policy=policy)
    if text is None:
        response: Any = await service.call("start_workflow_execution", request)
        assert response.run_id != first
        return
    error = await refused(service, "start_workflow_execution", request)
    assert error.status is RPCStatusCode.ALREADY_EXISTS
    assert error.message == f"Workflow execution {text.format(first)}"


# -- messages --------------------------------------------------------------------------------------------------------------


def signal(**fields: Any) -> SignalWorkflowExecutionRequest:
    values: dict[str, Any] = {"workflow_execution": ORDER, "signal_name": "approve", "request_id": "r1"} | fields
    return SignalWorkflowExecutionRequest(namespace="default", **values)


async def test_a_signal_is_durable_mail_once_per_request(service: EngineService, kernel: Kernel) -> None:
    await started(service)
    arguments = Payloads(payloads=[Payload(metadata={"encoding": b"json/plain"}, data=b"1")])
    for _ in range(2):
        await service.call("signal_workflow_execution", signal(input=arguments, identity="boss"))
    [mail] = await kernel.store.mail(["order-42"])
    assert mail.topic == "approve"
    record = message(mail.message)
    assert (record.args, record.identity) == (list(arguments.payloads), "boss")


async def test_cancel_counts_once_and_never_fails(service: EngineService, kernel: Kernel) -> None:
    await started(service)
    for reason in ("first", "second"):
        await service.call(
            "request_cancel_workflow_execution",
            RequestCancelWorkflowExecutionRequest(namespace="default", workflow_execution=ORDER, reason=reason),
        )
    [mail] = await kernel.store.mail(["order-42"])
    assert (mail.topic, message(mail.message).reason) == (CANCEL, "first")
    described: Any = await service.call(
        "describe_workflow_execution", DescribeWorkflowExecutionRequest(namespace="default", execution=ORDER)
    )
    assert described.workflow_extended_info.cancel_requested
    await terminated(service)
    await service.call(
        "request_cancel_workflow_execution",
        RequestCancelWorkflowExecutionRequest(namespace="default", workflow_execution=ORDER),
    )


async def test_signal_with_start_starts_once_and_signals_each_time(service: EngineService, kernel: Kernel) -> None:
    run_ids = []
    for number in range(2):
        plain = start_request()
        response: Any = await service.call(
            "signal_with_start_workflow_execution",
            SignalWithStartWorkflowExecutionRequest(
                namespace="default",
                workflow_id=plain.workflow_id,
                workflow_type=plain.workflow_type,
                task_queue=plain.task_queue,
                request_id=plain.request_id,
                signal_name=f"s{number}",
            ),
        )
        run_ids.append(response.run_id)
        assert response.started is (number == 0)
    assert run_ids[0] == run_ids[1]
    assert [mail.topic for mail in await kernel.store.mail(["order-42"])] == ["s0", "s1"]


# -- update ----------------------------------------------------------------------------------------------------------------


def update(**fields: Any) -> UpdateWorkflowExecutionRequest:
    values: dict[str, Any] = {
        "workflow_execution": ORDER,
        "request": Request(meta=Meta(update_id="u", identity="me"), input=Input(name="add")),
        "wait_policy": WaitPolicy(lifecycle_stage=ACCEPTED),
    } | fields
    return UpdateWorkflowExecutionRequest(namespace="default", **values)


async def test_an_update_is_admitted_durably_and_waits_for_a_worker(service: EngineService, kernel: Kernel) -> None:
    run_id = await started(service)
    error = await refused(service, "update_workflow_execution", update(), timeout=timedelta(milliseconds=50))
    assert (error.status, error.message, error.raw_grpc_status) == (RPCStatusCode.CANCELLED, "Timeout expired", b"")
    [mail] = await kernel.store.mail(["order-42"])
    assert (mail.topic, message(mail.message).update_id, message(mail.message).name) == (UPDATE, "u", "add")
    ref = UpdateRef(workflow_execution=ORDER, update_id="u")
    polled: Any = await service.call(
        "poll_workflow_execution_update", PollWorkflowExecutionUpdateRequest(namespace="default", update_ref=ref)
    )
    assert (polled.stage, polled.HasField("outcome")) == (1, False)
    assert polled.update_ref.workflow_execution.run_id == run_id


async def test_an_update_that_nobody_saw_is_aborted_by_the_end(service: EngineService) -> None:
    await started(service)
    await refused(service, "update_workflow_execution", update(), timeout=timedelta(milliseconds=50))
    await terminated(service)
    error = await refused(service, "update_workflow_execution", update())
    assert (error.status, error.message) == (
        RPCStatusCode.NOT_FOUND,
        "workflow update was aborted by closing workflow",
    )


async def test_update_with_start_fails_as_a_pair(service: EngineService) -> None:
    await started(service)
    pair = ExecuteMultiOperationRequest(
        namespace="default",
        operations=[
            ExecuteMultiOperationRequest.Operation(start_workflow=start_request(workflow_id_conflict_policy=1)),
            ExecuteMultiOperationRequest.Operation(update_workflow=update()),
        ],
    )
    error = await refused(service, "execute_multi_operation", pair)
    assert (error.status, error.message) == (
        RPCStatusCode.ALREADY_EXISTS,
        "Update-with-Start could not be executed.",
    )
    failure = MultiOperationExecutionFailure()
    assert error.grpc_status.details[0].Unpack(failure)
    assert [status.code for status in failure.statuses] == [6, 10]
    assert failure.statuses[0].details[0].Is(WorkflowExecutionAlreadyStartedFailure.DESCRIPTOR)
    assert failure.statuses[1].details[0].type_url.endswith("MultiOperationExecutionAborted")


# -- results -----------------------------------------------------------------------------------------------------------------


async def test_a_result_is_one_event_without_a_token(service: EngineService) -> None:
    await started(service)
    details = Payloads(payloads=[Payload(metadata={"encoding": b"json/plain"}, data=b'"d"')])
    await terminated(service, reason="enough", details=details, identity="boss")
    page = await close_page(service, wait_new_event=True)
    [event] = page.history.events
    assert page.next_page_token == b""
    ended = event.workflow_execution_terminated_event_attributes
    assert (ended.reason, ended.identity, ended.details) == ("enough", "boss", details)


async def test_an_open_run_has_no_result_and_no_token_unless_waited_for(service: EngineService) -> None:
    await started(service)
    page = await close_page(service)
    assert (len(page.history.events), page.next_page_token) == (0, b"")


async def test_a_long_poll_pins_its_run(service: EngineService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dbos_compat.service.outcome.LONG_POLL_S", 0.05)
    first = await started(service)
    page = await close_page(service, wait_new_event=True)
    assert len(page.history.events) == 0
    assert page.next_page_token
    await terminated(service)
    assert await started(service) != first
    page = await close_page(service, wait_new_event=True, next_page_token=page.next_page_token)
    assert len(page.history.events) == 1


@pytest.mark.parametrize("waits", [True, False], ids=["while somebody waits", "when somebody asks"])
async def test_a_run_times_out_though_no_worker_is_alive(service: EngineService, waits: bool) -> None:
    timeout = Duration()
    timeout.FromMilliseconds(50)
    await started(service, workflow_run_timeout=timeout)
    page = await close_page(service, wait_new_event=True) if waits else await closed_eventually(service)
    [event] = page.history.events
    assert event.WhichOneof("attributes") == "workflow_execution_timed_out_event_attributes"
    described: Any = await service.call(
        "describe_workflow_execution", DescribeWorkflowExecutionRequest(namespace="default", execution=ORDER)
    )
    assert described.workflow_execution_info.status == WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_TIMED_OUT


async def closed_eventually(service: EngineService) -> Any:
    async def fact() -> Any:
        page = await close_page(service)
        return page if page.history.events else None

    return await eventually(fact)


# -- not found, not valid ------------------------------------------------------------------------------------------------------


async def not_found(service: EngineService, rpc: str, request: Any) -> str:
    error = await refused(service, rpc, request)
    assert error.status is RPCStatusCode.NOT_FOUND
    assert error.grpc_status.details[0].Is(NotFoundFailure.DESCRIPTOR)
    return error.message


async def test_runs_that_are_not_there(service: EngineService) -> None:
    first = await started(service)
    for rpc, make in (
        ("signal_workflow_execution", lambda e: signal(workflow_execution=e)),
        (
            "request_cancel_workflow_execution",
            lambda e: RequestCancelWorkflowExecutionRequest(namespace="default", workflow_execution=e),
        ),
        (
            "terminate_workflow_execution",
            lambda e: TerminateWorkflowExecutionRequest(namespace="default", workflow_execution=e),
        ),
        ("update_workflow_execution", lambda e: update(workflow_execution=e)),
        (
            "query_workflow",
            lambda e: QueryWorkflowRequest(namespace="default", execution=e, query=WorkflowQuery(query_type="q")),
        ),
        (
            "describe_workflow_execution",
            lambda e: DescribeWorkflowExecutionRequest(namespace="default", execution=e),
        ),
    ):
        nope = WorkflowExecution(workflow_id="nope")
        assert await not_found(service, rpc, make(nope)) == "workflow not found for ID: nope"
        other = WorkflowExecution(workflow_id="order-42", run_id=NOBODY)
        text = f'workflow execution not found for workflow ID "order-42" and run ID "{NOBODY}"'
        assert await not_found(service, rpc, make(other)) == text
        other = WorkflowExecution(workflow_id="nope", run_id=first)
        assert "not found" in await not_found(service, rpc, make(other))
        error = await refused(service, rpc, make(WorkflowExecution(workflow_id="order-42", run_id="x")))
        assert (error.status, error.message) == (RPCStatusCode.INVALID_ARGUMENT, "Invalid RunId.")


async def test_a_chain_is_not_left(service: EngineService) -> None:
    await started(service)
    for rpc, request in (
        (
            "terminate_workflow_execution",
            TerminateWorkflowExecutionRequest(
                namespace="default", workflow_execution=ORDER, first_execution_run_id=NOBODY
            ),
        ),
        ("update_workflow_execution", update(first_execution_run_id=NOBODY)),
    ):
        assert await not_found(service, rpc, request) == "workflow execution not found"


async def test_closed_runs_take_no_messages(service: EngineService) -> None:
    await started(service)
    await terminated(service)
    for rpc, request in (
        ("signal_workflow_execution", signal()),
        ("update_workflow_execution", update()),
        (
            "terminate_workflow_execution",
            TerminateWorkflowExecutionRequest(namespace="default", workflow_execution=ORDER),
        ),
        (
            "respond_activity_task_completed_by_id",
            RespondActivityTaskCompletedByIdRequest(namespace="default", workflow_id="order-42", activity_id="1"),
        ),
    ):
        assert await not_found(service, rpc, request) == "workflow execution already completed"


async def test_activities_that_are_not_there(service: EngineService) -> None:
    await started(service)
    by_id = RespondActivityTaskCompletedByIdRequest(namespace="default", workflow_id="order-42", activity_id="7")
    assert await not_found(service, "respond_activity_task_completed_by_id", by_id) == (
        "cannot find pending activity with ActivityID 7, check workflow execution history for more details"
    )
    for token, text in ((b"", "Task token not set on request."), (b"junk", "Error deserializing task token.")):
        request = RespondActivityTaskCompletedRequest(namespace="default", task_token=token)
        error = await refused(service, "respond_activity_task_completed", request)
        assert (error.status, error.message) == (RPCStatusCode.INVALID_ARGUMENT, text)


async def test_namespaces(service: EngineService) -> None:
    described: Any = await service.call("describe_namespace", DescribeNamespaceRequest(namespace="default"))
    assert described.namespace_info.name == service.namespace == "default"
    request = start_request()
    request.namespace = "elsewhere"
    error = await refused(service, "start_workflow_execution", request)
    assert (error.status, error.message) == (RPCStatusCode.NOT_FOUND, "Namespace elsewhere is not found.")
    assert error.grpc_status.details[0].Is(NamespaceNotFoundFailure.DESCRIPTOR)


# -- listings ----------------------------------------------------------------------------------------------------------------


async def test_list_in_pages_and_count(service: EngineService) -> None:
    for number in range(5):
        await started(service, workflow_id=f"order-{number}")
    found: list[str] = []
    token = b""
    while True:
        page: Any = await service.call(
            "list_workflow_executions",
            ListWorkflowExecutionsRequest(
                namespace="default", query="WorkflowType = 'Order'", page_size=2, next_page_token=token
            ),
        )
        found += [info.execution.workflow_id for info in page.executions]
        token = page.next_page_token
        if not token:
            break
    assert sorted(found) == [f"order-{number}" for number in range(5)]
    count: Any = await service.call(
        "count_workflow_executions",
        CountWorkflowExecutionsRequest(namespace="default", query="GROUP BY ExecutionStatus"),
    )
    assert count.count == 5
    [group] = count.groups
    assert (group.count, group.group_values[0].data) == (5, b'"Running"')


async def test_declared_search_attributes_make_filters_strict(service: EngineService) -> None:
    request = ListWorkflowExecutionsRequest(namespace="default", query="Customer = 1")
    await service.call("list_workflow_executions", request)
    await service.call(
        "add_search_attributes",
        AddSearchAttributesRequest(namespace="default", search_attributes={"Customer": KEYWORD}),
        service="operator",
    )
    listed: Any = await service.call(
        "list_search_attributes", ListSearchAttributesRequest(namespace="default"), service="operator"
    )
    assert dict(listed.custom_attributes) == {"Customer": 2}
    error = await refused(service, "list_workflow_executions", request)
    assert error.message.startswith(
        "invalid query: invalid expression: invalid value type for search attribute Customer"
    )


async def test_a_bad_page_token_is_an_invalid_argument(service: EngineService) -> None:
    request = ListWorkflowExecutionsRequest(namespace="default", next_page_token=b"junk")
    error = await refused(service, "list_workflow_executions", request)
    assert (error.status, error.message) == (RPCStatusCode.INVALID_ARGUMENT, "Invalid NextPageToken.")


# -- the service itself ----------------------------------------------------------------------------------------------------------


async def test_health_and_system_info(service: EngineService) -> None:
    health: Any = await service.call("check", HealthCheckRequest(), service="health")
    assert health.status == health.SERVING
    error = await refused(service, "check", HealthCheckRequest(service="whatever"), service="health")
    assert (error.status, error.message) == (RPCStatusCode.NOT_FOUND, "unknown service")
    info: Any = await service.call("get_system_info", GetSystemInfoRequest())
    assert info.capabilities.count_group_by_execution_status


async def test_unsupported_rpcs_name_their_page(service: EngineService) -> None:
    error = await refused(service, "list_workflow_rules", ListWorkflowRulesRequest(namespace="default"))
    assert error.status is RPCStatusCode.UNIMPLEMENTED
    assert "list_workflow_rules" in error.message
    assert "differences.md#workflow-rules" in error.message


async def test_a_database_that_comes_back_is_waited_for(
    service: EngineService, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    await started(service)
    find, tries = kernel.store.find, 0

    async def away(*args: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise StoreUnavailable("restarting")
        return await find(*args)

    monkeypatch.setattr("dbos_compat.service.client.RETRY_FIRST_S", 0.001)
    monkeypatch.setattr(kernel.store, "find", away)
    await service.call("signal_workflow_execution", signal())
    assert tries == 3
    tries = 0
    monkeypatch.setattr("dbos_compat.service.client.RETRY_FOR_S", 0.0)
    error = await refused(service, "signal_workflow_execution", signal())
    assert (error.status, tries) == (RPCStatusCode.UNAVAILABLE, 1)


async def test_our_own_failures_have_a_number_and_no_data(
    service: EngineService, kernel: Kernel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: Any) -> None:
        raise KeyError("secret")

    monkeypatch.setattr(kernel.store, "find", broken)
    with caplog.at_level(logging.ERROR, logger="dbos_compat"):
        error = await refused(service, "signal_workflow_execution", signal())
    assert error.status is RPCStatusCode.INTERNAL
    assert "KeyError" in error.message
    assert "secret" not in error.message
    number = error.message.split("under ")[1].split(";")[0]
    assert number in caplog.text


async def test_a_cancelled_call_is_cancelled_and_not_an_rpc_error(service: EngineService) -> None:
    import asyncio

    await started(service)
    call = asyncio.ensure_future(close_page(service, wait_new_event=True))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    with pytest.raises(RPCError):
        await service.call(
            "get_workflow_execution_history",
            GetWorkflowExecutionHistoryRequest(namespace="default", execution=ORDER, next_page_token=b"junk"),
        )
