"""The other environments, and what they have in common with Temporal's."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import temporalio.testing
from temporalio.client import Interceptor, OutboundInterceptor, StartWorkflowInput, WorkflowHandle
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

from dbos_compat import Unsupported
from dbos_compat.testing import ActivityEnvironment, WorkflowEnvironment

from .programs import Sleeps, third_time_lucky, worker


def test_every_name_of_temporals_is_there() -> None:
    theirs, ours = temporalio.testing.WorkflowEnvironment, WorkflowEnvironment
    assert issubclass(ours, theirs)
    assert ActivityEnvironment is temporalio.testing.ActivityEnvironment
    for name in ("start_local", "start_time_skipping"):
        for argument in inspect.signature(getattr(theirs, name)).parameters:
            assert argument in inspect.signature(getattr(ours, name)).parameters or _accepted(name, argument), argument


def _accepted(method: str, argument: str) -> bool:
    """Taken, if only to be refused by name when it asks for something."""
    from dbos_compat.testing.environment import _no_server

    _no_server(method, {argument: None})
    return True


async def test_local_is_the_engine_in_real_time() -> None:
    keyword = SearchAttributeKey.for_keyword("Customer")
    async with await WorkflowEnvironment.start_local(
        namespace="tests", search_attributes=[keyword], dev_server_download_version="v1.3.0"
    ) as env:
        assert not env.supports_time_skipping
        assert env.client.namespace == "tests"
        with env.auto_time_skipping_disabled():
            assert abs(await env.get_current_time() - datetime.now(UTC)) < timedelta(seconds=30)
        begun = datetime.now(UTC)
        await env.sleep(0.05)
        assert datetime.now(UTC) - begun >= timedelta(seconds=0.04)
        async with worker(env.client, task_queue="q", workflows=[Sleeps]):
            handle = await env.client.start_workflow(
                Sleeps.run,
                0.01,
                id="sleeps",
                task_queue="q",
                search_attributes=TypedSearchAttributes([SearchAttributePair(keyword, "ada")]),
            )
            assert await handle.result() == "awake"
            found = [run.id async for run in env.client.list_workflows("Customer = 'ada'")]
            assert found == ["sleeps"]
            another = await env.connect_client(interceptors=[Listens()])
            assert await another.get_workflow_handle("sleeps").result() == "awake"


@pytest.mark.parametrize(
    "arguments", [{"port": 7233}, {"ui": True}, {"dev_server_extra_args": ["--headless"]}], ids=lambda a: next(iter(a))
)
async def test_who_asks_for_a_server_is_told(arguments: dict[str, Any]) -> None:
    with pytest.raises(Unsupported, match=next(iter(arguments))):
        await WorkflowEnvironment.start_local(**arguments)


async def test_an_argument_that_nobody_knows() -> None:
    with pytest.raises(TypeError, match="colour"):
        await WorkflowEnvironment.start_time_skipping(colour="blue")


async def test_the_second_kind_is_refused_by_name() -> None:
    with pytest.raises(Unsupported, match="start_time_skipping_v2"):
        await WorkflowEnvironment.start_time_skipping_v2()


class Listens(Interceptor):
    def __init__(self) -> None:
        self.started: list[str] = []

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:  # noqa: A002
        listens = self

        class Outbound(OutboundInterceptor):
            async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle:  # noqa: A002
                listens.started.append(input.workflow)
                return await super().start_workflow(input)

        return Outbound(next)


async def test_interceptors_of_a_client_stay() -> None:
    listens = Listens()
    async with await WorkflowEnvironment.start_time_skipping(interceptors=[listens]) as env:
        async with WorkflowEnvironment.from_client(env.client) as again:
            async with worker(again.client, task_queue="q", workflows=[Sleeps]):
                assert await again.client.execute_workflow(Sleeps.run, 3600.0, id="w", task_queue="q") == "awake"
            assert not again.supports_time_skipping
        assert listens.started == ["Sleeps"]
        # Who only borrowed the client has left it open.
        async with worker(env.client, task_queue="q", workflows=[Sleeps]):
            assert await env.client.execute_workflow(Sleeps.run, 3600.0, id="x", task_queue="q") == "awake"


async def test_two_environments_side_by_side() -> None:
    async with (
        await WorkflowEnvironment.start_time_skipping() as one,
        await WorkflowEnvironment.start_time_skipping() as two,
    ):
        await one.sleep(timedelta(days=2))
        assert await one.get_current_time() - await two.get_current_time() > timedelta(days=1)
    await one.shutdown()  # twice does no harm


async def test_activities_alone() -> None:
    env = ActivityEnvironment()
    env.info = ActivityEnvironment.default_info()
    with pytest.raises(Exception, match="not yet"):
        await env.run(third_time_lucky)
