"""Changed code: each edit is found in histories of the unchanged code, at its level and its step."""

from __future__ import annotations

import pytest

from dbos_shadow.difference import Level
from dbos_shadow.verdict import Verdict
from tests.shadow.corpus.judges import judgements, told
from tests.shadow.corpus.programs import THEMES
from tests.shadow.corpus.recorder import Played, record
from tests.shadow.mutations.mutation import Mutation, mutated
from tests.shadow.mutations.table import TABLE

pytestmark = [pytest.mark.temporal, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def played(temporal_address: str) -> dict[str, list[Played]]:
    """The histories of unchanged code, by scene."""
    scenes = {mutation.scene for mutation in TABLE}
    found: dict[str, list[Played]] = {}
    for run in record(temporal_address, list(THEMES.values()), only=scenes):
        found.setdefault(run.name, []).append(run)
    return found


def test_there_are_many_of_all_levels() -> None:
    assert len(TABLE) >= 90
    assert len({mutation.name for mutation in TABLE}) == len(TABLE)
    assert {mutation.level for mutation in TABLE} == set(Level)


@pytest.mark.parametrize("mutation", TABLE, ids=lambda mutation: mutation.name)
async def test_an_edit_is_found(mutation: Mutation, played: dict[str, list[Played]]) -> None:
    runs = [run for run in played[mutation.scene] if mutation.workflow_type in ("", run.recorded.workflow_type)]
    with mutated(mutation) as theme:
        judged = await judgements(runs, {theme.name: theme})
    different = [found for _, found in judged if found.verdict is Verdict.MISMATCH]
    assert different, [told(found) for _, found in judged]
    comparison = different[0].comparison
    assert comparison is not None
    first = comparison.first
    assert first is not None
    assert f"{first.level} {first.kind} {first.path}" == mutation.found, told(different[0])


async def test_unchanged_code_is_not(played: dict[str, list[Played]]) -> None:
    """The other half of the proof: the same histories, the same way of loading, nothing edited."""
    same = Mutation("nothing", "activities/in_a_row", "activities:InARow", "city.upper()", "city.upper()", "")
    with mutated(same) as theme:
        judged = await judgements(played[same.scene], {theme.name: theme})
    assert [found.verdict for _, found in judged] == [Verdict.MATCH]


def test_an_edit_that_no_longer_applies_says_so() -> None:
    for text in ("this is not there", "workflow"):
        gone = Mutation("gone", "activities/in_a_row", "activities:InARow", text, "", "")
        with pytest.raises(ValueError, match="should be there once"):
            gone.source()
