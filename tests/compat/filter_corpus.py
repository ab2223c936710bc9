"""Made-up list filters, sensible and senseless ones, and a small population of runs that they are asked about.

The same runs are planted on a Temporal dev server and on our engine; then each filter must get the same answer from
both: the same runs in the same order, the same count, the same groups, or the same words of refusal. What differs
between the two by nature (run ids, times) stands in a filter as a placeholder, ``<run:done>`` or ``<start:open>``.
"""

from __future__ import annotations

import contextlib
import random
import re
from datetime import UTC, datetime
from functools import partial
from typing import Any

from temporalio import workflow
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from .support import BOOL, DATETIME, DOUBLE, INT, KEYWORD, KEYWORDS, TEXT, add_search_attributes, eventually

Pair = SearchAttributePair[Any]


@workflow.defn
class Fruit:
    @workflow.run
    async def run(self, how: str) -> None:
        if how == "fail":
            raise ApplicationError("on purpose")
        await workflow.wait_condition(lambda: how != "wait")


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


POPULATION: dict[str, tuple[str, list[Pair]]] = {
    "open": ("wait", [Pair(KEYWORD, "red"), Pair(INT, 1), Pair(TEXT, "Crisp, and sweet!"), Pair(DOUBLE, -0.5)]),
    "open2": ("wait", [Pair(KEYWORD, "rouge"), Pair(INT, 2), Pair(KEYWORDS, ["red", "green"]), Pair(BOOL, False)]),
    "bare": ("wait", []),
    "stopped": ("terminate", [Pair(KEYWORD, "a 'quoted' one"), Pair(TEXT, "sweet sour"), Pair(INT, -3)]),
    "cancelled": ("cancel", [Pair(KEYWORDS, ["green"]), Pair(DATETIME, moment("2026-01-02T03:04:05.678"))]),
    "failed": ("fail", [Pair(KEYWORD, "100%"), Pair(DOUBLE, 2.5), Pair(DATETIME, moment("2025-01-01T00:00:00.125"))]),
    "done": ("go", [Pair(KEYWORD, "green"), Pair(INT, 2**40), Pair(BOOL, True), Pair(DOUBLE, 2.0)]),
    "done2": ("go", [Pair(KEYWORD, "gr_en"), Pair(KEYWORDS, ["single"]), Pair(TEXT, "ÄPFEL und birnen")]),
}


async def waits(handle: WorkflowHandle[Any, Any]) -> None:
    """Its first task is done."""
    assert (await handle.describe()).history_length == 4


class Planted:
    """The population on one engine."""

    def __init__(self, client: Client, unique: str) -> None:
        self.client = client
        self.unique = unique
        self.facts: dict[str, str] = {}

    async def plant(self) -> None:
        await add_search_attributes(self.client)
        queue = f"{self.unique}-queue"
        async with Worker(
            self.client, task_queue=queue, workflows=[Fruit], workflow_runner=UnsandboxedWorkflowRunner()
        ):
            for name, (how, pairs) in POPULATION.items():
                handle = await self.client.start_workflow(
                    Fruit.run,
                    "wait" if how in ("terminate", "cancel") else how,
                    id=f"{self.unique}-{name}",
                    task_queue=queue,
                    search_attributes=TypedSearchAttributes(pairs),
                )
                if how in ("terminate", "cancel"):
                    await eventually(partial(waits, handle))
                if how == "terminate":
                    await handle.terminate()
                if how == "cancel":
                    await handle.cancel()
                if how != "wait":
                    with contextlib.suppress(WorkflowFailureError):
                        await handle.result()
                info = await handle.describe()
                self.facts[f"<run:{name}>"] = f"'{info.run_id}'"
                self.facts[f"<start:{name}>"] = f"'{info.start_time.isoformat()}'"
                self.facts[f"<execution:{name}>"] = f"'{(info.execution_time or info.start_time).isoformat()}'"
                self.facts[f"<close:{name}>"] = f"'{(info.close_time or info.start_time).isoformat()}'"
                self.facts[f"<id:{name}>"] = f"'{self.unique}-{name}'"
        self.facts |= {"<id:prefix>": f"'{self.unique}-o'", "<queue>": f"'{queue}'"}

    def filled(self, text: str) -> str:
        return re.sub(r"<\w+(:\w+)?>", lambda match: self.facts.get(match[0], match[0]), text)

    async def answer(self, text: str) -> dict[str, object]:
        """What this engine says to the filter: ids in order, or the refusal; and the same for the count."""
        query = self.filled(text)
        answer: dict[str, object] = {}
        try:
            answer["ids"] = [run.id.removeprefix(f"{self.unique}-") async for run in self.client.list_workflows(query)]
        except RPCError as error:
            answer["list refused"] = (error.status.name, self.unfilled(error.message))
        try:
            count = await self.client.count_workflows(query)
            answer["count"] = count.count
            answer["groups"] = sorted((str(group.group_values), group.count) for group in count.groups)
        except RPCError as error:
            answer["count refused"] = (error.status.name, self.unfilled(error.message))
        return answer

    def unfilled(self, text: str) -> str:
        for placeholder, fact in self.facts.items():
            text = text.replace(fact, placeholder).replace(fact.strip("'"), placeholder)
        return text


