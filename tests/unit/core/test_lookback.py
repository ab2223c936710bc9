"""Who looks often goes on from the last look; who has not looked for long looks at all there is."""

from __future__ import annotations

from dbos_core.store.postgres.lookback import OVERLAP_MS, RECENT_MS, Lookback

NOW = 1_700_000_000_000


def test_the_first_look_at_a_queue_has_no_bound() -> None:
    lookback = Lookback()
    assert lookback.look(["orders"], NOW).fresh == ["orders"]

    lookback.looked(["orders"], NOW)

    assert lookback.look(["orders", "later"], NOW + 10) == (NOW - OVERLAP_MS, ["later"])


def test_after_a_long_pause_it_has_none_either() -> None:
    lookback = Lookback()
    lookback.looked(["orders"], NOW)
    lookback.looked(["later"], NOW + RECENT_MS)

    look = lookback.look(["orders", "later"], NOW + RECENT_MS + 5)

    assert look == (NOW + RECENT_MS - OVERLAP_MS, ["orders"])


def test_a_clock_that_is_set_back_hides_nothing_new() -> None:
    lookback = Lookback()
    lookback.looked(["orders"], NOW)

    assert lookback.look(["orders"], NOW - 60_000) == (NOW - 60_000 - OVERLAP_MS, [])
