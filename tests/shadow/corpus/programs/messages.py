"""Signals, updates and queries: before, during and after; named, dynamic and unknown."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.client import WithStartWorkflowOperation, WorkflowUpdateFailedError, WorkflowUpdateStage
from temporalio.common import RawValue, WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError

from tests.shadow.corpus.stage import Handle, Stage
from tests.shadow.corpus.theme import Theme

theme = Theme("messages")

SOON = timedelta(seconds=30)


@theme.activity
@activity.defn
async def translate(word: str) -> str:
    return word[::-1]


@theme.workflow
@workflow.defn
class Listens:
    """Takes down what it hears until it hears "stop"."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.lock = asyncio.Lock()

    @workflow.run
    async def run(self) -> list[Any]:
        await workflow.wait_condition(lambda: "stop" in self.heard)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self.heard

    @workflow.signal
    def hear(self, word: str) -> None:
        self.heard.append(word)

    @workflow.signal(name="hear two")
    def two(self, first: str, second: dict[str, Any]) -> None:
        self.heard += [first, second]

    @workflow.signal
    async def hear_slowly(self, word: str) -> None:
        async with self.lock:
            self.heard.append(await workflow.execute_activity(translate, word, start_to_close_timeout=SOON))

    @workflow.signal(dynamic=True)
    def hear_anything(self, name: str, arguments: Sequence[RawValue]) -> None:
        self.heard.append([name, len(arguments)])

    @workflow.query
    def count(self) -> int:
        return len(self.heard)

    @workflow.update
    def say(self, word: str) -> int:
        self.heard.append(word)
        return len(self.heard)

    @say.validator
    def check_say(self, word: str) -> None:
        if not word:
            raise ValueError("say something")

    @workflow.update
    async def say_slowly(self, word: str, rounds: int) -> list[str]:
        said = []
        for _ in range(rounds):
            said.append(await workflow.execute_activity(translate, word, start_to_close_timeout=SOON))
        self.heard.append(word)
        return said

    @workflow.update
    async def refuse(self, reason: str) -> None:
        await asyncio.sleep(0.01)
        raise ApplicationError(reason, {"why": reason}, type="Unwilling")

    @workflow.update(dynamic=True)
    async def anything(self, name: str, arguments: Sequence[RawValue]) -> str:
        return f"{name} {len(arguments)}"


async def stop(stage: Stage, handle: Handle) -> None:
    await handle.signal(Listens.hear, "stop")
    await stage.end(handle)


@theme.scene
async def signals_in_a_row(stage: Stage) -> None:
    handle = await stage.start(Listens.run)
    await stage.until_stands(handle)
    for word in ("one", "two", "three"):
        await handle.signal(Listens.hear, word)
    await handle.signal(Listens.two, args=["four", {"five": [5]}])
    assert await handle.query(Listens.count) >= 0
    await stop(stage, handle)


@theme.scene
async def signal_with_start(stage: Stage) -> None:
    handle = await stage.start(Listens.run, start_signal="hear", start_signal_args=["first"])
    await stop(stage, handle)


@theme.scene
async def signals_before_the_first_task(stage: Stage) -> None:
    """Nobody serves the queue yet: they are there when the workflow begins."""
    queue = f"{stage.queue}-late"
    handle = await stage.start(Listens.run, task_queue=queue)
    for number in range(5):
        await handle.signal(Listens.hear, f"early {number}")
    async with stage.worker(Listens, queue=queue):
        await stop(stage, handle)


@theme.scene
async def signals_that_work(stage: Stage) -> None:
    handle = await stage.start(Listens.run)
    for word in ("abc", "def", "ghi"):
        await handle.signal(Listens.hear_slowly, word)
    await stop(stage, handle)


@theme.scene
async def unknown_signals(stage: Stage) -> None:
    handle = await stage.start(Listens.run)
    await handle.signal("nobody has heard of this", args=[1, 2, 3])
    await handle.signal("nor of this")
    await stop(stage, handle)


@theme.scene
async def updates(stage: Stage) -> None:
    handle = await stage.start(Listens.run)
    await handle.execute_update(Listens.say, "one")
    for refused in ((Listens.say, ""), (Listens.refuse, "not today")):
        try:
            await handle.execute_update(refused[0], refused[1])
        except WorkflowUpdateFailedError:
            continue
        raise AssertionError("the update should have been refused")
    await handle.execute_update(Listens.say_slowly, args=["two", 2], id="chosen")
    await handle.execute_update("of any name", args=[1, 2])
    await stop(stage, handle)


