"""A child's id is a command: a replay has to give the same one."""

from __future__ import annotations

import uuid

from temporalio import workflow

from dbos_shadow.determinism import Rule, plan, returns
from tests.shadow.gallery.shape import Shape


@workflow.defn
class Invoice:
    @workflow.run
    async def run(self, customer: str) -> str:
        raise NotImplementedError


@workflow.defn(name="RandomChildId")
class Broken:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_child_workflow(Invoice.run, "ada", id=f"invoice-{uuid.uuid4()}")


@workflow.defn(name="RandomChildId")
class Mended:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_child_workflow(Invoice.run, "ada", id=f"invoice-{workflow.uuid4()}")


SHAPE = Shape(
    title="Child workflow ids from `uuid.uuid4()`",
    lesson="`workflow.uuid4()`, or an id made of the business key.",
    broken=plan(Broken.run, children={Invoice: returns("paid")}, sandboxed=False),
    mended=plan(Mended.run, children={Invoice: returns("paid")}, sandboxed=False),
    steady=False,
    rules=frozenset({Rule.REPLAY, Rule.SAME_COMMANDS}),
    linted=frozenset({"TID251"}),
)
BROKEN = SHAPE.broken
