"""The noise baseline: what differs between equal runs of one engine is no difference between engines.

Before two engines are compared, each is compared with itself: the same history is replayed twice on Temporal's own
replayer, and twice on the core. Three things can come out of it:

* two runs of the core differ: the workflow itself is not deterministic, and the places where they differ are told apart
  from the differences between the engines. Both are of this process: what hangs on its hash seed, such as the order of a
  set of strings, is the same in both, and is not found here;
* Temporal's replayer accepts the history once and refuses it once: the same;
* Temporal's replayer refuses it: the code has changed since the history was made. That is said beside the differences
  that the core's replay has found, and never instead of them: changed code is a mismatch;
* Temporal's replayer does not answer (``temporal_replayer``): then the baseline is missing, and that is said.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from dbos_compat.workbench import Workbench
from dbos_shadow.diff import diff
from dbos_shadow.masks import LED, masked
from dbos_shadow.past import past
from dbos_shadow.reading.decoding import CannotDecode, decoded
from dbos_shadow.recorded import Recorded
from dbos_shadow.sources import history
from dbos_shadow.telling import replay_past
from dbos_shadow.temporal_replayer import ANSWER_S, answers_of
from dbos_shadow.trace import Trace
from dbos_shadow.verdict import Judgement, Noise, Reason, Verdict

__all__ = ["MISSING", "Noise", "measure", "weighed"]

MISSING = (
    "Temporal's own replayer did not answer, so there is no baseline: whether the code has changed since the history was "
    "made is not known."
)

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
    weighed_ = list(judgements)
    for index, (recorded, judgement) in enumerate(zip(runs, judgements, strict=True)):
        if judgement.verdict not in _COMPARED:
            continue
        try:
            plain = await decoded(recorded, bench.data_converter, namespace=bench.namespace, headers=headers_encoded)
        except CannotDecode:
            continue  # it could be decoded a moment ago
        refused = await answers_of(plain, bench, times=2, answer_s=answer_s)
        unsteady: frozenset[str] = frozenset()
        if judgement.actual is not None:
            again = await _again(plain, bench)
            if again is not None:
                left, _ = masked(diff(judgement.actual, again), LED, judgement.actual, again)
                unsteady = frozenset(found.pattern for found in left.differences)
        weighed_[index] = weighed(judgement, Noise(refused=refused or (), unsteady=unsteady, missing=refused is None))
    return weighed_


async def _again(plain: Recorded, bench: Workbench) -> Trace | None:
    """The core's trace of one more replay."""
    if history.trace(plain.events, closed=plain.closed).incomplete is not None:
        return None
    made = await replay_past(past(plain.events), bench, workflow_id=plain.workflow_id, run_id=plain.run_id)
    return made.trace


def weighed(judgement: Judgement, noise: Noise) -> Judgement:
    """A judgement, once the noise is known. Pure."""
    if noise.missing:
        judgement = dataclasses.replace(judgement, note=_joined(judgement.note, MISSING))
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
