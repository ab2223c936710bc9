"""A dynamic workflow: one class for every type that has none of its own, with dynamic handlers and its own options."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RawValue

from .support import MakeWorker, failed_with


@activity.defn(dynamic=True)
async def any_activity(args: Sequence[RawValue]) -> list[Any]:
    converter = activity.payload_converter()
    return [activity.info().activity_type, *[converter.from_payload(value.payload) for value in args]]


@workflow.defn(dynamic=True)
class AnyWorkflow:
    def __init__(self) -> None:
        self.heard: list[Any] = []

    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> list[Any]:
        converter = workflow.payload_converter()
        given = [converter.from_payload(value.payload) for value in args]
        await workflow.wait_condition(lambda: len(self.heard) >= 2)
        remote = await workflow.execute_activity("Remote", 1, start_to_close_timeout=timedelta(seconds=10))
        local = await workflow.execute_local_activity("Local", 2, start_to_close_timeout=timedelta(seconds=10))
        return [workflow.info().workflow_type, given, self.heard, remote, local]

    @workflow.signal(dynamic=True)
    async def any_signal(self, name: str, args: Sequence[RawValue]) -> None:
        self.heard.append([name, *self.values(args)])

    @workflow.update(dynamic=True)
    async def any_update(self, name: str, args: Sequence[RawValue]) -> str:
        self.heard.append([name, *self.values(args)])
        return f"{name} done"

    @any_update.validator
    def check(self, name: str, args: Sequence[RawValue]) -> None:
        if name == "refused":
            raise ValueError("not this one")

    @workflow.query(dynamic=True)
    def any_query(self, name: str, args: Sequence[RawValue]) -> list[Any]:
        return [name, *self.values(args), len(self.heard)]

    def values(self, args: Sequence[RawValue]) -> list[Any]:
        return [workflow.payload_converter().from_payload(value.payload) for value in args]


@workflow.defn
class Known:
    @workflow.run
    async def run(self) -> str:
        return "known by name"


async def test_one_class_for_every_type(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[AnyWorkflow, Known], activities=[any_activity]):
        handle = await client.start_workflow("Unheard", args=["of", 7], id=wid, task_queue=queue)
        assert await handle.query("what", 1) == ["what", 1, 0]
        await handle.signal("ring", args=[1, 2])
        with failed_with("ApplicationError 'not this one' type=ValueError"):
            await handle.execute_update("refused")
        assert await handle.execute_update("set", {"a": 1}) == "set done"
        assert await handle.result() == [
            "Unheard",
            ["of", 7],
            [["ring", 1, 2], ["set", {"a": 1}]],
            ["Remote", 1],
            ["Local", 2],
        ]
        assert await client.execute_workflow(Known.run, id=f"{wid}-known", task_queue=queue) == "known by name"
    assert (await handle.describe()).workflow_type == "Unheard"


class Own(Exception):
    """Listed as a failure where the workflow's dynamic options say so."""


@workflow.defn(dynamic=True)
class Configured:
    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> None:
        raise Own(f"as {workflow.info().workflow_type}")

    @workflow.dynamic_config
    def options(self) -> workflow.DynamicWorkflowConfig:
        return workflow.DynamicWorkflowConfig(failure_exception_types=[Own])


async def test_options_of_a_dynamic_workflow(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Configured]):
        with failed_with("ApplicationError 'as Whatever' type=Own"):
            await client.execute_workflow("Whatever", id=wid, task_queue=queue)
