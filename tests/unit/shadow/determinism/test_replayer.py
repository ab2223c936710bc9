"""Temporal's Replayer beside the kit: one that never answers holds nothing up."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from temporalio import workflow

from dbos_shadow.determinism import plan, run_schedule
from dbos_shadow.determinism import replayer as replayer_module
from dbos_shadow.determinism.replayer import refused


@workflow.defn(sandboxed=False)
class Naps:
    @workflow.run
    async def run(self) -> None:
        await workflow.sleep(1)


class AnswersOnce:
    """Takes the first history, and is never through with the second."""

    def __init__(self, **_: Any) -> None:
        self._asked = 0

    async def replay_workflow(self, *_: Any, **__: Any) -> SimpleNamespace:
        self._asked += 1
        if self._asked > 1:
            await asyncio.Event().wait()
        return SimpleNamespace(replay_failure=None)


def test_one_that_never_answers_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    tested = plan(Naps.run, sandboxed=False)
    [history] = run_schedule(tested, []).histories
    assert refused(tested, [history] * 3, "determinism") is None
    monkeypatch.setattr(replayer_module, "Replayer", AnswersOnce)
    monkeypatch.setattr(replayer_module, "ANSWER_S", 0.2)
    assert refused(tested, [history] * 3, "determinism") == (1, "it gave no answer in 0.2 s")
