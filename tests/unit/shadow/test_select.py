"""Selections, samples and shapes: which runs are looked at, and that it can be said beforehand."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbos_compat.filters.meaning import parse
from dbos_core.search import Compare
from dbos_shadow.select import (
    Candidate,
    Sample,
    Selection,
    Strata,
    Window,
    features_of,
    length_class,
    position,
    shape_of,
)
from dbos_shadow.trace import Arrival, ArrivalKind, Outcome, Status, Step, StepKind, Trace

NOON = datetime(2027, 1, 31, 12, tzinfo=UTC)
NOON_MS = int(NOON.timestamp() * 1000)


def run(number: int, **fields: object) -> Candidate:
    named = {"workflow_id": f"w{number}", "run_id": f"r{number}", "workflow_type": "Order", "status": "completed"}
    return Candidate(**{**named, **fields})  # type: ignore[arg-type]


class TestSelection:
    def test_nothing_asked_is_everything(self) -> None:
        assert Selection().list_query() == ""
        assert Selection().takes_all
        assert Selection().takes(run(1))

    def test_the_list_filter_says_it_all(self) -> None:
        selection = Selection(
            query="Customer = 'ada' OR Customer = 'bob'",
            types=("Order", "Refund"),
            excluded_types=("Cron",),
            statuses=("failed", "timed_out"),
            started=Window(after=NOON),
            closed=Window(before=NOON),
            ids=("a",),
            run_ids=("r",),
        )
        assert selection.list_query() == (
            "(Customer = 'ada' OR Customer = 'bob') AND WorkflowType IN ('Order', 'Refund') AND WorkflowType != 'Cron' "
            "AND ExecutionStatus IN ('Failed', 'TimedOut') AND StartTime >= '2027-01-31T12:00:00.000Z' "
            "AND CloseTime <= '2027-01-31T12:00:00.000Z' AND WorkflowId = 'a' AND RunId = 'r'"
        )

    @given(st.text(st.characters(exclude_characters='\\"', exclude_categories=["Cc", "Cs"]), min_size=1))
    def test_an_id_is_one_value_whatever_is_in_it(self, text: str) -> None:
        found = parse(Selection(ids=(text,)).list_query()).where
        assert isinstance(found, Compare)
        assert found.value == text

    def test_what_no_filter_can_name_is_found_by_its_beginning(self) -> None:
        assert Selection(ids=('it\'s "a"',)).list_query() == "(WorkflowId STARTS_WITH 'it''s ')"
        assert Selection(ids=("a\\b", "c")).list_query() == "(WorkflowId STARTS_WITH 'a' OR WorkflowId = 'c')"
        assert Selection(ids=('"',)).list_query() == "(WorkflowId IS NOT NULL)"
        assert Selection(excluded_types=("a\\b", "c")).list_query() == "WorkflowType != 'c'"

    @pytest.mark.parametrize(
        ("selection", "taken"),
        [
            (Selection(types=("Order",)), True),
            (Selection(types=("Refund",)), False),
            (Selection(excluded_types=("Order",)), False),
            (Selection(statuses=("completed",)), True),
            (Selection(statuses=("failed",)), False),
            (Selection(ids=("w1",)), True),
            (Selection(ids=("w2",)), False),
            (Selection(run_ids=("r2",)), False),
            (Selection(started=Window(after=NOON)), True),
            (Selection(started=Window(before=NOON)), True),
            (Selection(closed=Window(after=NOON)), False),
            (Selection(closed=Window(before=NOON)), False),
        ],
    )
    def test_one_run_is_asked_the_same(self, selection: Selection, taken: bool) -> None:
        assert selection.takes(run(1, start_ms=NOON_MS)) is taken

    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            ({"rate": 1.5}, "share from 0 to 1"),
            ({"maximum": 0}, "1 or more"),
            ({"floor": -1}, "0 or more"),
            ({"statuses": ("done",)}, "No such status: done"),
            ({"types": ("A",), "excluded_types": ("A",)}, "selected and excluded"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, wrong: dict[str, object], said: str) -> None:
        with pytest.raises(ValueError, match=said):
            Selection(**wrong)  # type: ignore[arg-type]

    def test_a_time_needs_a_zone(self) -> None:
        with pytest.raises(ValueError, match="no time zone"):
            Window(after=datetime(2027, 1, 31))  # noqa: DTZ001


def chosen(selection: Selection, runs: list[Candidate]) -> list[str]:
    sample = Sample(selection)
    for one in runs:
        sample.offer(one)
    return [one.workflow_id for one in sample.chosen()]


selections = st.builds(
    Selection,
    rate=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    maximum=st.none() | st.integers(1, 40),
    floor=st.integers(0, 6),
    seed=st.integers(0, 3),
)
populations = st.lists(
    st.tuples(st.integers(0, 200), st.sampled_from("ABC"), st.sampled_from(["s1", "s2", "s3"])),
    max_size=120,
    unique_by=lambda found: found[0],
).map(lambda found: [run(number, workflow_type=name, shape=shape) for number, name, shape in found])


class TestSample:
    @given(selections, populations, st.randoms())
    def test_the_order_of_the_list_does_not_matter(
        self, selection: Selection, runs: list[Candidate], random: object
    ) -> None:
        expected = chosen(selection, runs)
        random.shuffle(runs)  # type: ignore[attr-defined]
        assert chosen(selection, runs) == expected

    @given(selections, populations)
    def test_rate_floor_and_maximum_are_kept(self, selection: Selection, runs: list[Candidate]) -> None:
        picked = set(chosen(selection, runs))
        if selection.maximum is not None:
            assert len(picked) <= selection.maximum
        below = {one.workflow_id for one in runs if position(one.workflow_id, selection.seed) < selection.rate}
        if selection.maximum is None:
            assert below <= picked
        by_stratum: dict[tuple[str, str], set[str]] = {}
        for one in runs:
            by_stratum.setdefault(one.stratum, set()).add(one.workflow_id)
        for members in by_stratum.values():
            if selection.maximum is None:
                assert len(members & picked) >= min(len(members), selection.floor)
                assert len((members & picked) - below) <= selection.floor
            elif selection.maximum >= len(by_stratum) and selection.floor:
                assert members & picked, "with room for all, no kind of run is left out"

    @given(st.sampled_from([0.01, 0.1, 0.3]), st.sampled_from([0.4, 0.9, 1.0]), populations)
    def test_a_higher_rate_only_adds(self, low: float, high: float, runs: list[Candidate]) -> None:
        assert set(chosen(Selection(rate=low), runs)) <= set(chosen(Selection(rate=high), runs))

    def test_the_share_is_right_and_another_seed_picks_others(self) -> None:
        runs = [run(number) for number in range(4000)]
        first = chosen(Selection(rate=0.1, floor=0), runs)
        assert 330 < len(first) < 470
        second = chosen(Selection(rate=0.1, floor=0, seed=1), runs)
        assert len(set(first) & set(second)) < 80

    def test_a_rare_kind_is_not_missed(self) -> None:
        runs = [run(number, shape="usual") for number in range(2000)] + [run(9001, shape="rare")]
        assert "w9001" in chosen(Selection(rate=0.001), runs)
        assert "w9001" in chosen(Selection(maximum=2), runs)

    def test_runs_of_one_workflow_go_together(self) -> None:
        runs = [run(number % 50, run_id=f"r{number}") for number in range(500)]
        picked = chosen(Selection(rate=0.3, floor=0), runs)
        assert {picked.count(one) for one in picked} == {10}

    def test_it_keeps_no_more_than_it_may_pick(self) -> None:
        sample = Sample(Selection(rate=0.01, floor=3))
        for number in range(5000):
            sample.offer(run(number))
        (stratum,) = sample._strata.values()
        assert len(stratum.kept) < 100
        assert sum(sample.seen().values()) == 5000


def trace(steps: list[tuple[StepKind, str, int]], arrivals: tuple[Arrival, ...] = (), **fields: object) -> Trace:
    made = tuple(Step(kind=kind, name=name, activation=activation) for kind, name, activation in steps)
    outcome = fields.pop("outcome", Outcome(status=Status.COMPLETED))
    return Trace(workflow_type="Order", steps=made, arrivals=arrivals, outcome=outcome)  # type: ignore[arg-type]


A, T = StepKind.ACTIVITY, StepKind.TIMER


class TestShape:
    def test_loops_are_one_shape_however_often_they_go_round(self) -> None:
        def rounds(number: int) -> Trace:
            steps = [(A, "charge", 1)]
            for turn in range(number):
                steps += [(T, "", 2 * turn + 2), (A, "poll", 2 * turn + 3)]
            return trace([*steps, (A, "ship", 99)])

        assert len({shape_of(rounds(number)) for number in (1, 2, 3, 10)}) == 1
        assert shape_of(rounds(0)) != shape_of(rounds(1))

    def test_a_gather_is_one_shape_whatever_its_width_and_however_results_come(self) -> None:
        def gather(width: int, *at: int) -> Trace:
            steps = [(A, "add", 1)] * width
            results = tuple(
                Arrival(kind=ArrivalKind.ACTIVITY, activation=activation, name="add", step=step)
                for step, activation in enumerate(at)
            )
            return trace([*steps, (A, "sum", 9)], results)

        assert shape_of(gather(3, 2, 3, 4)) == shape_of(gather(3, 2, 2, 2)) == shape_of(gather(5, 2, 2, 3, 3, 4))

    def test_order_names_messages_failures_and_end_count(self) -> None:
        base = [(A, "a", 1), (A, "b", 2)]
        failed = Arrival(kind=ArrivalKind.ACTIVITY, activation=2, name="a", step=0, how="failed")
        signal = Arrival(kind=ArrivalKind.SIGNAL, activation=2, name="go")
        shapes = [
            shape_of(trace(base)),
            shape_of(trace(base[::-1])),
            shape_of(trace([(A, "b", 1), (A, "a", 2)])),
            shape_of(trace([(A, "a", 1), (A, "b", 1)])),
            shape_of(trace(base, (failed,))),
            shape_of(trace(base, (signal,))),
            shape_of(trace(base, outcome=Outcome(status=Status.FAILED))),
        ]
        # Reversed steps are the same steps by activation; all others differ.
        assert shapes[0] == shapes[1]
        assert len(set(shapes)) == len(shapes) - 1

    def test_features(self) -> None:
        failed = Arrival(kind=ArrivalKind.ACTIVITY, activation=2, name="a", step=0, how="failed", attempt=3)
        update = Arrival(kind=ArrivalKind.UPDATE, activation=2, name="go")
        found = trace([(A, "a", 1), (T, "", 1)], (failed, update), outcome=Outcome(status=Status.CANCELED))
        assert features_of(found) == {
            "activity", "timer", "parallel", "activity failed", "retry", "update", "ended canceled"
        }  # fmt: skip
        assert features_of(trace([(A, "a", 1)], outcome=Outcome(status=Status.RUNNING))) == {"activity"}


class TestStrata:
    def test_lengths_fall_into_classes(self) -> None:
        assert [length_class(events) for events in (0, 1, 16, 17, 64, 65, 10_000)] == [
            "of unknown length", "up to 16 events", "up to 16 events", "up to 64 events", "up to 64 events",
            "up to 256 events", "up to 16384 events",
        ]  # fmt: skip

    def test_counts(self) -> None:
        strata = Strata()
        strata.seen(("Order", "s"), 10)
        strata.chosen(("Order", "s"), 4)
        for _ in range(3):
            strata.judged(("Order", "s"))
        (found,) = strata
        assert (found.seen, found.chosen, found.judged) == (10, 4, 3)
