"""Machines in each of their states, for the stories about them."""

from __future__ import annotations

from dataclasses import replace

from dbos_core.activities import effects as fx
from dbos_core.activities.machine import ActivityMachine
from dbos_core.activities.moves import Input, State
from dbos_core.activities.spec import ActivityRow, ActivitySpec, FinalOutcome
from tests.unit.activities.support import RUN, START, bounded, failed, spec

WALKED: set[tuple[State, Input, State]] = set()


class Life(ActivityMachine):
    """A machine that notes its moves."""

    def __init__(self, what: ActivitySpec | None = None, *, served: bool = True) -> None:
        super().__init__(RUN, what or spec(), "us")
        self.served = served

    def _move(self, what, now_ms, argument=None):
        before = self.state
        effects = super()._move(what, now_ms, argument)
        WALKED.add((before, what, self.state))
        return effects


def kinds(effects) -> list[str]:
    return [type(effect).__name__ for effect in effects if not isinstance(effect, fx.SetTimer)]


def timer(effects) -> int | None:
    return next((e.when_ms for e in effects if isinstance(e, fx.SetTimer)), None)


def final(effects) -> FinalOutcome:
    assert isinstance(effects[-1], fx.Final)
    return effects[-1].outcome


def row(effects) -> ActivityRow:
    return next(e.row for e in effects if isinstance(e, (fx.WriteRow, fx.Record)))


def ready(what: ActivitySpec | None = None) -> Life:
    life = Life(what)
    assert kinds(life.release(START)) == ["Enqueue"]
    return life


def recording(what: ActivitySpec | None = None) -> Life:
    life = ready(what or spec(retry=bounded(3)))
    assert kinds(life.slot_free(START)) == ["Record"]
    return life


def started(what: ActivitySpec | None = None) -> Life:
    life = ready(what)
    assert kinds(life.slot_free(START)) == ["Start"]
    return life


def backoff(what: ActivitySpec | None = None) -> Life:
    life = started(what)
    life.ended(START + 100, failed())
    assert life.state is State.BACKOFF
    return life


def offered(what: ActivitySpec | None = None) -> Life:
    life = Life(what, served=False)
    planned = life.plan(START, slot_held=False)
    assert planned is not None
    assert planned.offered
    assert planned.spec
    assert kinds(life.release(START)) == []
    assert life.state is State.OFFERED
    return life


def withdrawing(what: ActivitySpec | None = None) -> Life:
    life = offered(what)
    assert kinds(life.cancel(START)) == ["Withdraw"]
    return life


def spent(**changes) -> Life:
    life = Life(spec(retry=bounded(1), **changes))
    assert kinds(life.restore(START + 5_000, a_row(started_ms=START + 1_000, worker="dead"))) == []
    assert life.state is State.SPENT
    return life


def a_row(**changes) -> ActivityRow:
    made = ActivityRow(
        workflow_uuid=RUN.workflow_uuid, seq=1, task_queue="payments", attempt=1, scheduled_ms=START, due_ms=START
    )
    return replace(made, **changes)


def taken_row() -> ActivityRow:
    return a_row(started_ms=START + 7, worker="us", offered=True)
