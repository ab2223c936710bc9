"""The group ``dbos-compat determinism``: try one workflow, run one schedule again, look at code without running it.

What a command needs is imported when it runs: ``dbos-compat --help`` shall stay quick.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dbos_shadow.determinism.failure import DeterminismError
    from dbos_shadow.determinism.plan import Plan, Profile

EXIT_CODES = "Exit codes: 0 everything holds · 1 a rule is broken, or the linter objects · 2 wrong usage"
BROKEN, USAGE = 1, 2

app = typer.Typer(
    name="determinism",
    help="Find the schedule that breaks a workflow: no server, no database, and no activity is executed.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
)

Place = Annotated[
    str,
    typer.Argument(metavar="MODULE:WORKFLOW", help="A workflow class, or a file with one: orders/flow.py:OrderFlow."),
]
Then = Annotated[
    str | None,
    typer.Option(
        "--then",
        metavar="MODULE:WORKFLOW",
        help="Changed code, under the same workflow name, that takes over at some point of the run.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Unsandboxed = Annotated[bool, typer.Option("--unsandboxed", help="Without Temporal's sandbox: several times as fast.")]
Keep = Annotated[
    Path, typer.Option("--keep", help="Folder for the story, the picture, the history and the test of a failure.")
]


@app.command(epilog="Example: dbos-compat determinism check orders.workflows:OrderWorkflow --profile ci")
def check(
    place: Place,
    then: Then = None,
    profile: Annotated[str, typer.Option("--profile", help="How much is tried: fast (10 s), ci, nightly.")] = "fast",
    unsandboxed: Unsandboxed = False,
    seed: Annotated[int | None, typer.Option("--seed", help="Other schedules than those of the last time.")] = None,
    keep: Keep = Path(".determinism"),
    durable: Annotated[
        str | None,
        typer.Option(
            "--durable",
            metavar="URL",
            help="Then play what was found on this Postgres, with worker processes that are killed at their commits.",
        ),
    ] = None,
    durable_scripts: Annotated[
        int,
        typer.Option(
            "--durable-scripts",
            min=1,
            metavar="N",
            help="With --durable: so many different schedules, those that differ most. Each takes some seconds.",
        ),
    ] = 5,
    as_json: Json = False,
) -> None:
    """Try a workflow on many schedules, with stubs inferred from annotations, until one breaks a rule."""
    from dbos_shadow.cli.progress import doing
    from dbos_shadow.determinism.elsewhere import reference_to
    from dbos_shadow.determinism.explore import check_workflow
    from dbos_shadow.determinism.failure import BadPlan, DeterminismError

    cls, plan = _plan(place, unsandboxed, then)
    played: dict[str, Any] = {}
    try:
        how = _profile(profile)
        with doing() as told:
            explored = check_workflow(plan, profile=how, seed=seed, reference=reference_to(plan), told=told)
        if durable is not None:
            from dbos_shadow.determinism.durable import run_durably

            with doing() as told:
                report = run_durably(
                    cls, explored.kept, durable, scripts_max=durable_scripts, sandboxed=not unsandboxed, told=told
                )
            played = {"durable": report.document()}
            _say(as_json, str(report), {})
    except DeterminismError as error:
        _broken(error, plan, keep, as_json)
    except BadPlan as error:
        _usage(str(error))
    _say(
        as_json,
        f"{plan.name}: {explored.schedules} schedules in {explored.seconds:.1f} s "
        f"({explored.per_second:.0f} a second, {explored.steps} steps), and every rule holds."
        f"{_not_tried(explored.unchecked)}",
        {
            "workflow": plan.name,
            "holds": True,
            "schedules": explored.schedules,
            "seconds": round(explored.seconds, 3),
            "steps": explored.steps,
            "unchecked": list(explored.unchecked),
            **played,
        },
    )


@app.command(epilog="Example: dbos-compat determinism again orders.workflows:OrderWorkflow 0,12,3")
def again(
    place: Place,
    decisions: Annotated[str, typer.Argument(help="The schedule, as a failure named it: numbers with commas between.")],
    then: Then = None,
    unsandboxed: Unsandboxed = False,
    times: Annotated[
        int, typer.Option("--times", min=1, metavar="N", help="Run it so often: chance may have a say in what happens.")
    ] = 2,
    hash_seeds: Annotated[
        str,
        typer.Option(
            "--hash-seeds",
            metavar="NUMBERS",
            help="Run it in fresh processes with these hash seeds, too; empty: in none. Each takes a second to begin.",
        ),
    ] = "1,2",
    keep: Keep = Path(".determinism"),
    as_json: Json = False,
) -> None:
    """Run one schedule again, and tell what happens."""
    from dbos_shadow.determinism.elsewhere import reference_to
    from dbos_shadow.determinism.failure import BadPlan
    from dbos_shadow.determinism.once_more import judge
    from dbos_shadow.determinism.timeline import timeline

    _, plan = _plan(place, unsandboxed, then)
    numbers, seeds = _numbers(decisions), _numbers(hash_seeds)
    try:
        judged = judge(plan, numbers, reference=reference_to(plan), times=times, hash_seeds=seeds)
    except BadPlan as error:
        _usage(str(error))
    lived = judged.lived
    if lived.error is not None:
        _broken(lived.error, plan, keep, as_json)
    _say(
        as_json,
        f"{timeline(lived.happenings, plan.name)}\nEvery rule holds.{_not_tried(judged.unchecked)}",
        {
            "workflow": plan.name,
            "holds": True,
            "decisions": list(lived.decisions),
            "unchecked": list(judged.unchecked),
        },
    )


@app.command(epilog="Example: dbos-compat determinism lint orders/")
def lint(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Files and folders; in a folder, files with workflows.")
    ] = None,
    config: Annotated[bool, typer.Option("--config", help="Print the Ruff configuration instead, to keep it.")] = False,
    as_json: Json = False,
) -> None:
    """Look at workflow code without running it, with Ruff. What that cannot see is on the page about determinism."""
    from dbos_shadow.determinism import lint as rules

    if config:
        typer.echo(rules.configuration(), nl=False)
        return
    try:
        found = rules.lint(paths or [Path()])
    except (rules.RuffMissing, FileNotFoundError) as error:
        _usage(str(error))
    people = "\n".join(map(str, found)) or "Nothing to object to."
    _say(
        as_json,
        people,
        {"findings": [{s: getattr(f, s) for s in ("file", "line", "column", "rule", "message")} for f in found]},
    )
    if found:
        raise typer.Exit(BROKEN)


def _plan(place: str, unsandboxed: bool, then: str | None = None) -> tuple[type, Plan]:
    from dbos_shadow.determinism.inferred import NoWorkflow, inferred, workflow_at

    try:
        cls = workflow_at(place)
        takes_over = None if then is None else workflow_at(then)
        return cls, inferred(cls, sandboxed=not unsandboxed, then=takes_over)
    except (NoWorkflow, ValueError) as error:
        _usage(str(error))


def _profile(name: str) -> Profile:
    from dbos_shadow.determinism.plan import profile_of

    try:
        return profile_of(name)
    except ValueError as error:
        _usage(str(error))


def _numbers(text: str) -> list[int]:
    try:
        return [int(word) for word in text.strip("[]").split(",") if word.strip()]
    except ValueError:
        _usage(f"{text!r} is no list of numbers")


def _not_tried(unchecked: Sequence[str]) -> str:
    return "".join(f"\nBut {what}." for what in unchecked)


def _broken(error: DeterminismError, plan: Plan, folder: Path, as_json: bool) -> NoReturn:
    from dbos_shadow.determinism.keep import Source, explain, keep

    source = Source.of_plan(plan)
    kept = keep(error, source, folder)
    document = {
        "workflow": error.workflow,
        "holds": False,
        "rule": error.rule.name.lower(),
        "what": error.what,
        "decisions": list(error.decisions),
        "kept": None if kept is None else str(kept.folder),
    }
    _say(as_json, explain(error, source, kept), document)
    raise typer.Exit(BROKEN)


def _say(as_json: bool, sentence: str, document: dict[str, Any]) -> None:
    if not as_json:
        typer.echo(sentence)
    elif document:
        typer.echo(json.dumps(document, ensure_ascii=False))


def _usage(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(USAGE)
