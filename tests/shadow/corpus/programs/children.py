"""Children and strangers: ends of all kinds, what becomes of them when their parent is gone, signals and cancels."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.common import RetryPolicy, SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import ApplicationError, ChildWorkflowError, FailureError, WorkflowAlreadyStartedError
from temporalio.workflow import ChildWorkflowCancellationType, ParentClosePolicy

from tests.compat.support import KEYWORD
from tests.shadow.corpus.stage import Handle, Stage
from tests.shadow.corpus.theme import Theme

theme = Theme("children")

SOON = timedelta(seconds=30)


def name(part: str) -> str:
    """Ids of children begin with their parent's."""
    return f"{workflow.info().workflow_id}-{part}"


@theme.activity
@activity.defn
async def greet(who: str) -> str:
    return f"hello {who}"


@theme.workflow
@workflow.defn
class Child:
    @workflow.run
    async def run(self, who: str) -> str:
        return await workflow.execute_activity(greet, who, start_to_close_timeout=SOON)


@theme.workflow
@workflow.defn
class FailingChild:
    @workflow.run
    async def run(self, reason: str) -> None:
        raise ApplicationError(reason, {"reason": reason}, type="Naughty")


@theme.workflow
@workflow.defn
class WaitingChild:
    """Waits to be told, or to be cancelled, which it answers with a last activity."""

    def __init__(self) -> None:
        self.told: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        try:
            await workflow.wait_condition(lambda: "go" in self.told)
        except asyncio.CancelledError:
            await workflow.execute_activity(greet, "the end", start_to_close_timeout=SOON)
            raise
        return self.told

    @workflow.signal
    def tell(self, word: str) -> None:
        self.told.append(word)


@theme.workflow
@workflow.defn
class ChildOfManyRuns:
    @workflow.run
    async def run(self, left: int) -> str:
        if left:
            workflow.continue_as_new(left - 1)
        return "the last of them"


@theme.workflow
@workflow.defn
class Parent:
    @workflow.run
    async def run(self) -> list[str]:
        one = await workflow.execute_child_workflow(Child.run, "one", id=name("one"))
        side_by_side = await asyncio.gather(
            *[workflow.execute_child_workflow(Child.run, who, id=name(who)) for who in ("two", "three")]
        )
        chain = await workflow.execute_child_workflow(ChildOfManyRuns.run, 2, id=name("chain"))
        return [one, *side_by_side, chain]


@theme.workflow
@workflow.defn
class ParentOfFailure:
    @workflow.run
    async def run(self, catches: bool) -> str:
        try:
            await workflow.execute_child_workflow(
                FailingChild.run,
                "on purpose",
                id=name("failing"),
                retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=10), maximum_attempts=2),
            )
        except ChildWorkflowError as error:
            if not catches:
                raise
            return f"{error.workflow_type} {error.retry_state} {error.cause}"
        return "it did well"


@theme.workflow
@workflow.defn
class ParentWithOptions:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_child_workflow(
            Child.run,
            "with options",
            id=name("optional"),
            memo={"of": "the child", "n": 1},
            search_attributes=TypedSearchAttributes([SearchAttributePair(KEYWORD, "child")]),
            run_timeout=timedelta(seconds=50),
            execution_timeout=timedelta(seconds=60),
            task_timeout=timedelta(seconds=5),
            retry_policy=RetryPolicy(maximum_attempts=3),
            static_summary="a child with everything",
        )


@theme.workflow
@workflow.defn
class LeavesAChild:
    """Ends while its child waits; the policy says what becomes of it."""

    @workflow.run
    async def run(self, policy: str, how: str) -> str:
        await workflow.start_child_workflow(
            WaitingChild.run, id=name("left"), parent_close_policy=ParentClosePolicy[policy]
        )
        if how == "fail":
            raise ApplicationError("the parent fails")
        return "gone"


@theme.workflow
@workflow.defn
class CancelsItsChild:
    @workflow.run
    async def run(self, kind: str) -> str:
        child = await workflow.start_child_workflow(
            WaitingChild.run, id=name("cancelled"), cancellation_type=ChildWorkflowCancellationType[kind]
        )
        await asyncio.sleep(0.5)
        child.cancel()
        try:
            return str(await child)
        except FailureError as error:
            return f"{type(error).__name__} {type(error.cause).__name__}"


@theme.workflow
@workflow.defn
class TellsItsChild:
    @workflow.run
    async def run(self) -> list[str]:
        child = await workflow.start_child_workflow(WaitingChild.run, id=name("told"))
        for word in ("ready", "steady", "go"):
            await child.signal(WaitingChild.tell, word)
        return await child


@theme.workflow
@workflow.defn
class StartsItTwice:
    @workflow.run
    async def run(self) -> str:
        child = await workflow.start_child_workflow(WaitingChild.run, id=name("twice"))
        try:
            await workflow.start_child_workflow(WaitingChild.run, id=name("twice"))
        except WorkflowAlreadyStartedError as error:
            said = f"already there: {error.workflow_type}"
        await child.signal(WaitingChild.tell, "go")
        await child
        return said


@theme.workflow
@workflow.defn
class Stranger:
    """Signals and cancels workflows that are not its own, one of which is not there."""

    @workflow.run
    async def run(self, other: str) -> list[str]:
        said = []
        known: workflow.ExternalWorkflowHandle[WaitingChild] = workflow.get_external_workflow_handle(other)
        await known.signal(WaitingChild.tell, "psst")
        await known.cancel()
        for deed in ("signal", "cancel"):
            nobody = workflow.get_external_workflow_handle(f"{workflow.info().workflow_id}-nobody")
            try:
                await (nobody.signal("tell", "anybody?") if deed == "signal" else nobody.cancel())
            except ApplicationError as error:
                said.append(f"{deed}: {error.type}")
        return said


@theme.workflow
@workflow.defn
class Grandparent:
    @workflow.run
    async def run(self) -> list[str]:
        return await workflow.execute_child_workflow(Parent.run, id=name("parent"))


theme.runs("parent", Parent.run)
theme.runs("grandparent", Grandparent.run)
theme.runs("failure_caught", ParentOfFailure.run, True)
theme.runs("failure_not_caught", ParentOfFailure.run, False)
theme.runs("with_options", ParentWithOptions.run)
theme.runs("tells_its_child", TellsItsChild.run)
theme.runs("starts_it_twice", StartsItTwice.run)
for kind in ("TRY_CANCEL", "WAIT_CANCELLATION_COMPLETED", "WAIT_CANCELLATION_REQUESTED", "ABANDON"):
    theme.runs(f"cancels_its_child_{kind}", CancelsItsChild.run, kind)
for policy in ("TERMINATE", "REQUEST_CANCEL", "ABANDON"):
    theme.runs(f"leaves_a_child_{policy}", LeavesAChild.run, policy, "complete")
theme.runs("fails_and_leaves_a_child", LeavesAChild.run, "TERMINATE", "fail")


@theme.scene
async def a_stranger(stage: Stage) -> None:
    known: Handle = await stage.start(WaitingChild.run, also="-known")
    await stage.until_stands(known)
    await stage.end(await stage.start(Stranger.run, known.id))
    await stage.end(known)


@theme.scene
async def a_cancelled_family(stage: Stage) -> None:
    handle = await stage.start(TellsItsChild.run)
    await stage.end(handle)
    open_family = await stage.start(CancelsItsChild.run, "ABANDON", also="-abandoned")
    await stage.end(open_family)
