"""temporalio's contrib packages: OpenTelemetry tracing and pydantic models, on either engine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from temporalio import activity, workflow

from .support import Connect, MakeWorker

pytest.importorskip("opentelemetry.sdk")
pytest.importorskip("pydantic")

with workflow.unsafe.imports_passed_through():
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from pydantic import BaseModel
    from temporalio.contrib.opentelemetry import TracingInterceptor
    from temporalio.contrib.pydantic import pydantic_data_converter

LIMIT = timedelta(seconds=10)


@activity.defn
async def work(number: int) -> int:
    return number + 1


@workflow.defn
class Traced:
    def __init__(self) -> None:
        self.total = 0

    @workflow.run
    async def run(self, number: int) -> int:
        await workflow.wait_condition(lambda: self.total > 0)
        return await workflow.execute_activity(work, number + self.total, start_to_close_timeout=LIMIT)

    @workflow.signal
    def add(self, number: int) -> None:
        self.total += number

    @workflow.query
    def so_far(self) -> int:
        return self.total

    @workflow.update
    async def raise_to(self, number: int) -> int:
        self.total = max(self.total, number)
        return self.total


def tree(spans: tuple[ReadableSpan, ...]) -> list[str]:
    """Spans with their parents' names, in a stable order."""
    names = {span.context.span_id: span.name for span in spans if span.context is not None}
    return sorted(f"{names.get(span.parent.span_id) if span.parent else None} > {span.name}" for span in spans)


async def test_spans_and_their_parents(connect: Connect, make_worker: MakeWorker, queue: str, wid: str) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    client = await connect(interceptors=[TracingInterceptor(provider.get_tracer(__name__))])
    async with make_worker(client, task_queue=queue, workflows=[Traced], activities=[work]):
        handle = await client.start_workflow(Traced.run, 1, id=wid, task_queue=queue)
        assert await handle.query(Traced.so_far) == 0
        await handle.signal(Traced.add, 0)
        assert await handle.execute_update(Traced.raise_to, 2) == 2
        assert await handle.result() == 4
    assert tree(exporter.get_finished_spans()) == [
        "None > QueryWorkflow:so_far",
        "None > SignalWorkflow:add",
        "None > StartWorkflow:Traced",
        "None > StartWorkflowUpdate:raise_to",
        "QueryWorkflow:so_far > HandleQuery:so_far",
        "StartActivity:work > RunActivity:work",
        "StartWorkflow:Traced > CompleteWorkflow:Traced",
        "StartWorkflow:Traced > HandleSignal:add",
        "StartWorkflow:Traced > HandleUpdate:raise_to",
        "StartWorkflow:Traced > RunWorkflow:Traced",
        "StartWorkflow:Traced > StartActivity:work",
    ]


class Parcel(BaseModel):
    number: UUID
    sent: datetime
    tags: set[str]


@activity.defn
async def tag(parcel: Parcel) -> Parcel:
    return parcel.model_copy(update={"tags": parcel.tags | {"seen"}})


@workflow.defn
class Tagging:
    @workflow.run
    async def run(self, parcels: list[Parcel]) -> list[Parcel]:
        return [await workflow.execute_activity(tag, parcel, start_to_close_timeout=LIMIT) for parcel in parcels]


async def test_pydantic_models_travel_whole(connect: Connect, make_worker: MakeWorker, queue: str, wid: str) -> None:
    client = await connect(data_converter=pydantic_data_converter)
    parcel = Parcel(number=UUID(int=7), sent=datetime(2024, 2, 29, 12, 30, 0, 123456, tzinfo=UTC), tags={"ü"})
    async with make_worker(client, task_queue=queue, workflows=[Tagging], activities=[tag]):
        [back] = await client.execute_workflow(Tagging.run, [parcel], id=wid, task_queue=queue)
    assert back == parcel.model_copy(update={"tags": {"ü", "seen"}})
