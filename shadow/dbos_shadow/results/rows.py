"""A judgement → the row by which it is kept: what a session asks of earlier ones, beside the document."""

from __future__ import annotations

from dbos_core.results import ResultRow
from dbos_shadow.verdict import Judgement

__all__ = ["row_of"]


def row_of(judgement: Judgement, *, document: str, at_ms: int, digest: str = "") -> ResultRow:
    """The row of a judgement.

    Args:
        document: what is kept of it (``kept.Keeper``).
        at_ms: when it was made, milliseconds since the epoch: for retention.
        digest: of the history, if it was at hand before it was judged.
    """
    return ResultRow(
        workflow_type=judgement.workflow_type,
        workflow_id=judgement.workflow_id,
        run_id=judgement.run_id,
        verdict=judgement.verdict.value,
        reason=judgement.reason.value if judgement.reason else "",
        shape=judgement.shape,
        events=judgement.events,
        at_ms=at_ms,
        document=document,
        digest=digest,
    )
