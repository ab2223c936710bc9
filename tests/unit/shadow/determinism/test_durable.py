"""--durable: schedules on a real Postgres, with worker processes that are really killed."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from dbos_compat.cli import app
from dbos_shadow.determinism import PROFILES, DeterminismError, Lived, Profile, Rule, inferred, run_schedule
from dbos_shadow.determinism import durable as front
from dbos_shadow.determinism.crew import Crew
from dbos_shadow.determinism.decisions import Listed
from dbos_shadow.determinism.durable import Report, run_durably
from dbos_shadow.determinism.durable_mother import Mother, NoMother
from dbos_shadow.determinism.durable_play import Played
from dbos_shadow.determinism.durable_script import LeftOut, script, script_of
from dbos_shadow.determinism.run import live
from dbos_shadow.determinism.silence import quiet
from dbos_shadow.trace import Arrival, ArrivalKind, Failure, Opaque, Plain, Status, StepKind, Trace
from tests.unit.shadow.determinism import family, lasting, threaded
from tests.unit.shadow.determinism.flow import Holds

Where = Callable[..., None]


@pytest.fixture
def killed_at(monkeypatch: pytest.MonkeyPatch) -> Where:
    """Only there, and only what is named is played."""

    def at(*places: tuple[str, int]) -> None:
        monkeypatch.setattr(front, "PLACES", places)
        monkeypatch.setattr(front, "FURTHER", ())
        monkeypatch.setattr(front, "singles", lambda *_: iter(()))

    return at


def lives(workflow: type) -> Iterator[Lived]:
    """Schedules with one thing out of the ordinary, in one way or another."""
    crew = Crew(inferred(workflow, sandboxed=False))
    try:
        for place, other, how in itertools.product(range(6), range(1, 4), range(12)):
            with quiet():
                yield live(crew, Listed([0] * place + [other, how]))
    finally:
        crew.close()


def first(workflow: type, wanted: Callable[[Sequence[Trace]], bool]) -> Lived:
    """The first that is a script and is like that."""
    for lived in lives(workflow):
        if lived.error is None and lived.traces and wanted(lived.traces):
            return lived
    raise AssertionError("no such schedule")


def has(kind: ArrivalKind, how: str) -> Callable[[Sequence[Trace]], bool]:
    return lambda traces: any(a.kind is kind and a.how == how for trace in traces for a in trace.arrivals)


def played(workflow: type, lived: Lived, url: str) -> Report:
    """On Postgres, this one and the plain one, compared with memory."""
    assert script_of(lived).in_step
    report = run_durably(workflow, [lived.decisions], url, scripts_max=2, sandboxed=False)
    assert not report.left_out, str(report)
    return report


# -- scripts -------------------------------------------------------------------------------------------------------------


def plain(workflow: type) -> Lived:
    return run_schedule(inferred(workflow, sandboxed=False), [])


def test_a_script_has_what_comes_and_how_it_ends() -> None:
    told = script_of(plain(Holds))
    assert [(c.kind, c.step_id, c.how) for c in told.runs[0]] == [
        ("activity", "1", "completed"),
        ("activity", "2", "completed"),
    ]
    assert told.in_step
    assert [outcome.status for _, outcome in told.ending] == [Status.COMPLETED]


def test_a_chain_of_runs_is_a_script() -> None:
    told = script_of(plain(lasting.Chain))
    assert [len(run) for run in told.runs] == [2, 2, 2]
    assert [outcome.status for _, outcome in told.ending] == ["continued_as_new", "continued_as_new", "completed"]
    began = [inputs for inputs, _ in told.ending]
    assert len({repr(inputs) for inputs in began}) == 3, "each run hands something on"


def test_runs_are_in_the_order_of_the_chain() -> None:
    """Also those that begin and end with one commit."""
    assert [t.outcome.status for t in plain(lasting.Remembers).traces] == ["continued_as_new", "completed"]


def test_what_is_no_script() -> None:
    lived = plain(lasting.Chain)
    with pytest.raises(LeftOut, match="not ended"):
        script(lived.traces[:1], ())
    with pytest.raises(LeftOut, match="more than once"):
        script([lived.traces[-1], lived.traces[-1]], ())
    with pytest.raises(LeftOut, match="breaks a rule"):
        script_of(replace(lived, error=DeterminismError(Rule.ENGINE, "", workflow="", decisions=())))
    (trace,) = plain(Holds).traces
    late = replace(trace.arrivals[0], how="timed_out", failure=Failure(kind="timeout", type="schedule_to_start"))
    with pytest.raises(LeftOut, match="finds no worker"):
        script([replace(trace, arrivals=(late,))], ())
    message = Arrival(kind=ArrivalKind.SIGNAL, activation=2, name="s", values=(Opaque("binary/protobuf", b""),))
    with pytest.raises(LeftOut, match="protobuf"):
        script([replace(trace, arrivals=(*trace.arrivals, message))], ())


def test_who_comes_together_is_not_in_step() -> None:
    lived = plain(Holds)
    (trace,) = lived.traces
    one, other = trace.arrivals
    assert not script([replace(trace, arrivals=(one, replace(other, activation=one.activation)))], ()).in_step


# -- with kills ----------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(300)
def test_a_schedule_with_kills(postgres_url: str, killed_at: Where) -> None:
    killed_at(("writer.after_flush", 2), ("activity.before_report", 1))
    report = run_durably(Holds, [], postgres_url, scripts_max=1)
    assert (report.scripts, report.kills, dict(report.left_out)) == (1, 2, {}), str(report)
    with psycopg.connect(postgres_url) as connection:
        rows = connection.execute("select nspname from pg_namespace where nspname like 'dbos%'").fetchall()
    assert rows == [], "nothing is left in the database"


@pytest.mark.timeout(300)
def test_workers_that_cannot_be_forked(postgres_url: str, killed_at: Where) -> None:
    killed_at(("writer.after_flush", 1))
    report = run_durably(threaded.Threaded, [], postgres_url, scripts_max=1, sandboxed=False)
    assert (report.scripts, report.kills, dict(report.left_out)) == (1, 1, {}), str(report)


@pytest.mark.timeout(300)
def test_no_kill_is_said(postgres_url: str, killed_at: Where) -> None:
    killed_at(("operator.before", 1))
    report = run_durably(Holds, [], postgres_url, scripts_max=1, sandboxed=False)
    assert (report.scripts, report.kills) == (1, 0)
    assert "passes no place for one" in str(report)


def with_a_cancelled_activity() -> Lived:
    """The children end first, and the activity hears that it is cancelled."""
    tested = inferred(family.Family, sandboxed=False)
    for way in ([0, another] for another in range(1, 6)):
        for more in ([], [0], [1], [2]):
            lived = run_schedule(tested, [*way, *more, *way[1:], 0])
            if lived.error is None and lived.traces and has(ArrivalKind.ACTIVITY, "canceled")(lived.traces):
                return lived
    raise AssertionError("no such schedule")


@pytest.mark.timeout(300)
def test_children_and_cancelled_activities(postgres_url: str, killed_at: Where) -> None:
    killed_at(("activity.before_report", 1))
    lived = with_a_cancelled_activity()
    report = run_durably(family.Family, [lived.decisions], postgres_url, scripts_max=2, sandboxed=False)
    assert (report.scripts, report.kills, dict(report.left_out)) == (2, 2, {}), str(report)


@pytest.mark.timeout(300)
def test_a_child_that_fails(postgres_url: str, killed_at: Where) -> None:
    """By an error after which an activity would be tried again."""
    killed_at(("activity.before_report", 1))
    lived = first(lasting.Parent, lambda traces: "'Failed', non_retryable=False" in repr(traces[0].outcome))
    assert has(ArrivalKind.CHILD, "failed")(lived.traces)
    assert played(lasting.Parent, lived, postgres_url).scripts == 2


@pytest.mark.timeout(300)
def test_whose_only_attempt_dies_ends_by_its_clock(postgres_url: str, killed_at: Where) -> None:
    """That is no other ending than it has in peace when its attempt hangs."""
    killed_at(("activity.before_report", 1))
    report = run_durably(family.Once, [], postgres_url, scripts_max=1, sandboxed=False)
    assert (report.scripts, report.kills, dict(report.left_out)) == (1, 1, {}), str(report)


# -- time ------------------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(300)
def test_a_month_goes_by(postgres_url: str, killed_at: Where) -> None:
    """To the millisecond: how long it took is in the result."""
    killed_at(("timer.ring", 1), ("writer.after_flush", 2))
    lived = plain(lasting.Patient)
    assert "30 days, 0:00:00" in repr(lived.traces[0].outcome)
    assert played(lasting.Patient, lived, postgres_url).kills == 2


@pytest.mark.timeout(300)
def test_attempts_that_take_too_long(postgres_url: str, killed_at: Where) -> None:
    killed_at(("timer.ring", 1))
    lived = first(lasting.Patient, has(ArrivalKind.ACTIVITY, "timed_out"))
    assert "TimeoutError 1 after 30 days, 2:00:01" in repr(lived.traces[0].outcome)
    assert played(lasting.Patient, lived, postgres_url).scripts == 2


@pytest.mark.timeout(300)
def test_an_attempt_that_fails_before_one_that_takes_too_long(postgres_url: str, killed_at: Where) -> None:
    """The failure of the first stands below the time-out: in memory, and where the second dies with its worker."""
    killed_at(("activity.before_start", 2))
    both = ("type='start_to_close'", "type='Failed'")
    lived = first(lasting.Refused, lambda traces: all(word in repr(traces[0].outcome) for word in both))
    report = run_durably(lasting.Refused, [lived.decisions], postgres_url, sandboxed=False)
    assert (report.scripts, report.kills, dict(report.left_out)) == (2, 2, {}), str(report)


@pytest.mark.timeout(300)
def test_a_timer_and_a_message(postgres_url: str, killed_at: Where) -> None:
    """Whichever is first in the schedule is first."""
    killed_at(("mail.received", 1), ("timer.ring", 1))
    late = first(lasting.Reminded, lambda traces: traces[0].outcome.values == (Plain('["nobody spoke"]'),))
    report = played(lasting.Reminded, late, postgres_url)
    assert (report.scripts, report.kills) == (2, 2), "one hears the signal, and to the other the timer rings"


# -- chains, and others ----------------------------------------------------------------------------------------------------


@pytest.mark.timeout(300)
def test_runs_that_continue(postgres_url: str, killed_at: Where) -> None:
    killed_at(("successor.committed", 1), ("successor.committed", 2))
    report = run_durably(lasting.Chain, [], postgres_url, scripts_max=1, sandboxed=False)
    assert (report.scripts, report.kills, dict(report.left_out)) == (1, 2, {}), str(report)


@pytest.mark.timeout(300)
def test_messages_to_others(postgres_url: str, killed_at: Where) -> None:
    killed_at(("errand.before", 1), ("errand.after", 3))
    lived = plain(lasting.Neighbours)
    kinds = {arrival.kind for arrival in lived.traces[0].arrivals}
    assert {ArrivalKind.EXTERNAL_SIGNALED, ArrivalKind.EXTERNAL_CANCELED, ArrivalKind.CHILD} <= kinds
    assert played(lasting.Neighbours, lived, postgres_url).kills == 2


# -- what it finds ---------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(300)
def test_what_a_process_remembers_dies_with_it(postgres_url: str, killed_at: Where) -> None:
    """In memory nobody sees it: a module's globals outlive a simulated crash."""
    killed_at(("successor.committed", 1))
    assert plain(lasting.Remembers).error is None
    with pytest.raises(DeterminismError, match="forgotten") as broken:
        run_durably(lasting.Remembers, [], postgres_url, scripts_max=1, sandboxed=False)
    assert broken.value.rule is Rule.CRASH_FREE
    assert broken.value.history is not None


