"""Programs from chance: those that ``tests/compat/programs`` draws, the same seeds, the same driver."""

from __future__ import annotations

from tests.compat.programs.driver import sight
from tests.compat.programs.grammar import program
from tests.compat.programs.script import ACTIVITIES, Script
from tests.shadow.corpus.stage import Stage
from tests.shadow.corpus.theme import Play, Theme

theme = Theme("scripts", workflows=[Script], activities=list(ACTIVITIES))

SEEDS = range(2000, 2012)


def seeded(seed: int) -> Play:
    async def play(stage: Stage) -> None:
        await sight(stage.client, program(seed), stage.id, stage.queue)

    return play


for seed in SEEDS:
    theme.named(f"seed_{seed}", seeded(seed))
