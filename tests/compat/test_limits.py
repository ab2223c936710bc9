"""Input at and beyond the limits."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.api.common.v1 import WorkflowExecution, WorkflowType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    ListWorkflowExecutionsRequest,
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
)
from temporalio.client import Client, WorkflowQueryFailedError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from .calls import Call, Order, Retry, call_fails
from .support import MakeWorker, keeps_failing, recorded_failure

MB = 1024 * 1024
SHORT = timedelta(seconds=1)


@workflow.defn
class Hold:
    def __init__(self) -> None:
        self.seen: list[int] = []

    @workflow.run
    async def run(self, given: str) -> str:
        await workflow.wait_condition(lambda: bool(self.seen))
        return f"{len(given)} {self.seen}"

    @workflow.signal
    def add(self, text: str) -> None:
        self.seen.append(len(text))

    @workflow.query
    def size(self) -> int:
        return len(self.seen)

    @workflow.query
    def letters(self, count: int) -> str:
        return "x" * count

    @workflow.update
    def change(self, text: str) -> int:
        return len(text)


@workflow.defn
class Give:
    @workflow.run
    async def run(self, size: int) -> str:
        return "x" * size


@activity.defn
async def complain(size: int) -> None:
    raise ApplicationError("boom", "x" * size)


@activity.defn
async def give(size: int) -> str:
    return "x" * size


@pytest.mark.parametrize(
    ("wid", "length"), [("x" * 10_000, 10_000), ("x" * 1001, 1001), ("é" * 501, 1002)], ids=["10000", "1001", "utf-8"]
)
async def test_a_workflow_id_beyond_a_thousand_bytes_is_refused(
    client: Client, queue: str, wid: str, length: int
) -> None:
    with pytest.raises(RPCError) as refused:
        await client.start_workflow(Hold.run, "", id=wid, task_queue=queue)
    assert (refused.value.status, refused.value.message) == (
        RPCStatusCode.INVALID_ARGUMENT,
        f"WorkflowId exceeds maximum allowed length ({length}/1000)",
    )


async def test_a_workflow_id_of_a_thousand_bytes_works(
    client: Client, make_worker: MakeWorker, queue: str, unique: str
) -> None:
    wid = unique.ljust(1000, "x")
    async with make_worker(client, task_queue=queue, workflows=[Hold]):
        handle = await client.start_workflow(Hold.run, "", id=wid, task_queue=queue)
        await handle.signal(Hold.add, "x")
        assert await handle.result() == "0 [1]"


@pytest.mark.parametrize(
    "wid_form",
    [
        "with space {}",
        "ünïcode-🎈-{}",
        "quote'\"{}",
        "per%cent_{}",
        "back\\slash-{}",
        "line\nfeed-{}",
        "/slash/{}?a=b#c",
    ],
)
async def test_a_workflow_id_may_have_any_characters(
    client: Client, make_worker: MakeWorker, queue: str, unique: str, wid_form: str
) -> None:
    wid = wid_form.format(unique)
    async with make_worker(client, task_queue=queue, workflows=[Hold]):
        handle = await client.start_workflow(Hold.run, "abc", id=wid, task_queue=queue)
        await handle.signal(Hold.add, "x")
        assert await handle.result() == "3 [1]"
        assert (await client.get_workflow_handle(wid).describe()).id == wid


async def test_an_empty_workflow_id_is_refused(client: Client, queue: str) -> None:
    with pytest.raises(RPCError) as refused:
        await client.start_workflow(Hold.run, "", id="", task_queue=queue)
    assert (refused.value.status, refused.value.message) == (
        RPCStatusCode.INVALID_ARGUMENT,
        "WorkflowId is not set on request.",
    )


@pytest.mark.parametrize(
    ("workflow_type", "task_queue", "message"),
    [
        ("x" * 1001, "q", "WorkflowType length exceeds limit."),
        ("", "q", "WorkflowType is not set on request."),
        ("Hold", "x" * 1001, "taskQueue length exceeds limit"),
        ("Hold", "", "missing task queue name"),
    ],
)
async def test_other_names_have_limits_too(
    client: Client, wid: str, workflow_type: str, task_queue: str, message: str
) -> None:
    with pytest.raises(RPCError) as refused:
        await client.start_workflow(workflow_type, id=wid, task_queue=task_queue)
    assert (refused.value.status, refused.value.message) == (RPCStatusCode.INVALID_ARGUMENT, message)


async def test_a_nul_in_strings(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Hold]):
        handle = await client.start_workflow(Hold.run, "a\x00b", id=wid, task_queue=queue, memo={"n": "\x00"})
        assert await handle.execute_update(Hold.change, "\x00\x00") == 2
        await handle.signal(Hold.add, "\x00")
        assert await handle.result() == "3 [1]"
        assert await (await handle.describe()).memo() == {"n": "\x00"}


async def test_a_nul_in_a_workflow_id_works_or_is_refused_in_so_many_words(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    """A Temporal server takes it; Postgres has no such text, and then the caller is told which field it was."""
    async with make_worker(client, task_queue=queue, workflows=[Hold, Deep]):
        try:
            handle = await client.start_workflow(Hold.run, "", id=f"{wid}\x00", task_queue=queue)
        except RPCError as refused:
            assert refused.status == RPCStatusCode.INVALID_ARGUMENT  # noqa: PT017
            assert "WorkflowId" in refused.message  # noqa: PT017
            assert "NUL" in refused.message  # noqa: PT017
        else:
            await handle.signal(Hold.add, "x")
            assert await handle.result() == "0 [1]"
        assert await client.execute_workflow(Deep.run, "fine", id=wid, task_queue=queue) == "fine"


async def test_an_argument_of_a_megabyte_works(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Hold]):
        handle = await client.start_workflow(Hold.run, "x" * MB, id=wid, task_queue=queue)
        await handle.signal(Hold.add, "y" * MB)
        assert await handle.result() == f"{MB} [{MB}]"


async def test_an_argument_of_three_megabytes_is_refused(client: Client, queue: str, wid: str) -> None:
    with pytest.raises(RPCError) as refused:
        await client.start_workflow(Hold.run, "x" * 3 * MB, id=wid, task_queue=queue)
    assert (refused.value.status, refused.value.message) == (
        RPCStatusCode.INVALID_ARGUMENT,
        "Blob data size exceeds limit.",
    )


async def test_a_memo_of_three_megabytes_is_refused(client: Client, queue: str, wid: str) -> None:
    with pytest.raises(RPCError) as refused:
        await client.start_workflow(Hold.run, "", id=wid, task_queue=queue, memo={"big": "x" * 3 * MB})
    assert (refused.value.status, refused.value.message) == (
        RPCStatusCode.INVALID_ARGUMENT,
        "Memo size exceeds limit.",
    )


async def test_a_signal_or_query_of_three_megabytes_is_refused_and_harms_nobody(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Hold]):
        handle = await client.start_workflow(Hold.run, "", id=wid, task_queue=queue)
        with pytest.raises(RPCError) as refused:
            await handle.signal(Hold.add, "x" * 3 * MB)
        assert (refused.value.status, refused.value.message) == (
            RPCStatusCode.INVALID_ARGUMENT,
            "Blob data size exceeds limit.",
        )
        with pytest.raises(WorkflowQueryFailedError) as failed:
            await handle.query("size", "x" * 3 * MB)
        assert str(failed.value) == "Blob data size exceeds limit."
        await handle.signal(Hold.add, "x")
        assert await handle.result() == "0 [1]"


@pytest.mark.no_replay("the closing command is refused")
async def test_a_result_of_three_megabytes_fails_the_task(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Give]):
        handle = await client.start_workflow(Give.run, 3 * MB, id=wid, task_queue=queue, task_timeout=SHORT)
        await keeps_failing(handle)
        await handle.terminate()


@pytest.mark.no_replay("the closing command is refused")
async def test_the_history_tells_of_a_result_too_large(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Give]):
        handle = await client.start_workflow(Give.run, 3 * MB, id=wid, task_queue=queue, task_timeout=SHORT)
        cause, failure = await recorded_failure(handle)
        assert cause == "WORKFLOW_TASK_FAILED_CAUSE_PAYLOADS_TOO_LARGE"
        assert failure.application_failure_info.type == "PayloadsTooLarge"
        await handle.terminate()


async def test_an_activity_result_of_three_megabytes_fails_the_attempt(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[give]):
        order = Order("give", [3 * MB], retry=Retry(attempts=2))
        assert await call_fails(client, queue, wid, order) == [
            "ActivityError 'Activity task failed' give MAXIMUM_ATTEMPTS_REACHED",
            "ApplicationError '[TMPRL1103] Attempted to upload payloads with size that exceeded the error limit.' "
            "type=PayloadsTooLarge",
        ]


async def test_an_activity_failure_of_three_megabytes_is_cut_short_and_final(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Call], activities=[complain]):
        order = Order("complain", [3 * MB], retry=Retry(attempts=5))
        assert await call_fails(client, queue, wid, order) == [
            "ActivityError 'Activity task failed' complain NON_RETRYABLE_FAILURE",
            "ServerError 'Failure exceeds size limit.'",
            "ApplicationError 'boom' type=None",
        ]


@pytest.mark.parametrize("size", [2 * MB - 100, 2 * MB])
async def test_the_answer_to_a_query_has_the_limit_too(
    client: Client, make_worker: MakeWorker, queue: str, wid: str, size: int
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Hold]):
        handle = await client.start_workflow(Hold.run, "", id=wid, task_queue=queue)
        if size < 2 * MB:
            assert len(await handle.query(Hold.letters, size)) == size
        else:
            with pytest.raises(WorkflowQueryFailedError, match=r"^Blob data size exceeds limit\.$"):
                await handle.query(Hold.letters, size)
        await handle.terminate()


async def test_a_deep_value(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    value: Any = "bottom"
    for _ in range(200):
        value = [value]
    async with make_worker(client, task_queue=queue, workflows=[Deep]):
        assert await client.execute_workflow(Deep.run, value, id=wid, task_queue=queue) == value


@workflow.defn
class Deep:
    @workflow.run
    async def run(self, value: Any) -> Any:
        return value


@pytest.mark.parametrize(
    ("option", "name"),
    [
        ("execution_timeout", "WorkflowExecutionTimeoutSeconds"),
        ("run_timeout", "WorkflowRunTimeoutSeconds"),
        ("task_timeout", "WorkflowTaskTimeoutSeconds"),
        ("start_delay", "WorkflowStartDelaySeconds"),
    ],
)
async def test_negative_durations_are_refused(client: Client, queue: str, wid: str, option: str, name: str) -> None:
    options: dict[str, Any] = {option: timedelta(seconds=-1)}
    with pytest.raises(RPCError) as refused:
        await client.start_workflow(Hold.run, "", id=wid, task_queue=queue, **options)
    assert (refused.value.status, refused.value.message) == (
        RPCStatusCode.INVALID_ARGUMENT,
        f"An invalid {name} is set on request. cause: negative duration",
    )


async def test_a_request_for_another_namespace_that_does_not_exist_says_so(
    client: Client, queue: str, wid: str
) -> None:
    run = WorkflowExecution(workflow_id=wid)
    service = client.workflow_service
    for call in (
        service.start_workflow_execution(
            StartWorkflowExecutionRequest(
                namespace="nowhere",
                workflow_id=wid,
                workflow_type=WorkflowType(name="Hold"),
                task_queue=TaskQueue(name=queue),
                request_id="request-1",
            )
        ),
        service.signal_workflow_execution(
            SignalWorkflowExecutionRequest(namespace="nowhere", workflow_execution=run, signal_name="add")
        ),
        service.describe_workflow_execution(DescribeWorkflowExecutionRequest(namespace="nowhere", execution=run)),
        service.list_workflow_executions(ListWorkflowExecutionsRequest(namespace="nowhere")),
    ):
        with pytest.raises(RPCError) as refused:
            await call
        assert (refused.value.status, refused.value.message) == (
            RPCStatusCode.NOT_FOUND,
            "Namespace nowhere is not found.",
        )
