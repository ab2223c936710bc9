"""A release of temporalio that moved something is named, together with what it moved."""

from __future__ import annotations

import types

import pytest

from dbos_compat import private
from dbos_compat.sdk_release import SUPPORTED, Name, UnsupportedTemporalio, dotted, untested, verify

LAST = SUPPORTED[1]
NEXT = f"{LAST[0]}.{LAST[1] + 1}.0"


class Somewhere:
    @staticmethod
    def found(one: int, two: int) -> int:
        return one + two


def test_every_name_is_where_we_look_for_it() -> None:
    verify(private._NAMES)


@pytest.mark.parametrize(
    ("version", "who"),
    [
        (NEXT, f"temporalio {LAST[0]}.{LAST[1] + 1} moved this."),
        (
            f"{LAST[0]}.{LAST[1] + 3}.1",
            f"A release after {dotted(LAST)}, up to the installed {LAST[0]}.{LAST[1] + 3}.1",
        ),
        (f"{dotted(LAST)}.0", "another package has changed it"),
    ],
)
def test_what_is_gone_is_named_with_the_release_that_moved_it(version: str, who: str) -> None:
    with pytest.raises(UnsupportedTemporalio) as refused:
        verify([Name(Somewhere, "found"), Name(Somewhere, "lost")], version)
    text = str(refused.value)
    assert f"cannot run on temporalio {version}: {__name__}.Somewhere.lost is gone." in text
    assert who in text
    assert f"Supported are {dotted(SUPPORTED[0])} to {dotted(LAST)}" in text


def test_a_function_that_takes_something_else_is_named() -> None:
    verify([Name(Somewhere, "found", ("one", "two"))])
    with pytest.raises(UnsupportedTemporalio, match=r"takes \(one, two\) and no longer \(one\)"):
        verify([Name(Somewhere, "found", ("one",))], NEXT)


def test_a_module_and_an_object_are_named_too() -> None:
    with pytest.raises(UnsupportedTemporalio, match=r"types\.lost is gone; .*Somewhere\.lost is gone"):
        verify([Name(types, "lost"), Name(Somewhere(), "lost")], NEXT)


def test_a_release_that_is_too_old_is_refused_whatever_it_has() -> None:
    with pytest.raises(UnsupportedTemporalio, match=f"1.20.0 is older than {dotted(SUPPORTED[0])}"):
        verify([], "1.20.0")


def test_a_newer_release_is_only_warned_of() -> None:
    assert untested(f"{dotted(LAST)}.7") is None
    assert "last release that dbos-compat was tested with" in (untested(NEXT) or "")
