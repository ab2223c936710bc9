"""Replay: a recorded Temporal history is fed to the core, and what the core makes of it is compared with the record.

The workflow is shown what it was shown then, task by task, in the recorded order and batching, at the recorded time. Each
request of the code is answered as the request of the recorded step was that it is paired with (``pairing``); what was never
recorded gets no answer. So changed code goes on as far as it makes sense, the first divergence is the first one, and
nothing hangs: there is nobody to wait for.

What is compared is the journal that the core has written meanwhile, with all inputs, against the history.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Sequence
from dataclasses import replace

from dbos_compat.convert.failures import failure as read_failure
from dbos_compat.workbench import Workbench
from dbos_core.runner import TaskFailure
from dbos_shadow.alike import alike_by
from dbos_shadow.allow import Allowances
from dbos_shadow.cut import unless_cut
from dbos_shadow.diff import NOTHING, diff
from dbos_shadow.failed_task import with_failure
from dbos_shadow.masks import LED, Mask, masked
from dbos_shadow.parts import Alike, nobody_can_tell
from dbos_shadow.past import past
from dbos_shadow.reading.decoding import CannotDecode, decoded
from dbos_shadow.recorded import Recorded
from dbos_shadow.select import features_of
from dbos_shadow.sources import history
from dbos_shadow.stopped import before_the_stop
from dbos_shadow.stored import Stored, StoredDiffers
from dbos_shadow.telling import replay_past
from dbos_shadow.trace import Trace
from dbos_shadow.undecided import not_comparable, undecided
from dbos_shadow.verdict import Judgement, Reason, Verdict, Way, judge

__all__ = ["compared", "replay_recorded"]

logger = logging.getLogger("dbos_shadow")


async def replay_recorded(
    recorded: Recorded,
    bench: Workbench,
    *,
    allowances: Allowances = NOTHING,
    masks: Sequence[Mask] = LED,
    headers_encoded: bool = False,
    store: Stored | None = None,
) -> Judgement:
    """Replay one history on the core and judge it.

    Args:
        recorded: as it was read; payloads that a codec has encoded are decoded by the workbench's.
        bench: the workflows, open.
        allowances: differences that are accepted.
        masks: what may differ since neither code nor history decides it.
        headers_encoded: the client encodes headers too (``HeaderCodecBehavior.CODEC``).
        store: the core's journal is written there, loaded, and replayed from its rows, and these are compared. Without it
            the journal's entries are compared as the core has written them, and nothing is stored.

    Returns:
        a judgement, whatever happens: a failure of our own is INCONCLUSIVE with the reason FAILED.
    """
    begun = time.perf_counter()
    try:
        judgement = await _judged(recorded, bench, allowances, masks, headers_encoded, store)
    except CannotDecode as error:
        judgement = undecided(recorded, Reason.SEALED, str(error), subject=error.code)
    except StoredDiffers as error:
        judgement = undecided(recorded, Reason.FAILED, str(error), subject=error.code)
    except Exception as error:
        logger.exception("replay of workflow %r run %s failed", recorded.workflow_id, recorded.run_id)
        note = f"The shadow itself failed: {type(error).__name__}."
        judgement = undecided(recorded, Reason.FAILED, note, subject=type(error).__name__)
    return replace(judgement, took_ms=(time.perf_counter() - begun) * 1000)


async def _judged(
    recorded: Recorded,
    bench: Workbench,
    allowances: Allowances,
    masks: Sequence[Mask],
    headers_encoded: bool,
    store: Stored | None,
) -> Judgement:
    recorded = await decoded(recorded, bench.data_converter, namespace=bench.namespace, headers=headers_encoded)
    events = recorded.events
    expected = history.trace(events, workflow_id=recorded.workflow_id, run_id=recorded.run_id, closed=recorded.closed)
    nothing = not_comparable(recorded, expected, bench, way=Way.REPLAY, workflow_type=expected.workflow_type)
    if nothing is not None:
        return nothing
    replayed = await replay_past(past(events), bench, workflow_id=recorded.workflow_id, run_id=recorded.run_id)
    actual = replayed.trace if store is None else await store.trace(replayed, bench)
    found = compared(
        expected,
        actual,
        way=Way.REPLAY,
        failure=replayed.failure,
        allowances=allowances,
        masks=masks,
        alike=alike_by(bench.data_converter.payload_converter),
        events=len(events),
    )
    return unless_cut(found, recorded)


def compared(
    expected: Trace,
    actual: Trace,
    *,
    way: Way,
    failure: TaskFailure | None = None,
    allowances: Allowances = NOTHING,
    masks: Sequence[Mask] = (),
    alike: Alike = nobody_can_tell,
    events: int = 0,
) -> Judgement:
    """Compare what the core has made of a run with its record, and judge.

    Args:
        failure: the code has failed in a task on the core; ``actual`` ends there.
        alike: asked of two values of an encoding that is not JSON, when their bytes differ (``alike_by``).
        events: how many the history has.
    """
    comparison, hidden = masked(
        diff(expected, actual, allowances, alike=alike),
        masks,
        expected,
        actual,
    )
    if failure is not None and _error_type(failure) == "Unsupported":
        comparison = before_the_stop(comparison, led=True)
    elif failure is not None and failure.record is not None:
        comparison = with_failure(comparison, _error_type(failure), allowances)
    verdict, reason = judge(comparison)
    note = subject = ""
    if failure is not None:
        verdict, reason, note, subject = _failed(failure, verdict, reason)
    return Judgement(
        workflow_type=expected.workflow_type,
        workflow_id=expected.workflow_id,
        run_id=expected.run_id,
        verdict=verdict,
        way=way,
        reason=reason,
        note=note,
        subject=subject,
        comparison=comparison,
        expected=expected,
        actual=actual,
        masked=hidden,
        features=features_of(expected),
        steps=len(expected.steps),
        events=events,
    )


def _failed(failure: TaskFailure, verdict: Verdict, reason: Reason | None) -> tuple[Verdict, Reason | None, str, str]:
    """A task failed here that did not fail there."""
    what = _error_type(failure)
    if what == "Unsupported" and verdict is not Verdict.MISMATCH:
        return Verdict.INCONCLUSIVE, Reason.UNSUPPORTED, failure.message, _slug(failure.message)
    note = f"On the core a workflow task failed ({failure.cause}, {what}); the comparison ends there."
    if verdict is Verdict.MISMATCH or failure.record is not None:  # else it is not the code's
        return verdict, reason, note, what
    return Verdict.INCONCLUSIVE, Reason.FAILED, note, what


def _error_type(failure: TaskFailure) -> str:
    """The type of the error that user code raised: a name, never its message."""
    if failure.record:
        failed = read_failure(json.loads(failure.record)["failure"])
        return failed.application_failure_info.type or failure.cause
    return failure.cause


def _slug(message: str) -> str:
    """The entry in the ledger of differences that a message names."""
    found = re.search(r"#([a-z0-9-]+)", message)
    return found.group(1) if found else "unsupported"
