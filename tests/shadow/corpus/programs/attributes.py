"""Memo, search attributes, summaries and details: what is said about a run, at its start and on its way."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.common import Priority, SearchAttributePair, TypedSearchAttributes

from tests.compat.support import BOOL, DATETIME, DOUBLE, INT, KEYWORD, KEYWORDS, TEXT
from tests.shadow.corpus.theme import Theme

theme = Theme("attributes")

SOON = timedelta(seconds=30)


@theme.activity
@activity.defn
async def look_up(key: str) -> str:
    return f"value of {key}"


@theme.workflow
@workflow.defn
class Labels:
    @workflow.run
    async def run(self) -> dict[str, Any]:
        workflow.upsert_search_attributes([KEYWORD.value_set("begun"), INT.value_set(1)])
        found = await workflow.execute_activity(look_up, "colour", start_to_close_timeout=SOON)
        workflow.upsert_memo({"found": found, "list": [1, 2, {"three": None}]})
        workflow.upsert_search_attributes(
            [
                KEYWORDS.value_set(["b", "a"]),
                TEXT.value_set("some words"),
                DOUBLE.value_set(2.5),
                BOOL.value_set(True),
                DATETIME.value_set(datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)),
            ]
        )
        await asyncio.sleep(0.01)
        workflow.upsert_search_attributes([INT.value_unset(), KEYWORD.value_set("done")])
        workflow.upsert_memo({"found": None, "last": "ünï ✓"})
        return {"memo": sorted(workflow.memo()), "keyword": workflow.info().typed_search_attributes.get(KEYWORD)}


@theme.workflow
@workflow.defn
class ReadsItsLabels:
    """What was said at the start decides what is done."""

    @workflow.run
    async def run(self) -> list[str]:
        info = workflow.info()
        keys = [workflow.memo_value("key", type_hint=str), info.typed_search_attributes[KEYWORD]]
        if info.priority.priority_key == 4:
            keys.append("urgent")
        return [await workflow.execute_activity(look_up, key, start_to_close_timeout=SOON) for key in keys]


@theme.workflow
@workflow.defn
class TellsWhereItIs:
    """Details and summaries are for people; they are no steps."""

    @workflow.run
    async def run(self) -> str:
        workflow.set_current_details("# looking up")
        await workflow.execute_activity(look_up, "a", start_to_close_timeout=SOON, summary="the first of two")
        workflow.set_current_details("# resting")
        await workflow.sleep(0.01, summary="a short rest")
        return workflow.get_current_details()


theme.runs("labels", Labels.run)
theme.runs(
    "reads_its_labels",
    ReadsItsLabels.run,
    memo={"key": "from the memo", "other": {"n": 1}},
    search_attributes=TypedSearchAttributes([SearchAttributePair(KEYWORD, "from the attributes")]),
    priority=Priority(priority_key=4),
)
theme.runs("tells_where_it_is", TellsWhereItIs.run, static_summary="a summary", static_details="and *details*")
