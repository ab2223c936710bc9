"""A payload codec sees everything that a program says: nothing of it is in the clear in any history or description."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity, client, worker, workflow
from temporalio.api.common.v1 import Payload
from temporalio.client import Client, HeaderCodecBehavior, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.converter import PayloadConverter
from temporalio.exceptions import ApplicationError, ChildWorkflowError

from .support import Connect, MakeWorker, chain, eventually
from .test_converters import SCRAMBLED

SOON = timedelta(seconds=30)
TEXT = "between-us"


@activity.defn
async def repeat(text: str) -> str:
    activity.heartbeat(text)
    if activity.info().attempt == 1 and not activity.info().is_local:
        raise ApplicationError(text, text, type="Again")
    return text


@workflow.defn
class Inner:
    @workflow.run
    async def run(self, text: str) -> str:
        raise ApplicationError(f"no {text}", text)


@workflow.defn
class Outer:
    def __init__(self) -> None:
        self.said: list[str] = []

    @workflow.run
    async def run(self, text: str, hop: int) -> str:
        if hop == 0:
            await self.tell_everybody(text)
        return text

    async def tell_everybody(self, text: str) -> None:
        workflow.upsert_memo({"later": text})
        workflow.set_current_details(text)
        said = await workflow.execute_local_activity(repeat, text, start_to_close_timeout=SOON)
        said += await workflow.execute_activity(repeat, text, start_to_close_timeout=SOON, summary=text)
        await workflow.sleep(0.01, summary=text)
        try:
            await workflow.execute_child_workflow(
                Inner.run, text, id=f"{workflow.info().workflow_id}-inner", memo={"inner": text}, static_summary=text
            )
        except ChildWorkflowError as failed:
            self.said.append(str(failed.cause))
        await workflow.wait_condition(lambda: "go on" in self.said)
        workflow.continue_as_new(args=[text, 1], memo={"next": said})

    @workflow.signal
    def say(self, text: str, then: str) -> None:
        self.said += [text, then]

    @workflow.query
    def heard(self, text: str) -> list[str]:
        return [*self.said, text]

    @workflow.update
    def ask(self, text: str) -> str:
        if len(self.said) > 1:
            raise ApplicationError(text, text)
        return text


def in_the_clear(message: Any) -> bool:
    return TEXT.encode() in message.SerializeToString()


async def events_in_the_clear(handle: WorkflowHandle[Any, Any]) -> list[str]:
    events = (await handle.fetch_history()).events
    assert events
    return [str(event) for event in events if in_the_clear(event)]


async def test_nothing_is_in_the_clear(connect: Connect, make_worker: MakeWorker, queue: str, wid: str) -> None:
    connected = await connect(data_converter=SCRAMBLED)
    async with make_worker(connected, task_queue=queue, workflows=[Outer, Inner], activities=[repeat]):
        handle = await connected.start_workflow(
            Outer.run,
            args=[TEXT, 0],
            id=wid,
            task_queue=queue,
            memo={"first": TEXT},
            static_summary=TEXT,
            static_details=TEXT,
        )
        first = connected.get_workflow_handle(wid, run_id=handle.first_execution_run_id)

        async def child_failed() -> None:
            assert await handle.query(Outer.heard, TEXT) == [f"no {TEXT}", TEXT]

        await eventually(child_failed)
        assert await handle.execute_update(Outer.ask, TEXT) == TEXT
        described = await first.describe()
        assert await described.memo() == {"first": TEXT, "later": TEXT}
        assert (await described.static_summary(), await described.static_details()) == (TEXT, TEXT)
        assert not in_the_clear(described.raw_description)
        await handle.signal(Outer.say, args=[TEXT, "wait"])
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await handle.execute_update(Outer.ask, TEXT)
        assert chain(refused.value)[1] == f"ApplicationError {TEXT!r} type=None details=({TEXT!r},)"
        await handle.signal(Outer.say, args=[TEXT, "go on"])
        assert await handle.result() == TEXT
        inner = connected.get_workflow_handle(f"{wid}-inner")
        current = connected.get_workflow_handle(wid)
        assert await (await current.describe()).memo() == {"next": TEXT + TEXT}
        for run in (first, inner, current):
            assert await events_in_the_clear(run) == []
            assert not in_the_clear((await run.describe()).raw_description)


class Tenant(client.Interceptor, worker.Interceptor):
    """Hands a header on from the client to the workflow and from there to the activity."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def read(self, headers: Mapping[str, Payload]) -> Mapping[str, Payload]:
        self.seen.append(PayloadConverter.default.from_payload(headers["tenant"], str))
        return headers

    def intercept_client(self, next: client.OutboundInterceptor) -> client.OutboundInterceptor:  # noqa: A002
        return TenantOfClient(next)

    def intercept_activity(self, next: worker.ActivityInboundInterceptor) -> worker.ActivityInboundInterceptor:  # noqa: A002
        return TenantOfActivity(next, self)

    def workflow_interceptor_class(
        self,
        input: worker.WorkflowInterceptorClassInput,  # noqa: A002
    ) -> type[worker.WorkflowInboundInterceptor]:
        tenant = self

        class OfWorkflow(worker.WorkflowInboundInterceptor):
            def init(self, outbound: worker.WorkflowOutboundInterceptor) -> None:
                super().init(TenantOfCommands(outbound))

            async def execute_workflow(self, input: worker.ExecuteWorkflowInput) -> Any:  # noqa: A002
                if not workflow.unsafe.is_replaying():
                    tenant.read(input.headers)
                return await super().execute_workflow(input)

        return OfWorkflow


class TenantOfClient(client.OutboundInterceptor):
    async def start_workflow(self, input: client.StartWorkflowInput) -> WorkflowHandle[Any, Any]:  # noqa: A002
        input.headers = {"tenant": PayloadConverter.default.to_payload(TEXT)}
        return await super().start_workflow(input)


class TenantOfActivity(worker.ActivityInboundInterceptor):
    def __init__(self, next: worker.ActivityInboundInterceptor, tenant: Tenant) -> None:  # noqa: A002
        super().__init__(next)
        self.tenant = tenant

    async def execute_activity(self, input: worker.ExecuteActivityInput) -> Any:  # noqa: A002
        self.tenant.read(input.headers)
        return await super().execute_activity(input)


class TenantOfCommands(worker.WorkflowOutboundInterceptor):
    def start_activity(self, input: worker.StartActivityInput) -> workflow.ActivityHandle[Any]:  # noqa: A002
        input.headers = {"tenant": PayloadConverter.default.to_payload(TEXT)}
        return super().start_activity(input)


@activity.defn
async def nothing() -> None:
    """Has a header."""


@workflow.defn
class HandsOn:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(nothing, start_to_close_timeout=SOON)


@pytest.mark.parametrize(
    ("behavior", "clear"),
    [(HeaderCodecBehavior.NO_CODEC, 2), (HeaderCodecBehavior.CODEC, 0)],
)
async def test_headers_go_through_the_codec_where_the_client_says_so(
    connect: Connect, make_worker: MakeWorker, queue: str, wid: str, behavior: HeaderCodecBehavior, clear: int
) -> None:
    tenant = Tenant()
    connected: Client = await connect(data_converter=SCRAMBLED, header_codec_behavior=behavior, interceptors=[tenant])
    async with make_worker(connected, task_queue=queue, workflows=[HandsOn], activities=[nothing]):
        handle = await connected.start_workflow(HandsOn.run, id=wid, task_queue=queue)
        await handle.result()
    assert tenant.seen == [TEXT, TEXT]
    assert len(await events_in_the_clear(handle)) == clear
