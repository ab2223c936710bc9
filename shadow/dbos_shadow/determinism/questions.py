"""Questions: a query changes nothing, and it is answered from the history, not from what one instance happens to remember.

Instances leave notes of what they were asked. Each question is put again, and once more, to a fresh instance that has
replayed the same rows of the journal and was never asked anything: it has to answer the same, both times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from dbos_compat.convert.answers import question
from dbos_core.commit import Entry
from dbos_core.runner import Decision, Interpreter
from dbos_shadow.determinism.failure import Rule
from dbos_shadow.determinism.journals import Journal
from dbos_shadow.determinism.process import Unevictable, let_go, runner_on
from dbos_shadow.determinism.straight import Asked

if TYPE_CHECKING:
    from dbos_shadow.determinism.schedule import Schedule

ALLOWED = "query-answers"
"""In a plan's ``allow``: its queries may answer from something else than the workflow's state."""


class Questions:
    """Of one schedule."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._asked: dict[str, list[Asked]] = {}
        """What was asked so far, by run id."""

    def look(self) -> None:
        """Check what has been answered since the last look.

        Raises:
            DeterminismError: an answer is another one after a replay, or the second time; or it shows what is not durable.
        """
        schedule = self._schedule
        asked, schedule.world.asked = schedule.world.asked, []
        for one in asked:
            journal = self._journal(one)
            if journal is None:
                continue
            self._asked.setdefault(one.run_id, []).append(one)
            name = question(one.payload).query_type
            if one.position > one.durable:
                schedule.broken(
                    Rule.AFTER_COMMIT, f"query {name!r} is answered out of task {one.position}, which is not durable."
                )
            if ALLOWED in schedule.plan.allow:
                continue
            answers = self._live(journal, [replace(one, answer="")] * 2, one.position)
            if answers is None:
                continue  # it cannot be replayed, which is told elsewhere
            plain = [schedule.crew.answer(text) for text in (one.answer, *answers)]
            if plain[1] != plain[2]:
                schedule.broken(
                    Rule.QUERY,
                    f"query {name!r} answers otherwise when it is asked once more, and nothing has happened in between.",
                )
            if plain[0] != plain[1]:
                schedule.broken(
                    Rule.QUERY,
                    f"query {name!r} answers otherwise after a replay of the same history: an earlier query has changed "
                    "something, or it reads what is not the workflow's.",
                )

    def to_blame(self, journal: Journal) -> str | None:
        """The query because of which a run asked for something that its replay does not ask for. None: it was no query."""
        asked = self._asked.get(journal.run.row.run_id, [])
        if not asked or self._schedule.new_code or self._live(journal, asked, len(journal.records)) is None:
            return None
        return question(asked[-1].payload).query_type

    def _journal(self, one: Asked) -> Journal | None:
        run = self._schedule.world.tables.by_run_id.get(one.run_id)
        return None if run is None else self._schedule.journals.get(run.row.workflow_uuid)

    def _live(self, journal: Journal, asked: Sequence[Asked], position: int) -> list[str] | None:
        """What a fresh instance answers while it replays the journal up to a row. None: it asks for something else."""
        schedule = self._schedule
        stage = schedule.crew.stage("asked", new_code=schedule.new_code)
        stage.steady_ms = schedule.world.time.steady_ms
        run = journal.run
        interpreter = runner_on(stage, schedule.world).open(replace(run.row), run.inputs)
        answers = stage.loop.run(_replay_and_ask(interpreter, journal, asked, position))
        if not let_go(stage.loop, interpreter):
            raise Unevictable(run.row.workflow_type)
        return answers


async def _replay_and_ask(
    interpreter: Interpreter, journal: Journal, asked: Sequence[Asked], position: int
) -> list[str] | None:
    answers: list[str] = []
    for place in range(1, position + 1):
        row = journal.run.journal[place]
        decision = interpreter.replay(Entry(position=place, name=row.name, record=row.record))
        if not isinstance(decision, Decision):
            decision = await decision
        if decision.failure is not None:
            return None
        answers += [await interpreter.query(one.payload) for one in asked if one.position == place]
    return answers
