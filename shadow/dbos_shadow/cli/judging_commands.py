"""``dbos-compat shadow replay``, ``run`` and ``watch``: judge runs from files, from a namespace, and as they close."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dbos_shadow.cli import options as o
from dbos_shadow.cli.ending import EXIT_CODES, Exit, run

if TYPE_CHECKING:
    from dbos_shadow.campaign import Campaign, End, Limits
    from dbos_shadow.cli.work import Code
    from dbos_shadow.judging import How
    from dbos_shadow.select import Selection

REPLAY_FLOOR = 1
"""In a folder there is what somebody has put there; a go for it needs no more than one run of a type."""
LIVE_FLOOR = 10
EPILOG = "Example: dbos-compat shadow {example}  ·  " + EXIT_CODES


def add_to(app: typer.Typer) -> None:
    app.command(epilog=EPILOG.format(example="replay histories/ -w orders.workflows -o junit.xml"))(replay)
    app.command(
        "run", epilog=EPILOG.format(example="run -w orders.workflows --closed-after 7d --rate 0.05 -o report.html")
    )(run_live)
    app.command(
        epilog=EPILOG.format(example="watch -w orders.workflows --for 12h --stop-at-mismatches 1 -o report.html")
    )(watch)


def replay(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILES...", help="Histories: JSON, Temporal Cloud exports, folders of them, gzipped or not."
        ),
    ],
    workflows: o.Workflows,
    data_converter: o.Converter = None,
    worker_options: o.Worker = None,
    namespace: o.Namespace = None,
    encoded_headers: o.EncodedHeaders = False,
    way: o.ByWay = "replay",
    baseline: o.ByBaseline = "mismatches",
    names: o.Names = None,
    stubs: o.Stubs = None,
    run_for_real: o.Real = None,
    store: o.Store = None,
    no_sandbox: o.NoSandbox = False,
    allow: o.Allow = None,
    types: o.Types = None,
    exclude_types: o.ExcludedTypes = None,
    statuses: o.Statuses = None,
    started_after: o.StartedAfter = None,
    started_before: o.StartedBefore = None,
    closed_after: o.ClosedAfter = None,
    closed_before: o.ClosedBefore = None,
    ids: o.Ids = None,
    run_ids: o.RunId = None,
    rate: o.Rate = 1.0,
    maximum: o.Maximum = None,
    floor: o.Floor = 5,
    seed: o.Seed = 0,
    deadline: o.Deadline = None,
    run_deadline: o.RunDeadline = None,
    stop_at: o.StopAt = None,
    enough: o.Enough = None,
    sample_floor: o.SampleFloor = REPLAY_FLOOR,
    max_mismatches: o.MaxMismatches = 0,
    max_undecided: o.MaxUndecided = 0.05,
    database: o.Database = None,
    schema: o.Schema = "dbos_shadow",
    results_file: o.ResultsFile = o.DEFAULT_RESULTS,
    name: o.Name = "",
    retention: o.Retention = None,
    fresh: o.Fresh = False,
    out: o.Out = None,
    against: o.Against = None,
    label: o.Label = "",
    show_values: o.ShowValues = None,
    hash_ids: o.HashIds = False,
    show_notes: o.ShowNotes = False,
    key_file: o.KeyFile = None,
    as_json: o.Json = False,
) -> None:
    """Judge recorded histories in files. For continuous integration, and to look at one run closely."""

    async def work() -> Exit:
        from dbos_shadow.cli import work as w
        from dbos_shadow.reading.file_source import FileSource
        from dbos_shadow.select import Selection, Window

        source = FileSource(paths)
        selection = Selection(
            types=tuple(types or ()),
            excluded_types=tuple(exclude_types or ()),
            statuses=tuple(statuses or ()),
            started=Window(after=started_after, before=started_before),
            closed=Window(after=closed_after, before=closed_before),
            ids=tuple(ids or ()),
            run_ids=tuple(run_ids or ()),
            rate=rate,
            maximum=maximum,
            floor=floor,
            seed=seed,
        )
        code = _code(
            workflows,
            data_converter,
            worker_options,
            namespace or "default",
            encoded_headers,
            allow,
            no_sandbox,
            _way_words(way, names, stubs, run_for_real),
        )

        async def session(campaign: Campaign) -> End:
            return await campaign.run(selection, source)

        return await w.judge_and_show(
            code,
            w.Place(database=database, schema=schema, file=results_file, name=name, retention=retention),
            w.showing_of(show_values, hash_ids=hash_ids, notes=show_notes, key_file=key_file),
            session,
            limits=_limits(deadline, run_deadline, stop_at, enough),
            about=w.Asked(selection=selection, words=_words(["files", *map(str, paths)], selection)),
            verdicts=w.Verdicts(
                sample_floor=sample_floor, mismatches_max=max_mismatches, undecided_share_max=max_undecided
            ),
            command=f"dbos-compat shadow replay {shlex.join(map(str, paths))} {_code_words(code)}{_ONE}",
            how=_how(way, baseline, names, stubs, run_for_real, store),
            fresh=fresh,
            out=out or (),
            against=against,
            label=label,
            as_json=as_json,
        )

    run(work(), as_json=as_json)


def run_live(
    workflows: o.Workflows,
    data_converter: o.Converter = None,
    worker_options: o.Worker = None,
    namespace: o.Namespace = None,
    encoded_headers: o.EncodedHeaders = False,
    way: o.ByWay = "replay",
    baseline: o.ByBaseline = "mismatches",
    names: o.Names = None,
    stubs: o.Stubs = None,
    run_for_real: o.Real = None,
    store: o.Store = None,
    no_sandbox: o.NoSandbox = False,
    allow: o.Allow = None,
    address: o.Address = None,
    profile: o.Profile = None,
    client: o.ClientFactory = None,
    per_second: o.PerSecond = 20.0,
    concurrency: o.Concurrency = 4,
    query: o.Query = "",
    types: o.Types = None,
    exclude_types: o.ExcludedTypes = None,
    statuses: o.Statuses = None,
    started_after: o.StartedAfter = None,
    started_before: o.StartedBefore = None,
    closed_after: o.ClosedAfter = None,
    closed_before: o.ClosedBefore = None,
    ids: o.Ids = None,
    run_ids: o.RunId = None,
    rate: o.Rate = 1.0,
    maximum: o.Maximum = None,
    floor: o.Floor = 5,
    seed: o.Seed = 0,
    deadline: o.Deadline = None,
    run_deadline: o.RunDeadline = None,
    stop_at: o.StopAt = None,
    enough: o.Enough = None,
    sample_floor: o.SampleFloor = LIVE_FLOOR,
    max_mismatches: o.MaxMismatches = 0,
    max_undecided: o.MaxUndecided = 0.05,
    database: o.Database = None,
    schema: o.Schema = "dbos_shadow",
    results_file: o.ResultsFile = o.DEFAULT_RESULTS,
    name: o.Name = "",
    retention: o.Retention = None,
    fresh: o.Fresh = False,
    out: o.Out = None,
    against: o.Against = None,
    label: o.Label = "",
    show_values: o.ShowValues = None,
    hash_ids: o.HashIds = False,
    show_notes: o.ShowNotes = False,
    key_file: o.KeyFile = None,
    as_json: o.Json = False,
) -> None:
    """Judge runs of a live namespace, once. It only lists and reads; start it again and it goes on where it was."""

    async def work() -> Exit:
        from dbos_shadow.cli import work as w
        from dbos_shadow.cli.live import connect
        from dbos_shadow.reading.live import Namespace
        from dbos_shadow.reading.pace import Pace
        from dbos_shadow.select import Selection, Window

        selection = Selection(
            query=query,
            types=tuple(types or ()),
            excluded_types=tuple(exclude_types or ()),
            statuses=tuple(statuses or ()),
            started=Window(after=started_after, before=started_before),
            closed=Window(after=closed_after, before=closed_before),
            ids=tuple(ids or ()),
            run_ids=tuple(run_ids or ()),
            rate=rate,
            maximum=maximum,
            floor=floor,
            seed=seed,
        )
        live = await connect(address=address, namespace=namespace, profile=profile, factory=client)
        code = _code(
            workflows,
            data_converter,
            worker_options,
            live.namespace,
            encoded_headers,
            allow,
            no_sandbox,
            _way_words(way, names, stubs, run_for_real),
        )
        source = Namespace(live, Pace(per_second=per_second, concurrency=concurrency))

        async def session(campaign: Campaign) -> End:
            return await campaign.run(selection, source)

        return await w.judge_and_show(
            code,
            w.Place(database=database, schema=schema, file=results_file, name=name, retention=retention),
            w.showing_of(show_values, hash_ids=hash_ids, notes=show_notes, key_file=key_file),
            session,
            limits=_limits(deadline, run_deadline, stop_at, enough),
            about=w.Asked(selection=selection, words=_words(["namespace", live.namespace], selection)),
            verdicts=w.Verdicts(
                sample_floor=sample_floor, mismatches_max=max_mismatches, undecided_share_max=max_undecided
            ),
            command=_export_and_replay(live.namespace, code),
            how=_how(way, baseline, names, stubs, run_for_real, store),
            fresh=fresh,
            out=out or (),
            against=against,
            label=label,
            as_json=as_json,
        )

    run(work(), as_json=as_json)


def watch(
    workflows: o.Workflows,
    data_converter: o.Converter = None,
    worker_options: o.Worker = None,
    namespace: o.Namespace = None,
    encoded_headers: o.EncodedHeaders = False,
    way: o.ByWay = "replay",
    baseline: o.ByBaseline = "mismatches",
    names: o.Names = None,
    stubs: o.Stubs = None,
    run_for_real: o.Real = None,
    store: o.Store = None,
    no_sandbox: o.NoSandbox = False,
    allow: o.Allow = None,
    address: o.Address = None,
    profile: o.Profile = None,
    client: o.ClientFactory = None,
    per_second: o.PerSecond = 20.0,
    concurrency: o.Concurrency = 4,
    every: Annotated[
        float, typer.Option("--every", min=1, help="Seconds between two looks.", rich_help_panel=o.SERVER)
    ] = 30,
    query: o.Query = "",
    types: o.Types = None,
    exclude_types: o.ExcludedTypes = None,
    statuses: o.Statuses = None,
    closed_after: o.ClosedAfter = None,
    rate: o.Rate = 1.0,
    maximum: o.Maximum = None,
    floor: o.Floor = 5,
    seed: o.Seed = 0,
    deadline: o.Deadline = None,
    run_deadline: o.RunDeadline = None,
    stop_at: o.StopAt = None,
    enough: o.Enough = None,
    sample_floor: o.SampleFloor = LIVE_FLOOR,
    max_mismatches: o.MaxMismatches = 0,
    max_undecided: o.MaxUndecided = 0.05,
    database: o.Database = None,
    schema: o.Schema = "dbos_shadow",
    results_file: o.ResultsFile = o.DEFAULT_RESULTS,
    name: o.Name = "",
    retention: o.Retention = None,
    out: o.Out = None,
    against: o.Against = None,
    label: o.Label = "",
    show_values: o.ShowValues = None,
    hash_ids: o.HashIds = False,
    show_notes: o.ShowNotes = False,
    key_file: o.KeyFile = None,
    as_json: o.Json = False,
) -> None:
    """Judge runs of a live namespace as they close, until a limit is reached; the report comes then. Without --closed-after
    from now on. It needs one of --for, --enough and --stop-at-mismatches."""

    async def work() -> Exit:
        from dbos_shadow.cli import work as w
        from dbos_shadow.cli.ending import Stopped
        from dbos_shadow.cli.live import connect
        from dbos_shadow.reading.live import Namespace
        from dbos_shadow.reading.pace import Pace
        from dbos_shadow.select import Selection, Window

        if deadline is None and stop_at is None and enough is None:
            raise Stopped("A watch needs an end: --for 12h, --enough 200, or --stop-at-mismatches 1.", Exit.USAGE)
        since = closed_after or datetime.now(UTC)
        selection = Selection(
            query=query,
            types=tuple(types or ()),
            excluded_types=tuple(exclude_types or ()),
            statuses=tuple(statuses or ()),
            closed=Window(after=since),
            rate=rate,
            maximum=maximum,
            floor=floor,
            seed=seed,
        )
        live = await connect(address=address, namespace=namespace, profile=profile, factory=client)
        code = _code(
            workflows,
            data_converter,
            worker_options,
            live.namespace,
            encoded_headers,
            allow,
            no_sandbox,
            _way_words(way, names, stubs, run_for_real),
        )
        source = Namespace(live, Pace(per_second=per_second, concurrency=concurrency))

        async def session(campaign: Campaign) -> End:
            return await campaign.watch(selection, source, since=since, every_s=every)

        return await w.judge_and_show(
            code,
            w.Place(database=database, schema=schema, file=results_file, name=name, retention=retention),
            w.showing_of(show_values, hash_ids=hash_ids, notes=show_notes, key_file=key_file),
            session,
            limits=_limits(deadline, run_deadline, stop_at, enough),
            about=w.Asked(selection=selection, words=_words(["namespace", live.namespace, "as they close"], selection)),
            verdicts=w.Verdicts(
                sample_floor=sample_floor, mismatches_max=max_mismatches, undecided_share_max=max_undecided
            ),
            command=_export_and_replay(live.namespace, code),
            how=_how(way, baseline, names, stubs, run_for_real, store),
            out=out or (),
            against=against,
            label=label,
            as_json=as_json,
        )

    run(work(), as_json=as_json)


# -- what they have in common --------------------------------------------------------------------------------------------

_ONE = " --id {workflow_id} --run-id {run_id}"


def _code(
    names: Sequence[str],
    converter: str | None,
    worker_options: str | None,
    namespace: str,
    encoded_headers: bool,
    allow: Path | None,
    no_sandbox: bool,
    way_words: Sequence[str],
) -> Code:
    from temporalio.worker import UnsandboxedWorkflowRunner

    from dbos_shadow.cli import work as w
    from dbos_shadow.cli.loading import load_converter, load_options, load_workflows

    options = load_options(worker_options)
    if no_sandbox:
        options["workflow_runner"] = UnsandboxedWorkflowRunner()

    words = [word for name in names for word in ("-w", name)]
    for option, value in (
        ("--data-converter", converter),
        ("--worker-options", worker_options),
        ("--namespace", namespace if namespace != "default" else None),
        ("--allow", str(allow) if allow else None),
    ):
        words += [option, value] if value is not None else []
    for flag, is_set in (("--encoded-headers", encoded_headers), ("--no-sandbox", no_sandbox)):
        words += [flag] if is_set else []
    return w.Code(
        words=(*words, *way_words),
        workflows=tuple(load_workflows(names)),
        converter=load_converter(converter),
        worker_options=options,
        namespace=namespace,
        encoded_headers=encoded_headers,
        allowances=w.read_allowances(allow),
    )


def _how(
    way: str, baseline: str, names: str | None, stubs: str | None, run_for_real: str | None, store: str | None
) -> How:
    from dbos_shadow.cli.loading import load_names, load_options
    from dbos_shadow.judging import Baseline, How
    from dbos_shadow.verdict import Way

    return How(
        way=Way.FREE_RUN if way == "free-run" else Way.REPLAY,
        baseline=Baseline(baseline),
        names=load_names(names),
        stubs=load_options(stubs),
        run_for_real=load_options(run_for_real),
        store_url=store,
    )


def _way_words(way: str, names: str | None, stubs: str | None, run_for_real: str | None) -> list[str]:
    """The options of a free run, as they are written."""
    if way != "free-run":
        return []
    given = (("--names", names), ("--stubs", stubs), ("--run-for-real", run_for_real))
    return ["--way", way, *(word for option, value in given if value is not None for word in (option, value))]


def _limits(deadline: o.Deadline, run_deadline: o.RunDeadline, stop_at: int | None, enough: int | None) -> Limits:
    from dbos_shadow.campaign import RUN_DEADLINE_S, Limits

    return Limits(
        run_deadline_s=run_deadline.total_seconds() if run_deadline is not None else RUN_DEADLINE_S,
        deadline_s=deadline.total_seconds() if deadline is not None else None,
        mismatches=stop_at,
        compared_per_type=enough,
    )


def _words(where: Sequence[str], selection: Selection) -> str:
    asked = selection.list_query()
    return " ".join(where) + (f" where {asked}" if asked else "")


def _code_words(code: Code) -> str:
    return shlex.join(code.words).replace("{", "{{").replace("}", "}}")


def _export_and_replay(namespace: str, code: Code) -> str:
    where = shlex.join(["--namespace", namespace]).replace("{", "{{").replace("}", "}}")
    return (
        f"dbos-compat shadow export shadow-run {where}{_ONE} && "
        f"dbos-compat shadow replay shadow-run {_code_words(code)}{_ONE}"
    )
