"""Each kernel with a bug is caught, and the real one is not."""

from __future__ import annotations

import pytest

from dbos_shadow.determinism import DeterminismError, Profile, check_workflow
from tests.shadow.kernel_mutants.mutants import MUTANTS, Mutant
from tests.shadow.kernel_mutants.programs import PLANS

BOUND = Profile(name="mutants", schedules=10_000, seconds=600, hash_seeds=0)
"""Most need fewer than a hundred. One needs two things at exact moments: a thousand and a half on average, by chance, and what
Hypothesis draws depends on the modules that are loaded."""


def test_there_are_enough() -> None:
    assert len(MUTANTS) >= 20
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_caught(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant.apply(monkeypatch)
    with pytest.raises(DeterminismError) as caught:
        check_workflow(PLANS[mutant.plan], profile=BOUND, shrinks=False)
    assert caught.value.happenings


@pytest.mark.parametrize("name", [name for name in PLANS if name != "gambles"])
def test_the_real_one_is_not(name: str) -> None:
    explored = check_workflow(PLANS[name], profile=Profile(name="sound", schedules=40, seconds=300, hash_seeds=0))
    assert explored.schedules


@pytest.mark.nightly
@pytest.mark.parametrize("name", [name for name in PLANS if name != "gambles"])
def test_the_real_one_is_not_in_many(name: str) -> None:
    explored = check_workflow(PLANS[name], profile=Profile(name="sound", schedules=10_000, seconds=900, hash_seeds=0))
    assert explored.schedules
