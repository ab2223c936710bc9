"""Headers: a caller's name travels with everything that its workflows ask for, set and read by interceptors."""

from __future__ import annotations

from contextvars import ContextVar
from datetime import timedelta
from typing import Any

from temporalio import activity, client, converter, worker, workflow
from temporalio.api.common.v1 import Payload

from tests.shadow.corpus.stage import Stage
from tests.shadow.corpus.theme import Theme

SOON = timedelta(seconds=30)
caller: ContextVar[str | None] = ContextVar("caller", default=None)
KEY = "caller"


def with_caller(input_: Any) -> Any:
    if (name := caller.get()) is not None:
        input_.headers = {**input_.headers, KEY: converter.default().payload_converter.to_payload(name)}
    return input_


def take_caller(headers: Any) -> None:
    payload: Payload | None = headers.get(KEY)
    caller.set(converter.default().payload_converter.from_payload(payload, str) if payload is not None else None)


class CallerInterceptor(client.Interceptor, worker.Interceptor):
    def intercept_client(self, next: client.OutboundInterceptor) -> client.OutboundInterceptor:  # noqa: A002
        return _Client(next)

    def intercept_activity(self, next: worker.ActivityInboundInterceptor) -> worker.ActivityInboundInterceptor:  # noqa: A002
        return _Activity(next)

    def workflow_interceptor_class(
        self,
        input: worker.WorkflowInterceptorClassInput,  # noqa: A002
    ) -> type[worker.WorkflowInboundInterceptor]:
        return _Inbound


class _Client(client.OutboundInterceptor):
    async def start_workflow(self, input: client.StartWorkflowInput) -> Any:  # noqa: A002
        return await super().start_workflow(with_caller(input))

    async def signal_workflow(self, input: client.SignalWorkflowInput) -> None:  # noqa: A002
        await super().signal_workflow(with_caller(input))


class _Activity(worker.ActivityInboundInterceptor):
    async def execute_activity(self, input: worker.ExecuteActivityInput) -> Any:  # noqa: A002
        take_caller(input.headers)
        return await super().execute_activity(input)


class _Inbound(worker.WorkflowInboundInterceptor):
    def init(self, outbound: worker.WorkflowOutboundInterceptor) -> None:
        super().init(_Outbound(outbound))

    async def execute_workflow(self, input: worker.ExecuteWorkflowInput) -> Any:  # noqa: A002
        take_caller(input.headers)
        return await super().execute_workflow(input)

    async def handle_signal(self, input: worker.HandleSignalInput) -> None:  # noqa: A002
        take_caller(input.headers)
        await super().handle_signal(input)


class _Outbound(worker.WorkflowOutboundInterceptor):
    def start_activity(self, input: worker.StartActivityInput) -> Any:  # noqa: A002
        return super().start_activity(with_caller(input))

    def start_local_activity(self, input: worker.StartLocalActivityInput) -> Any:  # noqa: A002
        return super().start_local_activity(with_caller(input))

    async def start_child_workflow(self, input: worker.StartChildWorkflowInput) -> Any:  # noqa: A002
        return await super().start_child_workflow(with_caller(input))

    def continue_as_new(self, input: worker.ContinueAsNewInput) -> Any:  # noqa: A002
        super().continue_as_new(with_caller(input))


theme = Theme("context", interceptors=(CallerInterceptor(),))


@theme.activity
@activity.defn
async def who_asks() -> str:
    return caller.get() or "nobody"


@theme.workflow
@workflow.defn
class Asks:
    def __init__(self) -> None:
        self.ended = False

    @workflow.run
    async def run(self, left: int) -> list[str]:
        said = [
            await workflow.execute_activity(who_asks, start_to_close_timeout=SOON),
            await workflow.execute_local_activity(who_asks, start_to_close_timeout=SOON),
            await workflow.execute_child_workflow(Repeats.run, id=f"{workflow.info().workflow_id}-{left}"),
        ]
        await workflow.wait_condition(lambda: self.ended or left == 0)
        if left:
            workflow.continue_as_new(left - 1)
        return said

    @workflow.signal
    def end(self) -> None:
        self.ended = True


@theme.workflow
@workflow.defn
class Repeats:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_activity(who_asks, start_to_close_timeout=SOON)


@theme.scene
async def asked_by_ada(stage: Stage) -> None:
    caller.set("Ada")
    handle = await stage.start(Asks.run, 1)
    await handle.signal(Asks.end)
    await stage.end(handle)


@theme.scene
async def asked_by_nobody(stage: Stage) -> None:
    await stage.end(await stage.start(Asks.run, 0))