# -- what can be said --------------------------------------------------------------------------------------------------

STRINGS = [
    "'red'", "'rouge'", '"green"', "''", "'a ''quoted'' one'", "'100%'", "'gr_en'", "'sweet'", "'sour crisp'", "'gre'",
    "'%'", "'_'", "'single'", "'no such'",
]  # fmt: skip
NUMBERS = ["0", "1", "2", "-3", "1.5", "2.0", "2.5", "-0.5", "1099511627776", "1e3"]
TIMES = [
    "'2025-01-01T00:00:00Z'", "'2026-01-02T03:04:05.678Z'", "'2026-01-02T04:04:05.678+01:00'", "'2030-01-01T00:00:00Z'",
    "'2025-01-01'", "'now'", "1735689600125000000", "'2025-01-01T00:00:00.125Z'", "0", "'2026-01-02 03:04:05'",
]  # fmt: skip
STATUSES = [
    "'Running'", "'Completed'", "'Failed'", "'Terminated'", "'Canceled'", "'TimedOut'", "'ContinuedAsNew'", "1", "2", "5",
    "'running'", "99", "'WORKFLOW_EXECUTION_STATUS_FAILED'", "true",
]  # fmt: skip
DURATIONS = ["'1h'", "'1m30s'", "-1", "3600000000000", "'01:00:00'", "'-1s'", "'1d'", "'soon'", "1.5", "'-1000'"]
COLUMNS: dict[str, list[str]] = {
    "WorkflowId": ["<id:open>", "<id:done>", "<id:prefix>", "'nobody'", "'%'"],
    "WorkflowType": ["'Fruit'", "'Fru'", "'fruit'", "''"],
    "TaskQueue": ["<queue>", "'other'"],
    "ExecutionStatus": STATUSES,
    "StartTime": ["<start:open2>", "<start:failed>", *TIMES],
    "ExecutionTime": ["<execution:done>", *TIMES],
    "CloseTime": ["<close:failed>", "<close:stopped>", *TIMES],
    "ExecutionDuration": DURATIONS,
    "HistoryLength": ["0", "3", "4", "5", "'5'", "4.5"],
    "RootWorkflowId": ["<id:open>", "<id:prefix>"],
    "ParentWorkflowId": ["'nobody'", "<id:open>"],
    "ParentRunId": ["<run:open>"],
    "ScheduleId": ["<id:open>"],
    "TemporalChangeVersion": ["'x'"],
    "ChangeVersion": ["'x'"],
    "TemporalScheduledById": ["'x'"],
    "ScheduledById": ["'x'"],
    "TemporalScheduledStartTime": TIMES,
    "TemporalSchedulePaused": ["true", "'x'"],
    "TemporalPauseInfo": ["'property:activityType=x'"],
    "BatcherUser": ["'x'"],
    "Nonsense": ["1", "'x'"],
    KEYWORD.name: STRINGS,
    KEYWORDS.name: STRINGS,
    TEXT.name: STRINGS,
    INT.name: NUMBERS,
    DOUBLE.name: NUMBERS,
    BOOL.name: ["true", "false", "TRUE", "1", "'true'"],
    DATETIME.name: TIMES,
}
EVERY_LITERAL = [*STRINGS, *NUMBERS, "true", "false", "null", "Running", "now()", "1 + 1", "(1)", "?", ":x"]
OPERATORS = ["=", "!=", "<>", "<", "<=", ">", ">=", "STARTS_WITH", "NOT STARTS_WITH", "LIKE", "NOT LIKE"]

