"""The life of runs: children of every kind, patches in loops, what changes from run to run, what others can read."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.common import RetryPolicy, SearchAttributeKey
from temporalio.exceptions import ActivityError, ApplicationError, ChildWorkflowError, is_cancelled_exception
from temporalio.workflow import ChildWorkflowCancellationType, ParentClosePolicy

from dbos_shadow.determinism import Plan, may_fail, plan, returns

MINUTE = timedelta(minutes=1)
ONCE = RetryPolicy(maximum_attempts=1)
STATE = SearchAttributeKey.for_keyword("CustomKeywordField")


@activity.defn
async def note(text: str) -> str:
    return text


@workflow.defn
class Minion:
    """A child."""

    @workflow.run
    async def run(self, name: str) -> str:
        return await workflow.execute_activity(note, name, start_to_close_timeout=MINUTE, retry_policy=ONCE)


@workflow.defn
class Policies:
    """Starts a child of each parent close policy, and ends before them."""

    @workflow.run
    async def run(self) -> int:
        started = 0
        for policy in (ParentClosePolicy.TERMINATE, ParentClosePolicy.ABANDON, ParentClosePolicy.REQUEST_CANCEL):
            await workflow.start_child_workflow(
                "Slow",
                policy.name,
                id=f"{workflow.info().workflow_id} {policy.name}",
                parent_close_policy=policy,
                cancellation_type=ChildWorkflowCancellationType.ABANDON,
            )
            started += 1
        await workflow.sleep(5)
        return started


@workflow.defn
class ChildrenCancelled:
    """Cancels its children in each of the ways there are, and waits for them all the same."""

    @workflow.run
    async def run(self) -> list[str]:
        tasks = [
            asyncio.create_task(
                workflow.execute_child_workflow(
                    Minion.run, kind.name, id=f"{workflow.info().workflow_id} {kind.name}", cancellation_type=kind
                )
            )
            for kind in ChildWorkflowCancellationType
        ]
        try:
            await workflow.sleep(5)
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        return [_told(end) for end in ends]


def _told(end: str | BaseException) -> str:
    if isinstance(end, str):
        return end
    if is_cancelled_exception(end):
        return "cancelled"
    return type(end).__name__


@workflow.defn
class Tree:
    """Has itself for a child."""

    @workflow.run
    async def run(self, depth: int) -> int:
        if depth == 0:
            return 1
        leaves = await asyncio.gather(
            *[
                workflow.execute_child_workflow(Tree.run, depth - 1, id=f"{workflow.info().workflow_id}.{index}")
                for index in range(2)
            ]
        )
        return sum(leaves)


@workflow.defn(name="Rounds")
class RoundsBefore:
    """Three rounds, as they were."""

    @workflow.run
    async def run(self) -> list[str]:
        said = []
        for number in range(3):
            try:
                said.append(await workflow.execute_activity(note, f"{number}", start_to_close_timeout=MINUTE))
            except ActivityError as error:
                if is_cancelled_exception(error):
                    raise
            await workflow.sleep(10)
        return said


@workflow.defn(name="Rounds")
class RoundsAfter:
    """Three rounds: a check before each, by one patch; and another patch for each round's rest."""

    @workflow.run
    async def run(self) -> list[str]:
        said = []
        for number in range(3):
            if workflow.patched("check"):
                await workflow.execute_local_activity(note, "check", start_to_close_timeout=MINUTE)
            try:
                said.append(await workflow.execute_activity(note, f"{number}", start_to_close_timeout=MINUTE))
            except ActivityError as error:
                if is_cancelled_exception(error):
                    raise
            if workflow.patched(f"no rest in round {number}"):
                continue
            await workflow.sleep(10)
        return said


