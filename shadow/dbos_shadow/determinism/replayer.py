"""Temporal's own Replayer on the histories of schedules: what our journal says in Temporal's words, Temporal must accept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import wait

from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from dbos_compat.native_threads import outlive_native_threads
from dbos_shadow.aside import aside
from dbos_shadow.determinism.plan import Plan

ANSWER_S = 60.0
"""How long it may take for one history. With errors that fail the workflow it has been seen to stop for ever, where the code
does not follow the history."""

_REPLAYER = (
    "workflow_runner", "unsandboxed_workflow_runner", "interceptors", "workflow_failure_exception_types", "debug_mode",
    "disable_safe_workflow_eviction",
)  # fmt: skip
"""Options that a Worker and a Replayer share."""


def refused(
    plan: Plan, histories: Sequence[str], workflow_id: str, *, new_code: bool = False
) -> tuple[int, str] | None:
    """The first history that the Replayer refuses, and why. None: it takes them all.

    Args:
        plan: what was tested.
        histories: as JSON, such as can be replayed.
        workflow_id: of all of them.
        new_code: they end with the code that took over (``then``).
    """
    if not histories:
        return None
    through: list[int] = []

    def work() -> tuple[int, str] | None:
        return asyncio.run(_refused(plan, histories, workflow_id, new_code, through.append))

    answer = aside(work, "dbos_shadow replayer")  # the caller may be on a loop
    while not answer.done():
        before = len(through)
        wait([answer], ANSWER_S)
        if not answer.done() and len(through) == before:
            return before, f"it gave no answer in {ANSWER_S:g} s"
    return answer.result()


def can_be_replayed(history: str) -> bool:
    """There is more to it than its start. The Replayer waits for ever for the first task of a run that is yet to begin."""
    return len(WorkflowHistory.from_json("", history).events) > 1


async def _refused(
    plan: Plan, histories: Sequence[str], workflow_id: str, new_code: bool, through: Callable[[int], None]
) -> tuple[int, str] | None:
    definition = plan.then if new_code else plan.definition
    assert definition is not None
    options = {name: plan.worker_options[name] for name in _REPLAYER if name in plan.worker_options}
    if "data_converter" in plan.client_options:
        options["data_converter"] = plan.client_options["data_converter"]
    outlive_native_threads()
    replayer = Replayer(workflows=[definition.cls], **options)
    for index, text in enumerate(histories):
        history = WorkflowHistory.from_json(workflow_id, text)
        result = await replayer.replay_workflow(history, raise_on_replay_failure=False)
        if result.replay_failure is not None:
            return index, str(result.replay_failure)
        through(index)
    return None
