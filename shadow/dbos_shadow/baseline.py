"""The noise baseline: what differs between equal runs of one engine is no difference between engines.

Before two engines are compared, each is compared with itself: the same history is replayed twice on Temporal's own
replayer, and twice on the core. Three things can come out of it:

* two runs of the core differ: the workflow itself is not deterministic, and the places where they differ are told apart
  from the differences between the engines;
* Temporal's replayer accepts the history once and refuses it once: the same;
* Temporal's replayer refuses it: the code has changed since the history was made. That is said beside the differences
  that the core's replay has found, and never instead of them: changed code is a mismatch.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Sequence

from temporalio.client import WorkflowHistory
from temporalio.worker import WorkflowReplayResult

from dbos_compat.workbench import Workbench
from dbos_shadow.diff import diff
from dbos_shadow.masks import LED, masked
from dbos_shadow.past import past
from dbos_shadow.reading.decoding import CannotDecode, decoded
from dbos_shadow.recorded import Recorded
from dbos_shadow.sources import history
from dbos_shadow.telling import replay_past
from dbos_shadow.trace import Trace
from dbos_shadow.verdict import Judgement, Noise, Reason, Verdict

__all__ = ["ANSWER_S", "Noise", "measure", "refusals", "weighed"]

ANSWER_S = 30.0
"""How long Temporal's replayer may take for one history. Its core has been seen to stop for ever on one that it cannot read."""

_COMPARED = frozenset({Verdict.MATCH, Verdict.MISMATCH, Verdict.ACCEPTED})


async def measure(
    runs: Sequence[Recorded],
    bench: Workbench,
    judgements: Sequence[Judgement],
    *,
    headers_encoded: bool = False,
    answer_s: float = ANSWER_S,
) -> list[Judgement]:
    """The judgements of these runs, weighed against the noise of both engines.

    Args:
        runs: as they were judged, in the same order.
        bench: the one that judged them.
        answer_s: seconds that Temporal's replayer may take for one history.
    """
    asked = [index for index, judgement in enumerate(judgements) if judgement.verdict in _COMPARED]
    chosen = [runs[index] for index in asked]
    once = await refusals(chosen, bench, answer_s=answer_s)
    twice = await refusals(chosen, bench, answer_s=answer_s)
    weighed_ = list(judgements)
    for index, first, second in zip(asked, once, twice, strict=True):
        judgement = judgements[index]
        unsteady: frozenset[str] = frozenset()
        if judgement.actual is not None:
            again = await _again(runs[index], bench, headers_encoded)
            if again is not None:
                left, _ = masked(diff(judgement.actual, again), LED, judgement.actual, again)
                unsteady = frozenset(found.pattern for found in left.differences)
        weighed_[index] = weighed(judgement, Noise(refused=(first, second), unsteady=unsteady))
    return weighed_


async def _again(recorded: Recorded, bench: Workbench, headers_encoded: bool) -> Trace | None:
    """The core's trace of one more replay."""
    try:
        read = await decoded(recorded, bench.data_converter, namespace=bench.namespace, headers=headers_encoded)
    except CannotDecode:
        return None
    if history.trace(read.events, closed=recorded.closed).incomplete is not None:
        return None
    made = await replay_past(past(read.events), bench, workflow_id=recorded.workflow_id, run_id=recorded.run_id)
    return made.trace


async def refusals(runs: Sequence[Recorded], bench: Workbench, *, answer_s: float = ANSWER_S) -> list[str | None]:
    """Replay histories on Temporal's own replayer, in one batch; of each the type of the error, None if it was accepted.

    A replayer that does not answer in time is given up, and another one takes the rest.
    """
    found: list[str | None] = []
    while len(found) < len(runs):
        found += await _batch(runs[len(found) :], bench, answer_s)
    return found


async def _batch(runs: Sequence[Recorded], bench: Workbench, answer_s: float) -> list[str | None]:
    async def histories() -> AsyncIterator[WorkflowHistory]:
        for recorded in runs:
            yield WorkflowHistory(recorded.workflow_id, recorded.events)

    found: list[str | None] = []
    answers = bench.replayer().workflow_replay_iterator(histories())
    try:
        async with asyncio.timeout(None) as limit:
            async with answers as results:
                while len(found) < len(runs):
                    limit.reschedule(asyncio.get_running_loop().time() + answer_s)
                    result: WorkflowReplayResult = await anext(results)
                    found.append(None if result.replay_failure is None else type(result.replay_failure).__name__)
                limit.reschedule(None)
    except TimeoutError:
        found.append("NoAnswer")
    return found


def weighed(judgement: Judgement, noise: Noise) -> Judgement:
    """A judgement, once the noise is known. Pure."""
    judgement = dataclasses.replace(judgement, noise=noise)
    comparison = judgement.comparison
    if noise.unsteady and comparison is not None:
        own = [found for found in comparison.differences if found.pattern in noise.unsteady]
        left = tuple(found for found in comparison.differences if found.pattern not in noise.unsteady)
        paths = ", ".join(sorted(noise.unsteady))
        note = f"Two replays of this history on the core differ, so the workflow itself is not deterministic: {paths}."
        if left:
            comparison = dataclasses.replace(comparison, differences=left)
            return dataclasses.replace(judgement, comparison=comparison, note=_joined(judgement.note, note))
        comparison = dataclasses.replace(comparison, differences=tuple(own))
        return _undecided(dataclasses.replace(judgement, comparison=comparison), Reason.NONDETERMINISTIC, note)
    if noise.wavers:
        note = "Temporal's own replayer accepts this history and refuses it in turn: the workflow is not deterministic."
        return _undecided(judgement, Reason.NONDETERMINISTIC, note)
    if not noise.is_refused:
        return judgement
    refusal = noise.refused[0]
    if judgement.verdict is Verdict.MISMATCH:
        note = (
            f"Temporal's own replayer refuses this history with this code as well ({refusal}): the code has changed since "
            "the history was made. The differences are those of the code."
        )
        return dataclasses.replace(judgement, reason=Reason.BASELINE, note=_joined(judgement.note, note))
    note = (
        f"Temporal's own replayer refuses this history with this code ({refusal}), but the core does not: look at what it "
        "says before you trust either."
    )
    return _undecided(judgement, Reason.BASELINE, note)


def _undecided(judgement: Judgement, reason: Reason, note: str) -> Judgement:
    return dataclasses.replace(
        judgement, verdict=Verdict.INCONCLUSIVE, reason=reason, note=_joined(judgement.note, note)
    )


def _joined(*notes: str) -> str:
    return " ".join(note for note in notes if note)
