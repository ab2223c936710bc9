"""Looking for messages of stock tools: what could not be looked for is looked for again."""

from __future__ import annotations

import pytest

from dbos_core.errors import StoreUnavailable
from dbos_core.store.base import Wake, WakeKind
from dbos_core.store.postgres import stray_mail
from dbos_core.store.postgres.stray_mail import StrayMail
from tests.fixtures.waiting import eventually


class Moody:
    """A database that fails the first time it is asked anything."""

    def __init__(self, error: Exception) -> None:
        self._errors = {"sweep": error, "nudge": error}
        self.swept = 0
        self.nudged: list[str] = []

    async def rows_by_cost(self, what: str, text: str) -> list[tuple[str]]:
        if (error := self._errors.pop("sweep", None)) is not None:
            raise error
        self.swept += 1
        return [("order-42",)]

    async def value(self, what: str, text: str, keys: list[str]) -> int:
        if (error := self._errors.pop("nudge", None)) is not None:
            raise error
        self.nudged += keys
        return len(keys)


@pytest.mark.parametrize("error", [StoreUnavailable("away"), RuntimeError("a bug")], ids=["away", "bug"])
async def test_a_look_that_failed_is_repeated_for_all_that_it_was_about(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stray_mail, "AGAIN_S", 0.001)
    database = Moody(error)
    stray = StrayMail(database)  # type: ignore[arg-type]
    stray.start()
    stray.heard(Wake(WakeKind.MAIL, "order-1"))
    try:
        await eventually(lambda: len(database.nudged) == 2, what="both runs are made runnable")
    finally:
        await stray.stop()

    assert sorted(database.nudged) == ["order-1", "order-42"]
    assert database.swept == 1
