"""Times of schedules beyond all bounds: refused, or never, and no error of the machine's."""

from __future__ import annotations

import pytest

from dbos_core.schedules.spec import BadSpec, Spec, Times, check, with_cron
from dbos_core.schedules.text import Interval, cron

DIGITS = "9" * 5000
YEAR_9999_MS = 253_402_300_799_000
MOMENTS_MS = [0, 1_700_000_000_000, YEAR_9999_MS, -62_135_596_800_000]


@pytest.mark.parametrize(
    "text", [f"*/{DIGITS} * * * *", f"{DIGITS} * * * *", f"@every {DIGITS}s", f"@every {DIGITS[:400]}h"]
)
def test_numbers_that_are_too_long_are_refused(text: str) -> None:
    with pytest.raises(BadSpec):
        cron(text)


@pytest.mark.parametrize("zone", ["", "America/New_York", "Asia/Tokyo"])
@pytest.mark.parametrize("text", ["* * * * *", "0 0 1 1 *", "0 0 31 2 *"])
def test_a_calendar_has_no_times_beyond_its_years(text: str, zone: str) -> None:
    times = Times(with_cron(Spec(zone=zone), [text]), "seed")

    assert times.next(YEAR_9999_MS) is None
    for moment_ms in MOMENTS_MS:
        times.next(moment_ms)


@pytest.mark.parametrize("years", [1, 9_000, 140_000])
@pytest.mark.parametrize("start_s", [None, YEAR_9999_MS // 1000])
def test_an_interval_has_no_times_beyond_the_years_of_calendars(years: int, start_s: int | None) -> None:
    every_us = years * 365 * 86_400_000_000
    spec = Spec(
        intervals=(Interval(every_us, every_us - 1),),
        start_us=None if start_s is None else start_s * 1_000_000,
        jitter_us=1_000_000,
    )
    check(spec)
    times = Times(spec, "seed")

    assert times.next(YEAR_9999_MS) is None
    for moment_ms in MOMENTS_MS:
        times.next(moment_ms)