SENTENCES = [
    "", "   ", "foo", "WorkflowId", "1", "'x'", "1=1", "'a' = WorkflowId", "true", "not true", "()", "(", ")", "and", "not", "*",
    "WorkflowId = 'a' and", "and WorkflowId = 'a'", "WorkflowId = 'a' or or WorkflowId = 'b'", "WorkflowId == 'a'",
    "WorkflowId = 'a", 'WorkflowId = "a', "WorkflowId = `a`", "`WorkflowId` = 'a'", "`WorkflowId = 'a'", "WorkflowId 'a'",
    "WorkflowId in ()", "WorkflowId in 'a'", "WorkflowId in ('a'", "WorkflowId in ('a',)", "WorkflowId in (a)",
    "WorkflowId not 'a'", "WorkflowId between 'a'", "WorkflowId between 'a' or 'b'", "WorkflowId is", "WorkflowId is not",
    "WorkflowId is 'a'", "WorkflowId is true", "WorkflowId is not false", "WorkflowId = 'a' xor WorkflowId = 'b'",
    "WorkflowId regexp 'a'", "WorkflowId not regexp 'a'", "WorkflowId <=> 'a'", "WorkflowId rlike 'a'", "exists (select 1)",
    "WorkflowId = (select 1)", "select * from x", "WorkflowId = 'a'; drop table x", "WorkflowId = 'a' -- comment",
    "WorkflowId = 'a' /* comment */", "WorkflowId = 'a' limit 1", "limit 1", "WorkflowId = 'a' limit 1, 2", "order by",
    "group by", "group by ExecutionStatus", "GROUP BY ExecutionStatus", "group by WorkflowType",
    "group by ExecutionStatus, WorkflowType", "group by Nonsense", "WorkflowType = 'Fruit' group by ExecutionStatus",
    "WorkflowType = 'Fruit' group by", "WorkflowType = 'Fruit' group by 1", "lower(WorkflowId) = 'a'", "WorkflowId = lower('a')",
    "WorkflowId + 1 = 2", "HistoryLength + 1 > 2", "HistoryLength > 1 + 1", "HistoryLength = -1", "HistoryLength > - 1",
    "HistoryLength = +1", "HistoryLength = 1e1", "HistoryLength = 0x10", "HistoryLength = 99999999999999999999",
    "a.WorkflowId = 'a'", "WorkflowId = a.b", "t.a = 1", "workflowid = 'a'", "WORKFLOWID = 'a'", "executionstatus = 'Running'",
    "WorkflowId='a'and WorkflowType='b'", "WorkflowId='a'or(WorkflowType='b')", "not(WorkflowId='a')", "!(WorkflowId='a')",
    "! WorkflowId='a'", "WorkflowId='a' && WorkflowType='b'", "WorkflowId='a' || WorkflowType='b'", "((WorkflowId='a'))",
    "WorkflowId='a' NOT WorkflowType='b'", "WorkflowId = null", "WorkflowId != null", "WorkflowId in (null)", "WorkflowId = true",
    "WorkflowId in (1, 'a')", "WorkflowId in (('a'))", "WorkflowId = ('a')", "(WorkflowId) = 'a'",
    "WorkflowId = 'ä'",
    "WorkflowId = '♡'", "WorkflowId = '\\n'", "WorkflowId = 'a\\'b'", "WorkflowId = 'a\\\\'", "WorkflowId = '😀'",
    "WorkflowId starts_with", "WorkflowId starts_with ('a')", "WorkflowId starts_with ('a','b')", "WorkflowId starts_with 1",
    "WorkflowId not in 'a'", "case when 1 then 2 end", "interval 1 day", "WorkflowId = 'a' collate x", "@x = 1",
    "WorkflowId = @x", "#", "$", "WorkflowId = 'a' and (WorkflowType = 'b'", "WorkflowId = 'a') and WorkflowType = 'b'",
    "NamespaceId = 'x'",
    "Memo = 'x'", "MemoEncoding = 'x'", "TemporalNamespaceDivision = 'x'", "TemporalNamespaceDivision is null",
    "CompatText = ''", "CompatText = ' '", "CompatText = '!'", "CompatText is null",
    "CompatKeywords is not null", "CompatBool in (true)", "CompatBool between true and false", "CompatText between 'a' and 'b'",
    "CompatKeywords between 'a' and 'b'", "ExecutionStatus between 'Running' and 'Failed'", "ExecutionStatus is null",
    "ExecutionStatus starts_with 'Run'", "TemporalCompatInt = 1",  "TemporalRunId is not null",
    "TemporalWorkflowId = 'a'", "ActivityId = 'a'", "TemporalSystemExecutionStatus = 'Running'",
]  # fmt: skip