@workflow.defn
class Unlike:
    """Chance and time, as a workflow may use them: in ids, in arguments, in choices."""

    @workflow.run
    async def run(self) -> list[str]:
        said = [str(workflow.uuid4()), f"{workflow.random().random()}", f"{workflow.time_ns()}"]
        for text in said:
            await workflow.execute_activity(
                note,
                f"{text} {workflow.now().isoformat()}",
                activity_id=f"{workflow.uuid4()}",
                start_to_close_timeout=MINUTE,
                schedule_to_close_timeout=timedelta(hours=1),
            )
            if workflow.random().randrange(2):
                await workflow.sleep(workflow.random().uniform(1, 30))
        deadline = workflow.now() + MINUTE
        while (left := (deadline - workflow.now()).total_seconds()) > 0:
            await workflow.sleep(min(left, 25.5))
        return said


@workflow.defn
class Told:
    """Says what it is about in its memo, its search attributes and its details, and reads it again."""

    @workflow.run
    async def run(self) -> list[str]:
        said = []
        for step in ("begun", "going", "over"):
            workflow.upsert_memo({"step": step, "before": workflow.memo_value("step", "none", type_hint=str)})
            workflow.upsert_search_attributes([STATE.value_set(step)])
            workflow.set_current_details(f"it is {step}")
            said.append(str(workflow.info().typed_search_attributes.get(STATE)))
            try:
                await workflow.execute_activity(note, step, start_to_close_timeout=MINUTE, retry_policy=ONCE)
            except ActivityError as error:
                if is_cancelled_exception(error):
                    raise
                workflow.upsert_memo({"step": None})
        workflow.upsert_search_attributes([STATE.value_unset()])
        return said


@workflow.defn
class Retried:
    """Fails a few times as a whole: its start says how often it is tried; each run takes up what the last one left."""

    @workflow.run
    async def run(self) -> str:
        info = workflow.info()
        try:
            said = await workflow.execute_activity(
                note, f"{info.attempt}", start_to_close_timeout=MINUTE, retry_policy=ONCE
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            raise ApplicationError("again", type="Again", next_retry_delay=timedelta(seconds=7)) from error
        if info.attempt < 3:
            raise ApplicationError("not yet", type="NotYet")
        return said


@workflow.defn
class ChildOrBust:
    """A child that fails is tried again by its retry policy, within a limit of time; else there is a second way."""

    @workflow.run
    async def run(self) -> str:
        own = workflow.info().workflow_id
        try:
            return await workflow.execute_child_workflow(
                Minion.run,
                "first",
                id=f"{own} first",
                execution_timeout=timedelta(minutes=5),
                retry_policy=RetryPolicy(maximum_attempts=3, initial_interval=timedelta(seconds=2)),
            )
        except ChildWorkflowError as error:
            if is_cancelled_exception(error):
                raise
            return await workflow.execute_activity(note, "second", start_to_close_timeout=MINUTE)


NOTE = {note: may_fail(value="ok")}
PLANS: dict[str, Plan] = {
    "policies": plan(Policies.run, children={"Slow": may_fail(value="x")}, must_end=True, sandboxed=False),
    "children cancelled": plan(
        ChildrenCancelled.run, activities=NOTE, children={Minion: None}, must_end=True, sandboxed=False
    ),
    "tree": plan(Tree.run, args=[2], children={Tree: None}, must_end=True, sandboxed=False),
    "rounds": plan(RoundsBefore.run, activities=NOTE, then=RoundsAfter, must_end=True, sandboxed=False),
    "rounds after": plan(RoundsAfter.run, activities=NOTE, must_end=True, sandboxed=False),
    "unlike": plan(Unlike.run, activities={note: returns("ok")}, must_end=True, sandboxed=False),
    "told": plan(
        Told.run, activities=NOTE, must_end=True, sandboxed=False, start_options={"memo": {"step": "asked for"}}
    ),
    "retried": plan(
        Retried.run, activities=NOTE, must_end=True, sandboxed=False,
        start_options={"retry_policy": RetryPolicy(maximum_attempts=4, initial_interval=timedelta(seconds=3))},
    ),
    "child or bust": plan(
        ChildOrBust.run, activities=NOTE, children={Minion: None}, must_end=True, sandboxed=False
    ),
}  # fmt: skip