@pytest.mark.timeout(300)
def test_who_waits_for_ever(postgres_url: str, killed_at: Where, monkeypatch: pytest.MonkeyPatch) -> None:
    killed_at(("successor.committed", 1))
    monkeypatch.setattr("dbos_shadow.determinism.durable_play.STILL_LOOKS", 60)
    with pytest.raises(DeterminismError, match="nothing is left that could wake it") as broken:
        run_durably(lasting.Relies, [], postgres_url, scripts_max=1, sandboxed=False)
    assert broken.value.rule is Rule.WAKE_UP


@pytest.mark.timeout(300)
def test_what_ends_otherwise_than_in_memory(
    postgres_url: str, killed_at: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_at()
    monkeypatch.setattr(lasting, "here", ["at home"])
    with pytest.raises(DeterminismError, match=r"in memory .*at home.*on Postgres .*elsewhere") as broken:
        run_durably(lasting.Looks, [], postgres_url, scripts_max=1, sandboxed=False)
    assert broken.value.rule is Rule.DURABLE


@pytest.mark.timeout(300)
def test_a_worker_that_ends_by_itself(postgres_url: str, killed_at: Where, monkeypatch: pytest.MonkeyPatch) -> None:
    killed_at()
    monkeypatch.setattr(lasting, "here", ["at home"])
    with pytest.raises(DeterminismError, match="status 3") as broken:
        run_durably(lasting.Ends, [], postgres_url, scripts_max=1, sandboxed=False)
    assert broken.value.rule is Rule.ENGINE


async def test_a_module_that_cannot_be_imported() -> None:
    with Mother("tests.no_such_module", None, {}) as mother:
        with pytest.raises(NoMother, match="No module named"):
            await mother.bear(None)


def test_what_came_is_accounted_for() -> None:
    """Each of these is a play that has gone wrong."""
    lived = first(lasting.Reminded, has(ArrivalKind.SIGNAL, "completed"))
    (trace,) = lived.traces
    told = script_of(lived)
    (signal,) = (c for c in told.runs[0] if c.kind is ArrivalKind.SIGNAL)
    fine = Played(traces=lived.traces, histories=(), kills=0, strange=(), sent=(signal,), called=Counter())
    (activity,) = (a for a in trace.arrivals if a.kind is ArrivalKind.ACTIVITY)
    (heard,) = (a for a in trace.arrivals if a.kind is ArrivalKind.SIGNAL)
    update = Arrival(kind=ArrivalKind.UPDATE, activation=2, name="never sent")
    tried = replace(activity, attempt=3)
    (asked,) = (s for s in trace.steps if s.kind is StepKind.ACTIVITY)
    once = [replace(s, options=(("retry_maximum_attempts", 2),)) if s is asked else s for s in trace.steps]
    early = Arrival(kind=ArrivalKind.TIMER, activation=2, step=0, at_ms=trace.at_ms + 1)
    broken = {
        Rule.UPDATE_ONCE: replace(fine, traces=(replace(trace, arrivals=(*trace.arrivals, update)),)),
        Rule.ATTEMPTS: replace(fine, traces=(replace(trace, steps=tuple(once), arrivals=(heard, tried)),)),
        Rule.TIMERS: replace(fine, traces=(replace(trace, arrivals=(*trace.arrivals, early)),)),
        Rule.STEP_ONCE: replace(fine, traces=(replace(trace, arrivals=(*trace.arrivals, activity)),)),
        Rule.CRASH_FREE: replace(fine, strange=("charge",)),
        Rule.SIGNAL_ONCE: replace(fine, traces=(replace(trace, arrivals=(*trace.arrivals, heard)),)),
    }
    crew = Crew(inferred(lasting.Reminded, sandboxed=False))
    try:
        accounted: Any = front._Stage(lasting.Reminded, crew, Any, "", False, Report())._accounted  # type: ignore[arg-type]
        accounted(told, fine, None)
        for rule, play in broken.items():
            with pytest.raises(DeterminismError) as error:
                accounted(told, play, None)
            assert error.value.rule is rule
        lost = replace(fine, traces=(replace(trace, arrivals=(activity,)),))
        with pytest.raises(DeterminismError, match="ended without it"):
            accounted(told, lost, None)
    finally:
        crew.close()


# -- the front doors -------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(300)
def test_on_the_command_line(postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "PLACES", [("writer.after_flush", 1)])
    monkeypatch.setattr(front, "FURTHER", ())
    monkeypatch.setenv("DBOS_COMPAT_DETERMINISM_DIR", str(tmp_path))
    monkeypatch.setitem(PROFILES, "fast", Profile(name="fast", schedules=3, seconds=3, hash_seeds=0))
    place = "tests.unit.shadow.determinism.flow:Holds"
    monkeypatch.setattr("dbos_shadow.cli.progress.LINE_EVERY_S", 0.0)
    words = ["determinism", "check", place, "--unsandboxed", "--json", "--durable", postgres_url]
    answer = CliRunner().invoke(app, [*words, "--durable-scripts", "2"])
    assert answer.exit_code == 0, answer.output
    durable = json.loads(answer.stdout)["durable"]
    assert (durable["scripts"], durable["kills"]) == (2, 2)
    assert any("more than 2 scripts" in reason for reason in durable["left_out"])
    assert "1 of 2 scripts on Postgres, 1 kills" in answer.stderr