def queries(seed: int, number: int) -> list[str]:
    """The fixed sentences, and so many made-up ones."""
    chance = random.Random(seed)
    return [*SENTENCES, *(_query(chance) for _ in range(number))]


def _query(chance: random.Random) -> str:
    text = _condition(chance, 2)
    if chance.random() < 0.08:
        text += " GROUP BY ExecutionStatus"
    if chance.random() < 0.06:  # a slip of the pen
        at = chance.randrange(len(text))
        text = text[:at] + chance.choice(["", "'", "(", ")", " ", ",", "=", "x", "and ", "1"]) + text[at + 1 :]
    return text


def _condition(chance: random.Random, depth: int) -> str:
    if depth and chance.random() < 0.35:
        left, right = _condition(chance, depth - 1), _condition(chance, depth - 1)
        text = f"{left} {chance.choice(['AND', 'and', 'OR', 'or'])} {right}"
        return f"({text})" if chance.random() < 0.5 else text
    if depth and chance.random() < 0.15:
        return f"{chance.choice(['NOT', 'not'])} {_condition(chance, depth - 1)}"
    return _leaf(chance)


def _leaf(chance: random.Random) -> str:
    column = chance.choice(list(COLUMNS))
    pool = COLUMNS[column] if chance.random() < 0.9 else EVERY_LITERAL

    def literal() -> str:
        return chance.choice(pool)

    if chance.random() < 0.04:  # run ids have no order that two engines share
        return f"{chance.choice(['RunId', 'RootRunId'])} {chance.choice(['=', '!='])} <run:{chance.choice(['open', 'done'])}>"
    kind = chance.random()
    if kind < 0.55:
        operator = chance.choice(OPERATORS[:7] if chance.random() < 0.75 else OPERATORS)
        return f"{column} {operator} {literal()}"
    if kind < 0.7:
        values = ", ".join(literal() for _ in range(chance.randint(1, 3)))
        return f"{column} {chance.choice(['IN', 'NOT IN', 'in'])} ({values})"
    if kind < 0.85:
        return f"{column} {chance.choice(['BETWEEN', 'NOT BETWEEN', 'between'])} {literal()} AND {literal()}"
    return f"{column} IS {chance.choice(['', 'NOT '])}NULL"
