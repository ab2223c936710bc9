"""Starting a workflow, and what a started workflow knows about itself."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import Priority, SearchAttributePair, TypedSearchAttributes
from temporalio.service import RPCError, RPCStatusCode

from .support import BOOL, DATETIME, DOUBLE, INT, KEYWORD, KEYWORDS, TEXT, MakeWorker


@dataclass
class Order:
    number: int
    goods: list[str]


@workflow.defn
class Greet:
    @workflow.run
    async def run(self, name: str) -> str:
        return f"Hello, {name}!"


@workflow.defn
class Confirm:
    @workflow.run
    async def run(self, order: Order, express: bool = False) -> Order:
        return Order(order.number + 1, [*order.goods, "express" if express else "slow"])


@workflow.defn(name="about-me")
class AboutMe:
    @workflow.run
    async def run(self) -> dict[str, Any]:
        info = workflow.info()
        return {
            "attempt": info.attempt,
            "namespace": info.namespace,
            "run_id": info.run_id,
            "first_run": info.first_execution_run_id,
            "queue": info.task_queue,
            "type": info.workflow_type,
            "id": info.workflow_id,
            "parent": info.parent,
            "root": info.root,
            "continued": info.continued_run_id,
            "cron": info.cron_schedule,
            "execution_timeout": info.execution_timeout.total_seconds() if info.execution_timeout else None,
            "run_timeout": info.run_timeout.total_seconds() if info.run_timeout else None,
            "task_timeout": info.task_timeout.total_seconds(),
            "retry_policy": info.retry_policy is not None,
            "start": info.start_time.isoformat(),
            "workflow_start": info.workflow_start_time.isoformat(),
            "now": workflow.now().isoformat(),
            "memo": dict(workflow.memo()),
            "history_length": info.get_current_history_length(),
            "suggested": info.is_continue_as_new_suggested(),
        }


@workflow.defn
class Labelled:
    def __init__(self) -> None:
        self.labels: list[str] = []

    @workflow.signal
    def label(self, text: str) -> None:
        self.labels.append(text)

    @workflow.run
    async def run(self) -> str:
        return self.labels[0] if self.labels else workflow.info().typed_search_attributes[KEYWORD]


async def test_execute_returns_the_result(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Greet]):
        assert await client.execute_workflow(Greet.run, "Ada", id=wid, task_queue=queue) == "Hello, Ada!"


async def test_dataclasses_and_several_arguments_travel(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Confirm]):
        result = await client.execute_workflow(Confirm.run, args=[Order(1, ["tea"]), True], id=wid, task_queue=queue)
    assert result == Order(2, ["tea", "express"])


async def test_a_workflow_waits_for_a_worker(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    handle = await client.start_workflow(Greet.run, "later", id=wid, task_queue=queue)
    async with make_worker(client, task_queue=queue, workflows=[Greet]):
        assert await handle.result() == "Hello, later!"


async def test_started_by_name_the_result_is_plain_json(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Confirm]):
        result = await client.execute_workflow("Confirm", args=[Order(1, []), False], id=wid, task_queue=queue)
        typed = await client.get_workflow_handle(wid, result_type=Order).result()
    assert result == {"number": 2, "goods": ["slow"]}
    assert typed == Order(2, ["slow"])


async def test_run_ids_are_uuids_and_the_handle_knows_them(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    handle = await client.start_workflow(Greet.run, "x", id=wid, task_queue=queue)
    assert handle.id == wid
    assert handle.run_id is None
    assert handle.result_run_id is not None
    assert handle.first_execution_run_id == handle.result_run_id
    assert str(uuid.UUID(handle.result_run_id)) == handle.result_run_id


async def test_a_workflow_knows_who_it_is(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    before = datetime.now(UTC)
    async with make_worker(client, task_queue=queue, workflows=[AboutMe]):
        handle = await client.start_workflow(AboutMe.run, id=wid, task_queue=queue, memo={"who": "me"})
        about = await handle.result()
    after = datetime.now(UTC)
    assert before - timedelta(seconds=1) <= datetime.fromisoformat(about.pop("workflow_start")) <= after
    assert before - timedelta(seconds=1) <= datetime.fromisoformat(about["start"]) <= after
    drift = datetime.fromisoformat(about.pop("start")) - datetime.fromisoformat(about.pop("now"))
    assert abs(drift) < timedelta(milliseconds=1)  # now() has been a float on the way
    assert about == {
        "attempt": 1,
        "namespace": "default",
        "run_id": handle.result_run_id,
        "first_run": handle.result_run_id,
        "queue": queue,
        "type": "about-me",
        "id": wid,
        "parent": None,
        "root": None,
        "continued": None,
        "cron": None,
        "execution_timeout": None,
        "run_timeout": None,
        "task_timeout": 10.0,
        "retry_policy": False,
        "memo": {"who": "me"},
        "history_length": 3,
        "suggested": False,
    }


async def test_a_start_delay_holds_the_first_task_back(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[AboutMe]):
        handle = await client.start_workflow(AboutMe.run, id=wid, task_queue=queue, start_delay=timedelta(seconds=1))
        described = await handle.describe()
        about = await handle.result()
    assert described.execution_time is not None
    assert described.execution_time - described.start_time == timedelta(seconds=1)
    waited = datetime.fromisoformat(about["now"]) - datetime.fromisoformat(about["workflow_start"])
    assert waited >= timedelta(seconds=1)


async def test_a_delayed_workflow_is_running_for_those_who_ask(client: Client, queue: str, wid: str) -> None:
    handle = await client.start_workflow(Greet.run, "x", id=wid, task_queue=queue, start_delay=timedelta(hours=1))
    described = await handle.describe()
    assert described.status == WorkflowExecutionStatus.RUNNING
    assert described.history_length == 1


async def test_timeouts_are_known_to_the_workflow(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[AboutMe]):
        about = await client.execute_workflow(
            AboutMe.run,
            id=wid,
            task_queue=queue,
            execution_timeout=timedelta(seconds=60),
            run_timeout=timedelta(seconds=50),
            task_timeout=timedelta(seconds=5),
        )
    assert about["execution_timeout"] == 60
    assert about["run_timeout"] == 50
    assert about["task_timeout"] == 5


async def test_timeouts_are_clamped_by_the_one_above(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[AboutMe]):
        about = await client.execute_workflow(
            AboutMe.run,
            id=wid,
            task_queue=queue,
            execution_timeout=timedelta(seconds=20),
            run_timeout=timedelta(seconds=50),
            task_timeout=timedelta(seconds=30),
        )
    assert about["execution_timeout"] == 20
    assert about["run_timeout"] == 20
    assert about["task_timeout"] == 20


async def test_memo_and_search_attributes_are_stored(client: Client, queue: str, wid: str) -> None:
    moment = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
    attributes = TypedSearchAttributes(
        [
            SearchAttributePair(KEYWORD, "red"),
            SearchAttributePair(KEYWORDS, ["a", "b"]),
            SearchAttributePair(TEXT, "some words"),
            SearchAttributePair(INT, 7),
            SearchAttributePair(DOUBLE, 1.5),
            SearchAttributePair(BOOL, True),
            SearchAttributePair(DATETIME, moment),
        ]
    )
    handle = await client.start_workflow(
        Greet.run,
        "x",
        id=wid,
        task_queue=queue,
        memo={"customer": {"name": "Ada"}, "count": 3},
        search_attributes=attributes,
    )
    described = await handle.describe()
    assert await described.memo() == {"customer": {"name": "Ada"}, "count": 3}
    assert await described.memo_value("count") == 3
    for pair in attributes:
        assert described.typed_search_attributes[pair.key] == pair.value


async def test_the_workflow_sees_the_search_attributes_of_its_start(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Labelled]):
        result = await client.execute_workflow(
            Labelled.run,
            id=wid,
            task_queue=queue,
            search_attributes=TypedSearchAttributes([SearchAttributePair(KEYWORD, "red")]),
        )
    assert result == "red"


async def test_a_signal_is_delivered_with_the_start(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Labelled]):
        result = await client.execute_workflow(
            Labelled.run, id=wid, task_queue=queue, start_signal="label", start_signal_args=["blue"]
        )
    assert result == "blue"


async def test_the_summary_of_a_start_is_kept(client: Client, queue: str, wid: str) -> None:
    handle = await client.start_workflow(
        Greet.run, "x", id=wid, task_queue=queue, static_summary="a greeting", static_details="in **full**"
    )
    described = await handle.describe()
    assert await described.static_summary() == "a greeting"
    assert await described.static_details() == "in **full**"


@workflow.defn(name="hears-early")
class HearsEarly:
    def __init__(self) -> None:
        self.heard: list[str] = []

    @workflow.run
    async def run(self) -> tuple[list[str], float]:
        waited = (workflow.now() - workflow.info().workflow_start_time).total_seconds()
        await workflow.sleep(0.01)
        return self.heard, waited

    @workflow.signal
    def say(self, what: str) -> None:
        self.heard.append(what)

    @workflow.update
    def ask(self, what: str) -> str:
        return what


async def test_signals_do_not_hasten_a_delayed_start(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[HearsEarly]):
        delay = timedelta(seconds=2)
        handle = await client.start_workflow(HearsEarly.run, id=wid, task_queue=queue, start_delay=delay)
        await handle.signal(HearsEarly.say, "one")
        await handle.signal(HearsEarly.say, "two")
        heard, waited = await handle.result()
        assert heard == ["one", "two"]
        assert waited >= 2


async def test_an_update_hastens_a_delayed_start(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[HearsEarly]):
        delay = timedelta(seconds=60)
        handle = await client.start_workflow(HearsEarly.run, id=wid, task_queue=queue, start_delay=delay)
        assert await handle.execute_update(HearsEarly.ask, "well?") == "well?"
        _, waited = await handle.result()
        assert waited < 30


@pytest.mark.parametrize("with_signal", [False, True], ids=["start", "signal with start"])
@pytest.mark.parametrize(
    ("priority", "message"),
    [
        (Priority(fairness_weight=-1.0), "must be greater than zero"),
        (Priority(fairness_key="é" * 33), "fairness key length exceeds limit"),
    ],
    ids=["weight", "key"],
)
async def test_a_priority_that_is_none(
    client: Client, queue: str, wid: str, priority: Priority, message: str, with_signal: bool
) -> None:
    signal: dict[str, Any] = {"start_signal": "hello"} if with_signal else {}
    with pytest.raises(RPCError) as refused:
        await client.start_workflow("Nobody", id=wid, task_queue=queue, priority=priority, **signal)
    assert (refused.value.message, refused.value.status) == (message, RPCStatusCode.INVALID_ARGUMENT)
