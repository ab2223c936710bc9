"""A set of strings has another order in every process: their hashes are salted."""

from __future__ import annotations

from temporalio import activity, workflow

from dbos_shadow.determinism import Rule, plan, returns
from tests.shadow.gallery.shape import MINUTE, Shape


@activity.defn
async def close(account: str) -> None:
    raise NotImplementedError


ACCOUNTS = ["checking", "savings", "card", "broker", "loan", "checking"]


@workflow.defn(name="SetOfStrings")
class Broken:
    @workflow.run
    async def run(self) -> None:
        for account in set(ACCOUNTS):
            await workflow.execute_activity(
                close, account, activity_id=f"close-{account}", start_to_close_timeout=MINUTE
            )


@workflow.defn(name="SetOfStrings")
class Mended:
    @workflow.run
    async def run(self) -> None:
        for account in sorted(set(ACCOUNTS)):
            await workflow.execute_activity(
                close, account, activity_id=f"close-{account}", start_to_close_timeout=MINUTE
            )


SHAPE = Shape(
    title="Iterating over a set of strings",
    lesson="`sorted(...)`, or `dict.fromkeys(...)` to drop duplicates in order.",
    broken=plan(Broken.run, activities={close: returns()}, sandboxed=False),
    mended=plan(Mended.run, activities={close: returns()}, sandboxed=False),
    steady=False,
    rules=frozenset({Rule.HASH_SEED}),
)
BROKEN = SHAPE.broken