@theme.scene
async def updates_at_once(stage: Stage) -> None:
    handle = await stage.start(Listens.run)
    await asyncio.gather(
        *[handle.execute_update(Listens.say_slowly, args=[word, 1], id=word) for word in ("a", "b", "c")],
        handle.signal(Listens.hear, "in between"),
    )
    await stop(stage, handle)


@theme.scene
async def update_with_start(stage: Stage) -> None:
    start = WithStartWorkflowOperation(
        Listens.run,
        id=stage.id,
        task_queue=stage.queue,
        id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
    )
    await stage.client.execute_update_with_start_workflow(Listens.say, "hello", start_workflow_operation=start)
    await stop(stage, await start.workflow_handle())


@theme.scene
async def an_update_is_still_at_work(stage: Stage) -> None:
    """Accepted, not yet answered; the run is open."""
    handle = await stage.start(Listens.run)
    await handle.start_update(Listens.refuse, "later", wait_for_stage=WorkflowUpdateStage.ACCEPTED)


@theme.workflow
@workflow.defn
class ListensLater:
    """Its handlers are not there when the first signals arrive."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        await asyncio.sleep(0.5)
        workflow.set_signal_handler("knock", self.knock)
        await workflow.wait_condition(lambda: len(self.heard) >= 3)
        workflow.set_signal_handler("knock", None)
        return self.heard

    def knock(self, who: str) -> None:
        self.heard.append(who)


@theme.scene
async def buffered_signals(stage: Stage) -> None:
    handle = await stage.start(ListensLater.run)
    for who in ("Ada", "Grace", "Barbara"):
        await handle.signal("knock", who)
    await stage.end(handle)


@theme.workflow
@workflow.defn
class Ignores:
    """Has no handler for what it is told, and ends all the same."""

    @workflow.run
    async def run(self) -> str:
        await asyncio.sleep(0.5)
        return "nothing heard"


@theme.scene
async def ignored_signals(stage: Stage) -> None:
    handle = await stage.start(Ignores.run)
    await handle.signal("hello", "anybody?")
    await stage.end(handle)


@theme.workflow
@workflow.defn
class EndsAmidWork:
    """Does not wait for its handlers."""

    def __init__(self) -> None:
        self.over = False

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self.over)
        return "over"

    @workflow.signal(unfinished_policy=workflow.HandlerUnfinishedPolicy.ABANDON)
    async def work(self) -> None:
        self.over = True
        await workflow.execute_activity(translate, "in vain", start_to_close_timeout=SOON)


@theme.scene
async def ends_amid_work(stage: Stage) -> None:
    handle = await stage.start(EndsAmidWork.run)
    await handle.signal(EndsAmidWork.work)
    await stage.end(handle)


@theme.workflow
@workflow.defn(dynamic=True)
class Anything:
    @workflow.run
    async def run(self, arguments: Sequence[RawValue]) -> str:
        words = [workflow.payload_converter().from_payload(argument.payload, str) for argument in arguments]
        return f"{workflow.info().workflow_type}({', '.join(words)})"


@theme.scene
async def dynamic_workflow(stage: Stage) -> None:
    handle = await stage.client.start_workflow(
        "NobodyHasWrittenThis", args=["a", "b"], id=stage.id, task_queue=stage.queue
    )
    await stage.end(handle)


@theme.workflow
@workflow.defn
class Counter:
    """Signals and timers race; what comes first decides."""

    def __init__(self) -> None:
        self.deadline_s = 0.3
        self.changes = 0

    @workflow.run
    async def run(self) -> int:
        while True:
            seen = self.changes
            try:
                await workflow.wait_condition(lambda: self.changes != seen, timeout=self.deadline_s)  # noqa: B023
            except TimeoutError:
                return self.changes

    @workflow.signal
    def wait_until(self, seconds: float) -> None:
        self.deadline_s = seconds
        self.changes += 1


@theme.scene
async def an_updatable_timer(stage: Stage) -> None:
    handle = await stage.start(Counter.run)
    await handle.signal(Counter.wait_until, 3600.0)
    await handle.signal(Counter.wait_until, 0.2)
    await stage.end(handle)
