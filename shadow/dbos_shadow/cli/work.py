"""Work: from what was asked to a campaign, and from its results to reports. What ``replay``, ``run``, ``watch`` and ``report``
have in common."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import json
import platform
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from dbos_compat.private_workbench import workflow_type
from dbos_compat.sdk_release import SDK_VERSION
from dbos_core.results import CampaignRow, ReadableResults
from dbos_shadow.campaign import Campaign, End, config_hash
from dbos_shadow.cli import options as o
from dbos_shadow.cli.asked import Code, Showing, how_of, limits_of, opened, read_report, rule_of, showing_of
from dbos_shadow.cli.ending import Exit, as_asked
from dbos_shadow.cli.outputs import check_suffixes, show, write
from dbos_shadow.cli.progress import showing
from dbos_shadow.judging import code_settings, dbos_compat_version, judging, masks_of
from dbos_shadow.report import Campaign as AboutCampaign
from dbos_shadow.report import Report, ReportBuilder, ReportConfig, Rule, RunLine, Source, Versions, run_line
from dbos_shadow.report import Window as AboutWindow
from dbos_shadow.report.scrub import Scrubber
from dbos_shadow.results.kept import Keeper, KeptScrubber, restore
from dbos_shadow.select import Selection, Stratum

REPEATED_MAX = 10
"""Named, of the histories that were there more than once."""

Session = Callable[[Campaign], Awaitable[End]]


async def judge_and_show(
    code: Code,
    way: o.WayOptions,
    asked: o.SessionOptions,
    session: Session,
    *,
    selection: Selection,
    where: Sequence[str],
    command: str,
    fresh: bool = False,
) -> Exit:
    """A session of a campaign, the report of all that it has chosen, and what the command exits with.

    Args:
        session: runs the campaign.
        selection: what it takes.
        where: it looks for runs, in words.
        command: shows an exemplar again.
        fresh: judge again what was judged before.
    """
    out = asked.report.out or ()
    check_suffixes(out)
    shown, how, limits = showing_of(asked.shown), how_of(way), limits_of(asked.limits)
    before = read_report(asked.report.against)
    words = _selection_words(where, selection)
    settings = {**code_settings(code.workflows, code.converter, code.worker_options, how), **_of(code, shown)}
    config = config_hash(settings)
    scrub = Scrubber(shown.key, values=shown.values, notes=shown.notes)
    bench = judging(
        code.workflows,
        data_converter=code.converter,
        namespace=code.namespace,
        worker_options=code.worker_options,
        encoded_headers=code.encoded_headers,
        allowances=code.allowances,
        how=how,
    )
    async with contextlib.AsyncExitStack() as stack:
        results = await stack.enter_async_context(opened(asked.place))
        with as_asked():
            judge = await stack.enter_async_context(bench)
        if asked.retention is not None:
            await results.purge(before_ms=int((datetime.now(UTC) - asked.retention).timestamp() * 1000))
        said = {"selection": words, "sample": sample_words(selection), "command": command}
        row = CampaignRow(config=config, name=asked.name, settings=json.dumps({**settings, **said}))
        await results.begin(dataclasses.replace(row, begun_ms=int(datetime.now(UTC).timestamp() * 1000)))
        with showing(quiet=asked.as_json) as shower:
            campaign = Campaign(
                config,
                results=results,
                judge=judge,
                keep=Keeper(scrub),
                limits=limits,
                on_judged=shower,
                fresh=fresh,
            )
            shower.counts = campaign.counts
            end = await session(campaign)
        report_as = ReportConfig(
            campaign=_about(config, words, selection, campaign, asked.report.label, showing=shown),
            rule=rule_of(asked.verdict),
            key=shown.key,
            values=shown.values,
            ids=shown.ids,
            notes=shown.notes,
            command=command,
            types=selection.types,
            sources=sources(code.workflows),
            masks={mask.name: mask.about for mask in masks_of(how.way)},
            strata=tuple(campaign.strata),
            passed_over=campaign.counts.passed_over,
            expired=code.allowances.expired,
        )
        report, lines = await make_report(results, config, report_as, only=campaign.chosen)
    return finish(report, lines, before=before, out=out, as_json=asked.as_json, ending=ended(end, report))


def finish(
    report: Report,
    lines: Sequence[RunLine],
    *,
    before: Report | None,
    out: Sequence[Path],
    as_json: bool,
    ending: tuple[Exit, str],
) -> Exit:
    """Compare with an earlier report, write files, show it."""
    if before is not None:
        report = compared(report, before)
    write(report, lines, out)
    code, said = ending
    show(report, as_json=as_json, said=said, written=out)
    return code


def compared(report: Report, before: Report) -> Report:
    """The report with what has changed since an earlier one."""
    from dbos_shadow.report.trend import with_trend

    return with_trend(report, [before])


def sources(workflows: Sequence[type]) -> dict[str, Source]:
    """Where each workflow type is defined, for tools that annotate code."""
    found = {}
    for one in workflows:
        name, file = workflow_type(one), inspect.getsourcefile(one)
        if name is None or file is None:
            continue
        path = Path(file).resolve()
        with contextlib.suppress(ValueError, OSError):
            line = inspect.getsourcelines(one)[1]
            found[name] = Source(uri=path.relative_to(Path.cwd()).as_posix(), line=line)
    return found


def _of(code: Code, shown: Showing) -> dict[str, Any]:
    """What of the options decides a verdict, or what is kept of it."""
    holding = sorted(entry.fingerprint for entry in code.allowances.accepted if entry.holds(code.allowances.today))
    return {
        "named": code.named,
        "namespace": code.namespace,
        "encoded_headers": code.encoded_headers,
        "accepted": holding,
        "shown": [sorted(shown.values), shown.notes],
        "key": config_hash({"key": shown.key.hex()})[:6],
    }


def versions() -> Versions:
    """Of what compares with what."""
    return Versions(temporalio=SDK_VERSION, dbos_compat=dbos_compat_version(), python=platform.python_version())


def _selection_words(where: Sequence[str], selection: Selection) -> str:
    asked = selection.list_query()
    return " ".join(where) + (f" where {asked}" if asked else "")


def _about(
    config: str, words: str, selection: Selection, campaign: Campaign, label: str, *, showing: Showing
) -> AboutCampaign:
    scrub = Scrubber(showing.key, ids=showing.ids)
    counts = campaign.counts
    window = selection.closed if selection.closed.after or selection.closed.before else selection.started
    return AboutCampaign(
        label=label,
        selection=words,
        window=AboutWindow(start=_iso(campaign.since or window.after), end=_iso(window.before)),
        selected=counts.seen,
        scouted=counts.scouted,
        taken_over=counts.known,
        repeated=len(counts.repeated),
        repeated_ids=tuple(map(scrub.id, counts.repeated[:REPEATED_MAX])),
        sample=sample_words(selection),
        config_hash=config,
        versions=versions(),
    )


def _iso(at: datetime | date | None) -> str:
    return at.isoformat() if at is not None else ""


def sample_words(selection: Selection) -> str:
    """How many of the selected runs are judged, for people."""
    if selection.takes_all:
        return "all of them"
    most = f", at most {selection.maximum:,} runs" if selection.maximum is not None else ""
    rare = f", up to {selection.scouts:,} more read for rare shapes" if selection.scouts else ""
    return f"rate {selection.rate:g}, at least {selection.floor} of each kind{most}{rare}, seed {selection.seed}"


def kept_as(kept: CampaignRow, shown: Showing, rule: Rule, *, label: str) -> ReportConfig:
    """How the results that are kept of a campaign are shown."""
    settings, summary = json.loads(kept.settings), json.loads(kept.summary)
    values, notes = settings.get("shown", [[], False])
    return ReportConfig(
        campaign=AboutCampaign(
            label=label,
            selection=settings.get("selection", ""),
            selected=summary.get("seen"),
            scouted=summary.get("scouted", 0),
            sample=settings.get("sample", ""),
            config_hash=kept.config,
            versions=versions(),
        ),
        rule=rule,
        key=shown.key,
        values=tuple(values),
        notes=notes,
        ids=shown.ids,
        masks=dict.fromkeys(settings.get("masks", ()), ""),
        passed_over=summary.get("passed_over", {}),
        strata=tuple(Stratum(**found) for found in summary.get("strata", ())),
        **({"command": settings["command"]} if "command" in settings else {}),
    )


async def make_report(
    results: ReadableResults,
    config: str,
    report_as: ReportConfig,
    *,
    only: Collection[tuple[str, str]] | None = None,
) -> tuple[Report, list[RunLine]]:
    """The report of what is kept under a configuration, and a line for every run of it.

    Args:
        only: of these runs (workflow id, run id); None: of all.
    """
    scrub = KeptScrubber(report_as.key, values=report_as.values, ids=report_as.ids, notes=report_as.notes)
    builder = ReportBuilder(report_as, scrub=scrub)
    lines = []
    async for row in results.read(config):
        if only is None or row.key in only:
            with as_asked():
                judgement = restore(row.document)
            builder.add(judgement)
            lines.append(run_line(judgement, scrub))
    return builder.finish(), lines


def ended(end: End, report: Report) -> tuple[Exit, str]:
    """What the command exits with, and what is to be said beside the report."""
    words = {
        End.DEADLINE: "Stopped: the time of --for was over.",
        End.MISMATCHES: "Stopped: as many runs differ as were asked for.",
        End.ENOUGH: "Stopped: enough runs of each type were compared.",
    }
    return Exit(report.exit_code), words.get(end, "")
