"""Interceptors of client and worker see every call, and headers travel from one to the other."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from temporalio import activity, client, worker, workflow
from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.converter import PayloadConverter

from .support import Connect, MakeWorker

TRACE: list[str] = []
"""What was called, in order."""

HEADER = "trace-id"


def header(text: str) -> Payload:
    return PayloadConverter.default.to_payload(text)


def text_of(headers: Any) -> str:
    return str(PayloadConverter.default.from_payload(headers[HEADER])) if HEADER in headers else "no header"


class Tracing(client.Interceptor, worker.Interceptor):
    """Puts a header on everything, and notes it at the other end."""

    def intercept_client(self, next: client.OutboundInterceptor) -> client.OutboundInterceptor:  # noqa: A002
        return TracingClient(next)

    def intercept_activity(self, next: worker.ActivityInboundInterceptor) -> worker.ActivityInboundInterceptor:  # noqa: A002
        return TracingActivity(next)

    def workflow_interceptor_class(
        self,
        input: worker.WorkflowInterceptorClassInput,  # noqa: A002
    ) -> type[worker.WorkflowInboundInterceptor]:
        return TracingWorkflow


class TracingClient(client.OutboundInterceptor):
    async def start_workflow(self, input: client.StartWorkflowInput) -> client.WorkflowHandle[Any, Any]:  # noqa: A002
        TRACE.append("client start")
        input.headers = {**input.headers, HEADER: header("start")}
        return await super().start_workflow(input)

    async def signal_workflow(self, input: client.SignalWorkflowInput) -> None:  # noqa: A002
        TRACE.append("client signal")
        input.headers = {**input.headers, HEADER: header("signal")}
        await super().signal_workflow(input)

    async def query_workflow(self, input: client.QueryWorkflowInput) -> Any:  # noqa: A002
        TRACE.append("client query")
        input.headers = {**input.headers, HEADER: header("query")}
        return await super().query_workflow(input)

    async def start_workflow_update(
        self,
        input: client.StartWorkflowUpdateInput,  # noqa: A002
    ) -> client.WorkflowUpdateHandle[Any]:
        TRACE.append("client update")
        input.headers = {**input.headers, HEADER: header("update")}
        return await super().start_workflow_update(input)


class TracingActivity(worker.ActivityInboundInterceptor):
    async def execute_activity(self, input: worker.ExecuteActivityInput) -> Any:  # noqa: A002
        TRACE.append(f"activity {text_of(input.headers)}")
        return await super().execute_activity(input)


class TracingWorkflow(worker.WorkflowInboundInterceptor):
    def init(self, outbound: worker.WorkflowOutboundInterceptor) -> None:
        super().init(TracingOutbound(outbound))

    async def execute_workflow(self, input: worker.ExecuteWorkflowInput) -> Any:  # noqa: A002
        note(f"run {text_of(input.headers)}")
        return await super().execute_workflow(input)

    async def handle_signal(self, input: worker.HandleSignalInput) -> None:  # noqa: A002
        note(f"signal {text_of(input.headers)}")
        await super().handle_signal(input)

    async def handle_query(self, input: worker.HandleQueryInput) -> Any:  # noqa: A002
        TRACE.append(f"query {text_of(input.headers)}")
        return await super().handle_query(input)

    def handle_update_validator(self, input: worker.HandleUpdateInput) -> None:  # noqa: A002
        TRACE.append(f"validate {text_of(input.headers)}")
        super().handle_update_validator(input)

    async def handle_update_handler(self, input: worker.HandleUpdateInput) -> Any:  # noqa: A002
        note(f"update {text_of(input.headers)}")
        return await super().handle_update_handler(input)


class TracingOutbound(worker.WorkflowOutboundInterceptor):
    def start_activity(self, input: worker.StartActivityInput) -> workflow.ActivityHandle[Any]:  # noqa: A002
        note("start activity")
        input.headers = {**input.headers, HEADER: header("from workflow")}
        return super().start_activity(input)


def note(what: str) -> None:
    if not workflow.unsafe.is_replaying():
        TRACE.append(what)


@activity.defn
async def step() -> str:
    return "stepped"


@workflow.defn
class Traced:
    def __init__(self) -> None:
        self.done = False

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self.done)
        return await workflow.execute_activity(step, start_to_close_timeout=timedelta(seconds=30))

    @workflow.signal
    def finish(self) -> None:
        self.done = True

    @workflow.query
    def ready(self) -> bool:
        return self.done

    @workflow.update
    async def ask(self) -> str:
        return "answer"

    @ask.validator
    def may_ask(self) -> None:
        return None


async def scenario(given: Client, make_worker: MakeWorker, queue: str, wid: str, **options: Any) -> None:
    TRACE.clear()
    async with make_worker(given, task_queue=queue, workflows=[Traced], activities=[step], **options):
        handle = await given.start_workflow(Traced.run, id=wid, task_queue=queue)
        assert await handle.query(Traced.ready) is False
        assert await handle.execute_update(Traced.ask) == "answer"
        await handle.signal(Traced.finish)
        assert await handle.result() == "stepped"


async def test_an_interceptor_of_the_client_serves_its_workers_too(
    connect: Connect, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    await scenario(await connect(interceptors=[Tracing()]), make_worker, queue, wid)
    assert TRACE == [
        "client start",
        "client query",
        "run start",
        "query query",
        "client update",
        "validate update",
        "update update",
        "client signal",
        "signal signal",
        "start activity",
        "activity from workflow",
    ]


async def test_an_interceptor_of_the_worker_alone_sees_no_headers_of_the_client(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    await scenario(client, make_worker, queue, wid, interceptors=[Tracing()])
    assert TRACE == [
        "run no header",
        "query no header",
        "validate no header",
        "update no header",
        "signal no header",
        "start activity",
        "activity from workflow",
    ]
