"""Weighing: before a mirrored run is said to differ, it is compared with itself, as replay does (``baseline``)."""

from __future__ import annotations

import asyncio
import logging

from temporalio.client import Client

from dbos_compat.workbench import Workbench
from dbos_shadow.baseline import measure
from dbos_shadow.judging import Baseline
from dbos_shadow.recorded import Recorded
from dbos_shadow.verdict import Judgement, Verdict

__all__ = ["Weigher"]

logger = logging.getLogger("dbos_shadow")

_ASKED = {
    Baseline.NONE: frozenset[Verdict](),
    Baseline.MISMATCHES: frozenset({Verdict.MISMATCH}),
    Baseline.ALL: frozenset({Verdict.MATCH, Verdict.ACCEPTED, Verdict.MISMATCH}),
}


class Weigher:
    """Replays runs that are over, one at a time: it is work, and nobody waits for it."""

    def __init__(self, temporal: Client, bench: Workbench, baseline: Baseline, *, headers_encoded: bool) -> None:
        """
        Args:
            temporal: has the histories; they are read once more, as Temporal's own replayer needs them.
            bench: that has judged the runs.
            baseline: of which of them.
        """
        self._temporal = temporal
        self._bench = bench
        self._asked = _ASKED[baseline]
        self._headers_encoded = headers_encoded
        self._one_at_a_time = asyncio.Semaphore(1)

    async def weighed(self, judgement: Judgement) -> Judgement:
        """The judgement, and what the workflow does by itself told apart. If that cannot be found out, it stays."""
        if judgement.verdict not in self._asked:
            return judgement
        async with self._one_at_a_time:
            try:
                return await self._measured(judgement)
            except Exception as error:
                logger.warning("no baseline of workflow %r: %s", judgement.workflow_id, type(error).__name__)
                return judgement

    async def _measured(self, judgement: Judgement) -> Judgement:
        handle = self._temporal.get_workflow_handle(judgement.workflow_id, run_id=judgement.run_id)
        history = await handle.fetch_history()
        recorded = Recorded(
            workflow_id=judgement.workflow_id,
            run_id=judgement.run_id,
            workflow_type=judgement.workflow_type,
            events=list(history.events),
            source=f"temporal:{self._temporal.namespace}",
            closed=True,
        )
        (found,) = await measure([recorded], self._bench, [judgement], headers_encoded=self._headers_encoded)
        return found
