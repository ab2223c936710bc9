"""Temporal's own replayer on one history, and how to be rid of one that does not answer.

Its core has been seen to stop for ever: on a history that it cannot read; and on changed code, where every error fails the
workflow (``workflow_failure_exception_types=[Exception]``). Such a replayer can be neither cancelled nor left. So it works
in a daemon thread with an event loop of its own, and is abandoned there, asleep, when its time is over.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import Counter

from temporalio.client import WorkflowHistory

from dbos_compat.workbench import Workbench
from dbos_shadow.aside import aside
from dbos_shadow.recorded import Recorded

__all__ = ["ANSWER_S", "answers_of"]

ANSWER_S = 20.0
"""How long it may take for one history."""

SILENT_MAX = 2
"""So many runs of a workflow type may go without an answer; then those of the type that follow are not asked about. Each
costs its time, and leaves a thread behind."""

Answer = str | None
"""The type of the error; None: the history was accepted."""

_silent: weakref.WeakKeyDictionary[Workbench, Counter[str]] = weakref.WeakKeyDictionary()
"""Runs without an answer, by workflow type."""


async def answers_of(
    plain: Recorded, bench: Workbench, *, times: int = 1, answer_s: float = ANSWER_S
) -> tuple[Answer, ...] | None:
    """Replay a history so many times, and what came of each; None: no answer.

    Args:
        plain: its payloads are decoded, for a codec may belong to the caller's event loop.
        answer_s: seconds for each time.
    """
    silent = _silent.setdefault(bench, Counter())
    if silent[plain.workflow_type] >= SILENT_MAX:
        return None
    found: list[Answer] = []
    for _ in range(times):
        try:
            found.append(await _aside(plain, bench, answer_s))
        except TimeoutError:
            silent[plain.workflow_type] += 1
            return None
    return tuple(found)


async def _aside(plain: Recorded, bench: Workbench, answer_s: float) -> Answer:
    """One replay in a thread. Raises TimeoutError, and what the replayer raises."""
    answer = aside(lambda: asyncio.run(_answer(plain, bench)), "dbos_shadow replayer")
    async with asyncio.timeout(answer_s):
        return await asyncio.wrap_future(answer)


async def _answer(plain: Recorded, bench: Workbench) -> Answer:
    given = WorkflowHistory(plain.workflow_id, plain.events)
    result = await bench.replayer(decoded=True).replay_workflow(given, raise_on_replay_failure=False)
    return None if result.replay_failure is None else type(result.replay_failure).__name__
