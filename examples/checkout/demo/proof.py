"""The last act: the same checkout on Temporal, and the shadow's verdict on what was recorded there.

Where the ``temporal`` command is missing, the runs are those that ``examples/shadow`` keeps.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from dbos_shadow.checks import histories
from dbos_shadow.judging import How, judging
from dbos_shadow.reading.files import Unreadable
from dbos_shadow.recorded import Recorded
from dbos_shadow.report import Campaign, Report, ReportBuilder, ReportConfig, Rule, render_html
from examples.checkout.demo.evidence import Promises
from examples.checkout.demo.screen import Screen
from examples.checkout.demo.stage import DemoFailed, Stage
from examples.checkout.workflows import CheckoutWorkflow
from examples.shadow.changed import ChangedCheckout
from examples.shadow.check import HISTORIES
from examples.shadow.record import record
from examples.shadow.server import development_server, temporal_command

REPORT = Path(".dbos-shadow") / "demo.html"


async def second_act(screen: Screen, stage: Stage, promises: Promises) -> Path:
    """Play it; where the report lies."""
    logging.getLogger("temporalio").setLevel(logging.ERROR)  # a declined card is part of the play
    screen.act("Act 4 · the same checkout on Temporal, and the proof that the core does the same")
    runs = await recorded(screen, stage)
    ran_before = len(stage.ledger.ran())
    with screen.waiting("replaying them on the core, journals through Postgres and back"):
        same = await judged(runs, CheckoutWorkflow, stage.url, "The checkout, on Temporal and on Postgres")
    screen.fact(
        f"the shadow says [bold green]{same.decision.label}[/]: {same.counts.match} of {len(runs)} runs do the same"
    )
    with screen.waiting("replaying them with code that has a mistake"):
        different = await judged(runs, ChangedCheckout, None, "The checkout, changed")
    screen.fact(
        f"of code that forgets a refund it says [bold red]{different.decision.label}[/]: "
        f"{different.groups[0].title if different.groups else different.why}"
    )
    check = promises.check
    check("every run that Temporal has recorded does the same on the core", same.counts.match, len(runs))
    check("the mistake is found, in the runs that show it", different.counts.mismatch, 2)
    check("the shadow has run no activity", len(stage.ledger.ran()) - ran_before, 0)
    path = Path.cwd() / REPORT
    await asyncio.to_thread(write, path, render_html(same))
    return path


async def recorded(screen: Screen, stage: Stage) -> list[Recorded]:
    command = temporal_command()
    if command is None:
        screen.fact("there is no [bold]temporal[/] command here: six runs that a Temporal server has recorded earlier")
        return read(HISTORIES)
    with screen.waiting("six carts on a Temporal development server"):
        async with development_server(command) as client:
            written = await record(client, stage.folder / "histories")
    screen.fact(f"a Temporal development server has checked {len(written)} carts out, and recorded it")
    return read(written[0].parent)


def read(folder: Path) -> list[Recorded]:
    found: list[Recorded] = []
    for run in histories(folder):
        if isinstance(run, Unreadable):
            raise DemoFailed(run.note)
        found.append(run)
    return found


async def judged(runs: Sequence[Recorded], workflow: type, store_url: str | None, title: str) -> Report:
    """What the shadow says of these runs; their journals go through a Postgres, if one is given."""
    builder = ReportBuilder(ReportConfig(campaign=Campaign(title=title), rule=Rule(sample_floor=1)))
    async with judging([workflow], how=How(store_url=store_url)) as judge:
        for run in runs:
            builder.add(await judge(run))
    return builder.finish()


def write(path: Path, page: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def show(screen: Screen, path: Path) -> None:
    """Say where the report is, and open it where somebody sits in front of a screen."""
    screen.console.print(f"The shadow's report: [bold]{path}[/]", soft_wrap=True)
    if sys.stdout.isatty() and (
        sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        webbrowser.open(path.as_uri())
