"""Cron schedules of workflows beyond all bounds: refused, or without a next time, and no error of the machine's."""

from __future__ import annotations

import pytest

from dbos_compat.chains.cron import BadCronSchedule, backoff_ms, parse

NOW_MS = 1_700_000_000_000
YEAR_9999_MS = 253_402_300_799_000


@pytest.mark.parametrize("text", ["*/" + "9" * 5000 + " * * * *", "9" * 5000 + " * * * *"])
def test_numbers_that_are_too_long_are_refused(text: str) -> None:
    with pytest.raises(BadCronSchedule):
        parse(text)


@pytest.mark.parametrize("hours", ["2562048", "87600000", "9" * 30, "9" * 400])
def test_a_distance_that_go_cannot_count_is_refused(hours: str) -> None:
    with pytest.raises(BadCronSchedule):
        parse(f"@every {hours}h")


def test_a_distance_may_be_absurd() -> None:
    assert backoff_ms("@every 2562047h", NOW_MS, NOW_MS) == 2_562_047 * 3_600_000


def test_there_is_no_next_time_after_the_last_year() -> None:
    assert backoff_ms("0 0 1 1 *", YEAR_9999_MS, YEAR_9999_MS) is None
