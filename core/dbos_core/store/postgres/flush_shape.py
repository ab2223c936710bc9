"""Flush, the shapes: what a batch of commits needs, and the columns by which its values travel (see ``flush_sql``)."""

from __future__ import annotations


class Shape:
    """What a batch needs: a set of bits. A shape is one prepared statement; a lone journal row is a small one.

    Plain integers, since every flush puts one together and an ``enum.Flag`` is slow at that.
    """

    START = 1 << 0
    START_ENTRY = 1 << 1
    START_END = 1 << 2
    """Some start closes or parks in its first activation."""
    START_MAIL = 1 << 3
    START_WORK = 1 << 4
    """Some start is left to be claimed."""
    FENCED = 1 << 5
    ENTRY = 1 << 6
    END = 1 << 7
    """Some fenced commit closes or parks."""
    PARK = 1 << 8
    """Some fenced commit parks."""
    RUN = 1 << 9
    """Some fenced commit changes the run's own row (END does, too)."""
    CONSUMED = 1 << 10
    ACTIVITIES = 1 << 11
    START_ACTIVITIES = 1 << 12
    ACTIVITIES_DONE = 1 << 13
    UPDATES = 1 << 14
    START_UPDATES = 1 << 15
    MAIL = 1 << 16
    NEXT = 1 << 17
    """Some fenced commit closes its run and begins the next one of its id."""
    START_NEXT = 1 << 18
    START_CHILD = 1 << 19
    """Some start is of a child."""
    OUTBOX = 1 << 20
    """Some close reaches other runs."""
    SETTLED = 1 << 21
    ANNOUNCE_MAIL = 1 << 22
    """The DBOS schema has no trigger that announces messages."""
    LONE = 1 << 23
    """One start or one fenced commit alone: its values are parameters themselves and not arrays of one element."""


S = Shape

START_COLUMNS: tuple[tuple[str, str, int], ...] = (
    ("i", "int", 0),
    ("uuid", "text", 0),
    ("workflow_id", "text", 0),
    ("run_id", "text", 0),
    ("first_run_id", "text", 0),
    ("workflow_type", "text", 0),
    ("task_queue", "text", 0),
    ("inputs", "text", 0),
    ("start_ms", "bigint", 0),
    ("execution_ms", "bigint", 0),
    ("claimed", "boolean", 0),
    ("request_id", "text", 0),
    ("deadline_ms", "bigint", 0),
    ("memo", "text", 0),
    ("search_attributes", "text", 0),
    ("metadata", "text", 0),
    ("creator", "text", 0),
    ("parent", "text", S.START_CHILD),
    ("parent_workflow_id", "text", S.START_CHILD),
    ("parent_run_id", "text", S.START_CHILD),
    ("parent_seq", "int", S.START_CHILD),
    ("parent_policy", "int", S.START_CHILD),
    ("root_workflow_id", "text", S.START_CHILD),
    ("root_run_id", "text", S.START_CHILD),
    ("position", "int", S.START_ENTRY),
    ("entry_name", "text", S.START_ENTRY),
    ("entry", "text", S.START_ENTRY),
    ("entry_started", "bigint", S.START_ENTRY),
    ("entry_completed", "bigint", S.START_ENTRY),
    ("parks", "boolean", S.START_END),
    ("wake_at", "bigint", S.START_END),
    ("status", "int", S.START_END),
    ("dbos_status", "text", S.START_END),
    ("finer", "text", S.START_END),
    ("close_ms", "bigint", S.START_END),
    ("close", "text", S.START_END),
    ("output", "text", S.START_END),
    ("error", "text", S.START_END),
    ("history_length", "int", S.START_END),
    ("next", "text", S.START_NEXT),
    ("reaches", "boolean", S.OUTBOX),
    ("mail", "text", S.START_MAIL),
    ("activities", "text", S.START_ACTIVITIES),
    ("updates", "text", S.START_UPDATES),
)

FENCED_COLUMNS: tuple[tuple[str, str, int], ...] = (
    ("i", "int", 0),
    ("uuid", "text", 0),
    ("position", "int", S.ENTRY | S.CONSUMED),
    ("entry_name", "text", S.ENTRY),
    ("entry", "text", S.ENTRY),
    ("entry_started", "bigint", S.ENTRY),
    ("entry_completed", "bigint", S.ENTRY),
    ("mail_seen", "bigint", S.END),
    ("mail_known", "text", S.END),
    ("touches", "boolean", S.RUN),
    ("lets_go", "boolean", S.RUN),
    ("wake_at", "bigint", S.RUN),
    ("status", "int", S.RUN),
    ("dbos_status", "text", S.RUN),
    ("finer", "text", S.RUN),
    ("close_ms", "bigint", S.RUN),
    ("close", "text", S.RUN),
    ("output", "text", S.END),
    ("error", "text", S.END),
    ("history_length", "int", S.RUN),
    ("memo", "text", S.RUN),
    ("search_attributes", "text", S.RUN),
    ("next", "text", S.NEXT),
    ("reaches", "boolean", S.OUTBOX),
    ("consumed", "text", S.CONSUMED),
    ("activities", "text", S.ACTIVITIES),
    ("done", "text", S.ACTIVITIES_DONE),
    ("updates", "text", S.UPDATES),
)


def used(columns: tuple[tuple[str, str, int], ...], shape: int) -> list[tuple[str, str]]:
    """The columns (name, type) that a shape has."""
    return [(name, kind) for name, kind, needs in columns if not needs or shape & needs]
