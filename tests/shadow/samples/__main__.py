"""``python -m tests.shadow.samples --samples CHECKOUT``: the public samples, judged; a table, and a verdict."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from tests.fixtures.process import IMPORT_FOLDERS, REPOSITORY
from tests.fixtures.temporal import DYNAMIC_CONFIG, development_server
from tests.shadow.samples import document
from tests.shadow.samples.plays import LEFT_OUT, Act, Play, plays

DOCUMENT = REPOSITORY / "docs" / "shadow-corpus.md"
READY_S = 0.5
"""Between the making of a worker and its first poll."""
WITHIN_S = 180.0

console = Console(width=None if sys.stdout.isatty() else 150)


@dataclass(slots=True)
class Outcome:
    """What came of a play."""

    play: Play
    judged: list[dict[str, Any]] = field(default_factory=list)
    not_run: str = ""

    def count(self, verdict: str) -> int:
        return sum(run["verdict"] == verdict for run in self.judged)

    @property
    def well(self) -> bool:
        return bool(self.judged) and self.count("match") == len(self.judged)


def main(
    samples: Annotated[Path, typer.Option(help="A checkout of temporalio/samples-python.")],
    only: Annotated[list[str] | None, typer.Option(help="Plays whose name has this text.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Plays beside each other.")] = 3,
    keep: Annotated[Path | None, typer.Option(help="Keep histories that do not match in this folder.")] = None,
    write_docs: Annotated[bool, typer.Option("--write-docs", help="Put the table into docs/shadow-corpus.md.")] = False,
) -> None:
    """Run the samples on a development server, judge their histories, print the table; fail when one does not match."""
    if not (samples / "hello" / "hello_activity.py").exists():
        raise typer.BadParameter(f"{samples} is no checkout of the samples: it has no hello/hello_activity.py")
    chosen = [play for play in plays() if not only or any(text in play.name for text in only)]
    namespaces = {play.name: f"sample-{number}" for number, play in enumerate(chosen)}
    with (
        tempfile.TemporaryDirectory() as folder,
        development_server(DYNAMIC_CONFIG, namespaces=list(namespaces.values()), attributes=ATTRIBUTES) as address,
        ThreadPoolExecutor(jobs) as pool,
    ):

        def one(play: Play) -> Outcome:
            stage = Stage(samples.resolve(), Path(folder), address, namespaces[play.name], keep)
            outcome = stage.perform(play)
            mark = "[green]same[/]" if outcome.well else "[red]look[/]" if outcome.judged else "[yellow]not run[/]"
            console.print(f"{mark} {play.name}: {len(outcome.judged)} histories {outcome.not_run}", highlight=False)
            return outcome

        outcomes = list(pool.map(one, chosen))
    console.print(table(outcomes))
    if write_docs:
        document.write(DOCUMENT, outcomes, LEFT_OUT, revision_of(samples))
    raise typer.Exit(0 if all(outcome.well for outcome in outcomes) else 1)


ATTRIBUTES = {"CustomKeywordField": "Keyword"}


class Stage:
    """A namespace, and the processes that are started in it."""

    def __init__(self, samples: Path, folder: Path, address: str, namespace: str, keep: Path | None) -> None:
        self._samples = samples
        self._folder = folder / namespace
        self._folder.mkdir()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TEMPORAL_")}
        self._env = {
            **environment,
            "TEMPORAL_ADDRESS": address,
            "TEMPORAL_NAMESPACE": namespace,
            "TEMPORAL_CONFIG_FILE": str(self._folder / "none.toml"),
            "PYTHONPATH": os.pathsep.join([*map(str, IMPORT_FOLDERS)]),
            "PYTHONUNBUFFERED": "1",
            **({"SAMPLES_KEEP": str(keep.resolve())} if keep else {}),
        }
        (self._folder / "none.toml").write_text("")

    def perform(self, play: Play) -> Outcome:
        missing = [package for package in play.needs if importlib.util.find_spec(package) is None]
        if missing:
            return Outcome(play, not_run=f"needs {', '.join(missing)}")
        told: dict[str, Any] = {}
        for number, act in enumerate(play.acts):
            told = self._act(act, number)
        if not told.get("judged"):
            return Outcome(play, not_run=(told.get("failed") or "no history").strip()[-300:])
        return Outcome(play, told["judged"])

    def _act(self, act: Act, number: int) -> dict[str, Any]:
        out = self._folder / f"judged-{number}.json"
        env = {**self._env, "SAMPLES_READY": str(self._folder / f"ready-{number}")}
        script, *arguments = shlex.split(act.worker)
        words = [sys.executable, "-P", "-m", "tests.shadow.samples.inside", "--out", str(out), "--", script, *arguments]
        with (self._folder / f"log-{number}.txt").open("w+") as log:
            worker = subprocess.Popen(words, cwd=self._samples, env=env, stdout=log, stderr=log, start_new_session=True)
            beside: list[subprocess.Popen[bytes]] = []
            try:
                if act.starters or act.runs_s:
                    _until_there(self._folder / f"ready-{number}", worker)
                    time.sleep(READY_S)
                    for starter in act.starters:
                        self._starter(starter, beside, log)
                if act.starters or act.runs_s:
                    time.sleep(act.runs_s or 1.0)
                    worker.send_signal(signal.SIGINT)
                worker.wait(WITHIN_S)
            except subprocess.TimeoutExpired:
                log.seek(0)
                return {"failed": f"not within {WITHIN_S:g} s: {log.read()[-200:]}"}
            finally:
                for process in (worker, *beside):
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)  # samples have pools of processes
                    process.wait()
            log.seek(0)
            found: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {"failed": log.read()[-300:]}
            return found

    def _starter(self, words: str, beside: list[subprocess.Popen[bytes]], log: Any) -> None:
        behind = words.endswith("&")
        script, *arguments = shlex.split(words.removesuffix("&"))
        env = {**self._env, "PYTHONPATH": os.pathsep.join([str(self._samples), self._env["PYTHONPATH"]])}
        process = subprocess.Popen(
            [sys.executable, script, *arguments],
            cwd=self._samples,
            env=env,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        beside.append(process)
        if not behind:
            process.wait(WITHIN_S)


def _until_there(path: Path, process: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + WITHIN_S
    while not path.exists() and process.poll() is None and time.monotonic() < ends:
        time.sleep(0.05)


def table(outcomes: list[Outcome]) -> Table:
    shown = Table(title="Temporal's Python samples", title_justify="left")
    for heading in ("sample", "histories", "events", "same", "differ", "no answer", "refused by Temporal", ""):
        shown.add_column(heading, justify="left" if heading in ("sample", "") else "right")
    for outcome in outcomes:
        judged = outcome.judged
        same, differ = outcome.count("match"), outcome.count("mismatch")
        told = "; ".join(
            sorted({f"{run['type']}: {run['reason']} {run['told']}" for run in judged if run["verdict"] != "match"})
        )
        shown.add_row(
            outcome.play.name,
            str(len(judged)),
            str(sum(run["events"] for run in judged)),
            str(same),
            str(differ),
            str(len(judged) - same - differ),
            str(sum(bool(run["temporal"]) for run in judged)),
            outcome.not_run or told or outcome.play.note,
        )
    everything = [run for outcome in outcomes for run in outcome.judged]
    shown.add_section()
    shown.add_row(
        f"{len(outcomes)} samples",
        str(len(everything)),
        str(sum(run["events"] for run in everything)),
        str(sum(run["verdict"] == "match" for run in everything)),
        str(sum(run["verdict"] == "mismatch" for run in everything)),
        str(sum(run["verdict"] not in ("match", "mismatch") for run in everything)),
        str(sum(bool(run["temporal"]) for run in everything)),
        f"{len({run['shape'] for run in everything})} shapes",
    )
    return shown


def revision_of(samples: Path) -> str:
    """The commit of a checkout, as far as git can tell."""
    answer = subprocess.run(
        ["git", "-C", str(samples), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    found = answer.stdout.strip()
    return found if re.fullmatch(r"[0-9a-f]{40}", found) else "unknown"


if __name__ == "__main__":
    typer.run(main)
