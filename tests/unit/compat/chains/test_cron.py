"""Cron schedules: the dialect, and what happens when clocks change."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from dbos_compat.chains.cron import BadCronSchedule, NeverComes, backoff_ms, parse


def times(text: str, after: str, count: int = 3) -> list[str]:
    """The next times, in UTC."""
    schedule = parse(text)
    at = int(datetime.fromisoformat(after).replace(tzinfo=UTC).timestamp())
    found = []
    for _ in range(count):
        following = schedule.after(at)
        assert following is not None
        at = following
        found.append(datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S"))
    return found


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        ("*/20 * * * *", "2026-03-01T10:07:30", ["2026-03-01 10:20:00", "2026-03-01 10:40:00", "2026-03-01 11:00:00"]),
        ("0 9-17/4 * * mon-fri", "2026-02-27T18:00:00", ["2026-03-02 09:00:00", "2026-03-02 13:00:00"]),
        ("0 0 13 * fri", "2026-02-12T23:59:59", ["2026-02-13 00:00:00", "2026-02-20 00:00:00"]),
        ("0 0 */10 * *", "2026-01-30T00:00:00", ["2026-01-31 00:00:00", "2026-02-01 00:00:00"]),
        ("5/25 * * * *", "2026-01-01T00:00:00", ["2026-01-01 00:05:00", "2026-01-01 00:30:00", "2026-01-01 00:55:00"]),
        ("0 0 29 feb ?", "2026-01-01T00:00:00", ["2028-02-29 00:00:00", "2032-02-29 00:00:00"]),
        ("@monthly", "2026-01-31T12:00:00", ["2026-02-01 00:00:00", "2026-03-01 00:00:00"]),
        ("@every 90s", "2026-01-01T00:00:00.250", ["2026-01-01 00:01:30", "2026-01-01 00:03:00"]),
        # clocks go forward at 02:00 on 29 March: that night has no 02:30
        ("CRON_TZ=Europe/Berlin 30 2 * * *", "2026-03-28T02:00:00", ["2026-03-30 00:30:00"]),
        # and back at 03:00 on 25 October: 02:30 comes twice
        ("TZ=Europe/Berlin 30 2 * * *", "2026-10-24T12:00:00", ["2026-10-25 00:30:00", "2026-10-25 01:30:00"]),
        # a day that begins at 01:00
        ("TZ=America/Asuncion 0 0 * * *", "2024-10-05T12:00:00", ["2024-10-07 03:00:00"]),
        # and is not looked at for itself when the walk comes by the day before
        ("TZ=Africa/Cairo 0 1 * * thu", "2026-04-22T23:30:00", ["2026-04-23 22:00:00", "2026-04-29 22:00:00"]),
        # half an hour: hours are counted on from one half to the next, and nothing is at minute 0
        ("TZ=Australia/Lord_Howe 0 3 * * *", "2026-04-04T12:00:00", ["2026-04-05 16:30:00"]),
        # a day that never was
        ("TZ=Pacific/Apia 0 5 30 * *", "2011-12-28T00:00:00", ["2012-01-29 15:00:00"]),
    ],
)
def test_next_times(text: str, after: str, expected: list[str]) -> None:
    assert times(text, after, len(expected)) == expected


def test_a_day_that_never_comes() -> None:
    with pytest.raises(NeverComes):
        parse("0 0 30 2 *")
    with pytest.raises(NeverComes):
        parse(", * * * *")
    assert backoff_ms("0 0 30 2 *", 0, 0) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "* * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 7",
        "5-2 * * * *",
        "*/0 * * * *",
        "1-5-7 * * * *",
        "a * * * *",
        "*/ * * * *",
        "+ * * * *",
        "@reboot",
        "@every",
        "@every 5",
        "@every x",
        "CRON_TZ=Nowhere * * * * *",
        "-1 * * * *",
    ],
)
def test_what_is_no_schedule(text: str) -> None:
    with pytest.raises(BadCronSchedule):
        parse(text)


def test_the_delay_is_in_whole_seconds() -> None:
    minute = 60_000
    assert backoff_ms("* * * * *", 10 * minute, 10 * minute + 1) == minute
    assert backoff_ms("* * * * *", 10 * minute, 11 * minute - 1) == 1_000
    assert backoff_ms("* * * * *", 10 * minute, 11 * minute) == 0
    assert backoff_ms("@every 1s", 500, 500) == 1_000


def test_distances_count_from_the_beginning_of_the_run() -> None:
    assert backoff_ms("@every 10s", 0, 3_000) == 7_000
    assert backoff_ms("@every 10s", 0, 12_000) == 8_000
    assert backoff_ms("@every 1s", 0, 31_536_000_000 + 1) == 1_000
    assert backoff_ms("@every 10s", 0, 20_000) == 0


def test_a_run_that_ends_before_its_time_leaves_it_to_the_next() -> None:
    assert backoff_ms("0 0 * * *", 90_000, 60_500) == 30_000


def test_after_a_long_run_times_count_from_a_day_before() -> None:
    day = 86_400_000
    assert backoff_ms("30 * * * *", 0, 400 * day + 1) == 1_800_000


@pytest.mark.parametrize(
    "zone", ["Australia/Lord_Howe", "America/Havana", "Africa/Cairo", "Pacific/Apia", "Antarctica/Troll"]
)
@pytest.mark.parametrize("fields", ["*/20 * * * *", "30 1,23 * * *", "0 0 * * *", "5 2 1-7 * mon", "10 3 30 * *"])
def test_the_next_time_is_always_later(zone: str, fields: str) -> None:
    schedule = parse(f"TZ={zone} {fields}")
    year = int(datetime(2011, 1, 1, tzinfo=UTC).timestamp())
    for moment in range(year, year + 380 * 86_400, 7 * 3600 + 1234):
        following = schedule.after(moment)
        assert following is not None
        assert following > moment
