"""Options that commands of the shadow share: in groups, as :mod:`dbos_compat.cli.grouped` takes them, and single ones.

What they become is in :mod:`dbos_shadow.cli.asked`: nothing here imports what only the work of a command needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

import typer

from dbos_compat.cli.run import duration


def when(text: str) -> datetime:
    """A time (``2027-01-31``, ``2027-01-31T12:00Z``; without a zone it is UTC), or so long ago (``7d``, ``12h``)."""
    text = text.strip()
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        try:
            return datetime.now(UTC) - duration(text)
        except typer.BadParameter:
            raise typer.BadParameter(
                f"{text!r} is no time: write 2027-01-31, 2027-01-31T12:00Z, or how long ago: 7d, 12h"
            ) from None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


CODE = "Code"
WAY = "In which way"
SELECTION = "Which runs"
SAMPLE = "Sampling"
LIMITS = "When to stop"
VERDICT = "What is a go"
RESULTS = "Where results are kept"
REPORTS = "Reports"
PRIVACY = "Privacy"
SERVER = "Temporal server"

Namespace = Annotated[
    str | None,
    typer.Option("--namespace", "-n", help="The Temporal namespace; workflows read it too.", rich_help_panel=CODE),
]
Query = Annotated[str, typer.Option("--query", "-q", help="A list filter of Temporal's.", rich_help_panel=SELECTION)]
ClosedAfter = Annotated[
    datetime | None,
    typer.Option(
        "--closed-after", parser=when, metavar="TIME", help="Or how long ago: 12h.", rich_help_panel=SELECTION
    ),
]
Scouts = Annotated[
    int,
    typer.Option(
        "--scout",
        min=0,
        help="Histories to read beside the sample; those of a rare shape are taken too.",
        rich_help_panel=SAMPLE,
    ),
]
Concurrency = Annotated[
    int, typer.Option("--concurrency", min=1, max=64, help="Requests at once, at most.", rich_help_panel=SERVER)
]
Name = Annotated[str, typer.Option("--name", help="Name of the campaign, for reports.", rich_help_panel=RESULTS)]
MirrorName = Annotated[
    str, typer.Option("--mirror", metavar="NAME", help="Namespace of the mirror there.", rich_help_panel=RESULTS)
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Judge again what was judged before.", rich_help_panel=RESULTS)]
Json = Annotated[bool, typer.Option("--json", help="Print the report as JSON.", rich_help_panel=REPORTS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeOptions:
    """What runs are judged with."""

    workflows: Annotated[
        list[str],
        typer.Option(
            "--workflows",
            "-w",
            metavar="MODULE[:ATTR]",
            help="Workflow classes: a module with all that it has, a class, or a list of them. May be repeated.",
            rich_help_panel=CODE,
        ),
    ]
    data_converter: Annotated[
        str | None,
        typer.Option(
            "--data-converter",
            metavar="MODULE:ATTR",
            help="The namespace's DataConverter with its codec, or a function that returns it.",
            rich_help_panel=CODE,
        ),
    ] = None
    worker_options: Annotated[
        str | None,
        typer.Option(
            "--worker-options",
            metavar="MODULE:ATTR",
            help="A dictionary of what else your Worker is given: interceptors, workflow_runner, plugins ...",
            rich_help_panel=CODE,
        ),
    ] = None
    namespace: Namespace = None
    encoded_headers: Annotated[
        bool, typer.Option("--encoded-headers", help="The clients encode headers with the codec.", rich_help_panel=CODE)
    ] = False
    no_sandbox: Annotated[
        bool,
        typer.Option(
            "--no-sandbox",
            help="Run workflow code outside of temporalio's sandbox: several times faster.",
            rich_help_panel=CODE,
        ),
    ] = False
    allow: Annotated[
        Path | None,
        typer.Option(
            "--allow", help="TOML file of accepted differences. An expired entry fails.", rich_help_panel=CODE
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WayOptions:
    """How they are judged."""

    way: Annotated[
        Literal["replay", "free-run"],
        typer.Option(
            help="Replay: every recorded arrival at its place. Free run: the core drives, the record answers.",
            rich_help_panel=WAY,
        ),
    ] = "replay"
    baseline: Annotated[
        Literal["none", "mismatches", "all"],
        typer.Option(
            "--baseline",
            help="Replay twice on Temporal's own replayer and twice on the core: these runs.",
            rich_help_panel=WAY,
        ),
    ] = "mismatches"
    names: Annotated[
        str | None,
        typer.Option(
            "--names",
            metavar="FILE.yaml|MODULE:ATTR",
            help="Free run: recorded names that are others now.",
            rich_help_panel=WAY,
        ),
    ] = None
    stubs: Annotated[
        str | None,
        typer.Option(
            "--stubs",
            metavar="MODULE:ATTR",
            help="Free run: answers by type of activity or child.",
            rich_help_panel=WAY,
        ),
    ] = None
    run_for_real: Annotated[
        str | None,
        typer.Option(
            "--run-for-real",
            metavar="MODULE:ATTR",
            help="Free run: activities by type whose own code SHALL run.",
            rich_help_panel=WAY,
        ),
    ] = None
    store: Annotated[
        str | None,
        typer.Option(
            "--store",
            metavar="URL",
            help="Replay: take the core's journal through this Postgres and back; else in memory.",
            rich_help_panel=WAY,
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectOptions:
    """Where the live namespace is."""

    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            help="host:port. Else as the `temporal` command: TEMPORAL_ADDRESS, profiles.",
            rich_help_panel=SERVER,
        ),
    ] = None
    profile: Annotated[
        str | None, typer.Option("--profile", help="Profile of Temporal's configuration file.", rich_help_panel=SERVER)
    ] = None
    client: Annotated[
        str | None,
        typer.Option(
            "--client",
            metavar="MODULE:ATTR",
            help="An async function that returns your Client.",
            rich_help_panel=SERVER,
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """Where it is, and how hard it may be asked."""

    connect: ConnectOptions = ConnectOptions()
    per_second: Annotated[
        float,
        typer.Option("--requests-per-second", min=0.01, help="To the server, at most.", rich_help_panel=SERVER),
    ] = 20.0
    concurrency: Concurrency = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class KindOptions:
    """Which kinds of runs."""

    types: Annotated[
        list[str] | None, typer.Option("--type", "-t", help="Only this workflow type.", rich_help_panel=SELECTION)
    ] = None
    exclude_types: Annotated[
        list[str] | None, typer.Option("--exclude-type", help="Not this workflow type.", rich_help_panel=SELECTION)
    ] = None
    statuses: Annotated[
        list[str] | None,
        typer.Option(
            "--status",
            help="running, completed, failed, canceled, terminated, timed_out, continued_as_new.",
            rich_help_panel=SELECTION,
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WhichOptions:
    """Which runs."""

    kinds: KindOptions = KindOptions()
    started_after: Annotated[
        datetime | None,
        typer.Option(
            "--started-after", parser=when, metavar="TIME", help="Or how long ago: 7d.", rich_help_panel=SELECTION
        ),
    ] = None
    started_before: Annotated[
        datetime | None, typer.Option("--started-before", parser=when, metavar="TIME", rich_help_panel=SELECTION)
    ] = None
    closed_after: ClosedAfter = None
    closed_before: Annotated[
        datetime | None, typer.Option("--closed-before", parser=when, metavar="TIME", rich_help_panel=SELECTION)
    ] = None
    ids: Annotated[
        list[str] | None,
        typer.Option("--id", help="Only runs of this workflow id.", rich_help_panel=SELECTION),
    ] = None
    run_ids: Annotated[
        list[str] | None,
        typer.Option("--run-id", help="Only this run.", rich_help_panel=SELECTION),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleOptions:
    """How many of them."""

    rate: Annotated[
        float,
        typer.Option(
            "--rate", min=0, max=1, help="Share of the workflows; the same ones each time.", rich_help_panel=SAMPLE
        ),
    ] = 1.0
    maximum: Annotated[
        int | None,
        typer.Option("--max", min=1, help="Runs at most, spread over kinds of runs.", rich_help_panel=SAMPLE),
    ] = None
    floor: Annotated[
        int,
        typer.Option(
            "--per-kind", min=0, help="Of each kind of runs so many, whatever the rate.", rich_help_panel=SAMPLE
        ),
    ] = 5
    seed: Annotated[
        int, typer.Option("--seed", help="Another number picks other workflows.", rich_help_panel=SAMPLE)
    ] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitOptions:
    """When to stop."""

    deadline: Annotated[
        timedelta | None,
        typer.Option(
            "--for", parser=duration, metavar="DURATION", help="Stop after so long: 10m, 2h.", rich_help_panel=LIMITS
        ),
    ] = None
    run_deadline: Annotated[
        timedelta | None,
        typer.Option(
            "--run-deadline",
            parser=duration,
            metavar="DURATION",
            help="For judging one run; 60s.",
            rich_help_panel=LIMITS,
        ),
    ] = None
    stop_at: Annotated[
        int | None,
        typer.Option("--stop-at-mismatches", min=1, help="Stop when so many runs differ.", rich_help_panel=LIMITS),
    ] = None
    enough: Annotated[
        int | None,
        typer.Option(
            "--enough", min=1, help="Stop when so many runs of each type are compared.", rich_help_panel=LIMITS
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictOptions:
    """When a workflow type is a go."""

    sample_floor: Annotated[
        int,
        typer.Option("--sample-floor", min=1, help="Compared runs that a go needs, per type.", rich_help_panel=VERDICT),
    ] = 10
    max_mismatches: Annotated[
        int, typer.Option("--max-mismatches", min=0, help="Runs that may differ, per type.", rich_help_panel=VERDICT)
    ] = 0
    max_undecided: Annotated[
        float,
        typer.Option(
            "--max-undecided",
            min=0,
            max=1,
            help="Share of runs that may be without an answer.",
            rich_help_panel=VERDICT,
        ),
    ] = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceOptions:
    """Where results are kept."""

    database: Annotated[
        str | None,
        typer.Option(
            "--database",
            envvar="DBOS_SHADOW_DATABASE_URL",
            help="Keep results in this Postgres, in a schema of their own.",
            rich_help_panel=RESULTS,
        ),
    ] = None
    schema: Annotated[str, typer.Option("--schema", help="That schema.", rich_help_panel=RESULTS)] = "dbos_shadow"
    results_file: Annotated[
        Path,
        typer.Option("--results", help="Without a database: keep them in this file.", rich_help_panel=RESULTS),
    ] = Path(".dbos-shadow") / "results.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportOptions:
    """Reports, and what they are compared with."""

    out: Annotated[
        list[Path] | None,
        typer.Option(
            "--out",
            "-o",
            help="Write a report; its suffix says which: .html, .md, .xml (JUnit), .sarif, .json, .jsonl. May be repeated.",
            rich_help_panel=REPORTS,
        ),
    ] = None
    against: Annotated[
        Path | None,
        typer.Option("--against", help="An earlier report (.json): show what has changed.", rich_help_panel=REPORTS),
    ] = None
    label: Annotated[
        str,
        typer.Option("--label", help="Names the report in a trend: a day, a commit.", rich_help_panel=REPORTS),
    ] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HashOptions:
    """What is hashed, and by which key."""

    hash_ids: Annotated[
        bool, typer.Option("--hash-ids", help="Hash workflow and run ids too.", rich_help_panel=PRIVACY)
    ] = False
    key_file: Annotated[
        Path | None,
        typer.Option(
            "--key-file",
            envvar="DBOS_SHADOW_KEY_FILE",
            help="Secret of the hashes. Without one: a key of yours, made at first use.",
            rich_help_panel=PRIVACY,
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownOptions:
    """What may be seen."""

    show_values: Annotated[
        list[str] | None,
        typer.Option(
            "--show-values",
            metavar="GLOB",
            help="Show values at these paths, such as 'activity charge: inputs[0].cents'.",
            rich_help_panel=PRIVACY,
        ),
    ] = None
    show_notes: Annotated[
        bool, typer.Option("--show-notes", help="Show notes; they may quote values.", rich_help_panel=PRIVACY)
    ] = False
    hashes: HashOptions = HashOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """What every session has that judges runs, wherever they come from."""

    limits: LimitOptions = LimitOptions()
    verdict: VerdictOptions = VerdictOptions()
    place: PlaceOptions = PlaceOptions()
    name: Name = ""
    retention: Annotated[
        timedelta | None,
        typer.Option(
            "--retention",
            parser=duration,
            metavar="DURATION",
            help="Delete results that are older, before beginning: 90d.",
            rich_help_panel=RESULTS,
        ),
    ] = None
    report: ReportOptions = ReportOptions()
    shown: ShownOptions = ShownOptions()
    as_json: Json = False
