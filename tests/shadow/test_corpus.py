"""Unchanged code: every history that a real server has made of it can be read, is replayed by Temporal, and by us the same."""

from __future__ import annotations

import pytest
from temporalio.client import WorkflowHistory

from dbos_shadow.diff import diff
from dbos_shadow.sources import history
from dbos_shadow.trace import Status, Trace
from tests.shadow.corpus.judges import replayer
from tests.shadow.corpus.programs import THEMES
from tests.shadow.corpus.recorder import Played

pytestmark = [pytest.mark.temporal, pytest.mark.timeout(600)]

HISTORIES = 200
SHAPES = 90

REFUSED_BY_TEMPORAL = {
    "local/late_by_type": "a local activity's timeout is an ActivityError at first, and not when Temporal replays it",
}
"""Histories that Temporal's own Replayer does not accept, though the code is the same, and why."""


def trace_of(played: Played) -> Trace:
    return history.trace(played.recorded.events, closed=played.recorded.closed)


def shape(trace: Trace) -> tuple[str, ...]:
    """The kinds of what was asked for and what arrived, in order."""
    found = [(step.activation, 1, step.kind.value) for step in trace.steps]
    found += [(arrival.activation, 0, arrival.kind.value) for arrival in trace.arrivals]
    return (*(kind for _, _, kind in sorted(found)), trace.outcome.status.value)


def test_the_corpus_is_large_and_of_many_shapes(corpus: list[Played]) -> None:
    assert len(corpus) >= HISTORIES
    assert len({shape(trace_of(played)) for played in corpus}) >= SHAPES
    assert {played.name for played in corpus} == {
        f"{theme.name}/{scene}" for theme in THEMES.values() for scene in theme.scenes
    }


def test_every_history_is_a_whole_trace(corpus: list[Played]) -> None:
    for played in corpus:
        found = trace_of(played)
        assert found.incomplete is None, f"{played.name}: {found.incomplete}"
        assert (found.outcome.status is Status.RUNNING) is not played.recorded.closed, played.name
        assert diff(found, found).clean


async def test_temporal_replays_every_history(corpus: list[Played]) -> None:
    judges = {name: replayer(theme) for name, theme in THEMES.items()}
    refused = {}
    for played in corpus:
        recorded = WorkflowHistory(played.recorded.workflow_id, played.recorded.events)
        result = await judges[played.theme].replay_workflow(recorded, raise_on_replay_failure=False)
        if result.replay_failure is not None:
            refused[played.name] = str(result.replay_failure)
    assert refused.keys() == REFUSED_BY_TEMPORAL.keys(), refused
