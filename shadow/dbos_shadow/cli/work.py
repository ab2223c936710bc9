"""Work: from options to a campaign, and from its results to reports. What ``replay``, ``run``, ``watch`` and ``report``
have in common."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import json
import platform
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from temporalio.converter import DataConverter

from dbos_compat.private_workbench import workflow_type
from dbos_compat.sdk_release import SDK_VERSION
from dbos_core.results import CampaignRow, Results
from dbos_core.store.postgres.results import PostgresResults
from dbos_shadow import checks
from dbos_shadow.allow import Allowances, AllowancesUnreadable
from dbos_shadow.campaign import Campaign, End, Limits, config_hash
from dbos_shadow.cli.ending import Exit, Stopped
from dbos_shadow.cli.key import read_key
from dbos_shadow.cli.outputs import check_suffixes, show, write
from dbos_shadow.cli.progress import showing
from dbos_shadow.judging import How, code_settings, dbos_compat_version, judging, masks_of
from dbos_shadow.report import Campaign as AboutCampaign
from dbos_shadow.report import Report, ReportBuilder, ReportConfig, Rule, RunLine, Source, Versions, from_json, run_line
from dbos_shadow.report import Window as AboutWindow
from dbos_shadow.report.scrub import Scrubber
from dbos_shadow.results.kept import Keeper, KeptScrubber, restore
from dbos_shadow.results.lines import LineResults
from dbos_shadow.select import Selection


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """What is judged with."""

    words: tuple[str, ...]
    """The options that say all this on a command line."""
    workflows: tuple[type, ...]
    converter: DataConverter
    worker_options: dict[str, Any]
    namespace: str
    encoded_headers: bool
    allowances: Allowances


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where results are kept."""

    database: str | None
    schema: str
    file: Path
    name: str = ""
    retention: timedelta | None = None
    """Older results are deleted when a session begins."""

    @contextlib.asynccontextmanager
    async def opened(self, *, create: bool = True) -> AsyncIterator[Results]:
        """Raises what ``Results.open`` raises."""
        results: Results
        if self.database is not None:
            results = PostgresResults(self.database, schema=self.schema, create=create)
        else:
            results = LineResults(self.file, create=create)
        await results.open()
        try:
            yield results
        finally:
            await results.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Showing:
    """What may be seen, and by which key the rest is hashed."""

    key: bytes = dataclasses.field(repr=False)
    values: tuple[str, ...] = ()
    ids: bool = True
    notes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """When a workflow type is a go."""

    sample_floor: int
    mismatches_max: int
    undecided_share_max: float

    @property
    def rule(self) -> Rule:
        return Rule(**dataclasses.asdict(self))


def read_allowances(path: Path | None) -> Allowances:
    """The accepted differences of a file, as of today.

    Raises:
        Stopped: the file cannot be read.
    """
    try:
        return checks.read_allowances(path)
    except OSError as error:
        raise Stopped(f"{path}: {error.strerror}.", Exit.USAGE) from error
    except AllowancesUnreadable as error:
        raise Stopped(f"{path}: {error}", Exit.USAGE) from error


Session = Callable[[Campaign], Awaitable[End]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was selected."""

    selection: Selection
    words: str


def showing_of(values: Sequence[str] | None, *, hash_ids: bool, notes: bool, key_file: Path | None) -> Showing:
    """Raises BadKey: the file of the key is missing or no key."""
    return Showing(key=read_key(key_file), values=tuple(values or ()), ids=not hash_ids, notes=notes)


async def judge_and_show(
    code: Code,
    place: Place,
    shown: Showing,
    session: Session,
    *,
    limits: Limits,
    about: Asked,
    verdicts: Verdicts,
    command: str,
    how: How,
    fresh: bool = False,
    out: Sequence[Path] = (),
    against: Path | None = None,
    label: str = "",
    as_json: bool = False,
) -> Exit:
    """A session of a campaign, the report of all that it has chosen, and what the command exits with.

    Args:
        session: runs the campaign.
        command: shows an exemplar again.
        how: in which way runs are judged.
        fresh: judge again what was judged before.
        out: files for reports.
        against: an earlier report.
        label: names the report in a trend.
        as_json: for programs.
    """
    check_suffixes(out)
    before = read_report(against)
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
    async with place.opened() as results, bench as judge:
        if place.retention is not None:
            await results.purge(before_ms=int((datetime.now(UTC) - place.retention).timestamp() * 1000))
        said = {"selection": about.words, "sample": sample_words(about.selection), "command": command}
        row = CampaignRow(config=config, name=place.name, settings=json.dumps({**settings, **said}))
        await results.begin(dataclasses.replace(row, begun_ms=int(datetime.now(UTC).timestamp() * 1000)))
        with showing(quiet=as_json) as shower:
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
            campaign=_about(config, about, campaign, label),
            rule=verdicts.rule,
            key=shown.key,
            values=shown.values,
            ids=shown.ids,
            notes=shown.notes,
            command=command,
            types=about.selection.types,
            sources=sources(code.workflows),
            masks={mask.name: mask.about for mask in masks_of(how.way)},
            strata=tuple(campaign.strata),
            expired=code.allowances.expired,
        )
        report, lines = await make_report(results, config, report_as, only=campaign.chosen)
    return finish(report, lines, before=before, out=out, as_json=as_json, ending=_ended(end, report))


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


def read_report(path: Path | None) -> Report | None:
    """An earlier report.

    Raises:
        Stopped: there is none in this file.
    """
    if path is None:
        return None
    try:
        return from_json(path.read_bytes())
    except OSError as error:
        raise Stopped(f"{path}: {error.strerror}.", Exit.USAGE) from error
    except ValueError as error:
        raise Stopped(f"{path} is not a report of `dbos-compat shadow` (-o report.json).", Exit.USAGE) from error


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
        "namespace": code.namespace,
        "encoded_headers": code.encoded_headers,
        "accepted": holding,
        "shown": [sorted(shown.values), shown.notes],
        "key": config_hash({"key": shown.key.hex()})[:6],
    }


def versions() -> Versions:
    """Of what compares with what."""
    return Versions(temporalio=SDK_VERSION, dbos_compat=dbos_compat_version(), python=platform.python_version())


def _about(config: str, about: Asked, campaign: Campaign, label: str) -> AboutCampaign:
    selection = about.selection
    window = selection.closed if selection.closed.after or selection.closed.before else selection.started
    return AboutCampaign(
        label=label,
        selection=about.words,
        window=AboutWindow(start=_iso(window.after), end=_iso(window.before)),
        selected=campaign.counts.seen,
        sample=sample_words(selection),
        config_hash=config,
        versions=versions(),
    )


def _iso(at: datetime | date | None) -> str:
    return at.isoformat() if at is not None else ""


def sample_words(selection: Selection) -> str:
    if selection.takes_all:
        return "all of them"
    most = f", at most {selection.maximum:,} runs" if selection.maximum is not None else ""
    return f"rate {selection.rate:g}, at least {selection.floor} of each kind{most}, seed {selection.seed}"


async def make_report(
    results: Results,
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
            judgement = restore(row.document)
            builder.add(judgement)
            lines.append(run_line(judgement, scrub))
    return builder.finish(), lines


def _ended(end: End, report: Report) -> tuple[Exit, str]:
    """What the command exits with, and what is to be said beside the report."""
    words = {
        End.DEADLINE: "Stopped: the time was over before all was judged.",
        End.MISMATCHES: "Stopped: as many runs differ as were asked for.",
        End.ENOUGH: "Stopped: enough runs of each type were compared.",
    }
    return Exit(report.exit_code), words.get(end, "")
