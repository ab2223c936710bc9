"""pytest --determinism, the command line, and what is inferred from a class."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.progress import Progress
from typer.testing import CliRunner

from dbos_compat.cli import app
from dbos_shadow.cli import progress
from dbos_shadow.determinism import (
    PROFILES,
    DeterminismError,
    Profile,
    check_workflow,
    elsewhere,
    inferred,
    run_schedule,
)
from dbos_shadow.determinism.inferred import NoWorkflow, imported, workflow_at, workflows_of
from tests.fixtures.process import REPOSITORY
from tests.shadow.gallery.shapes import handler_races_end
from tests.unit.shadow.determinism import flow
from tests.unit.shadow.determinism.flow import Breaks, Holds, Swapped

FLOW = "tests.unit.shadow.determinism.flow"
command = CliRunner()


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBOS_COMPAT_DETERMINISM_DIR", str(tmp_path / "kept"))


# -- inferred ------------------------------------------------------------------------------------------------------------


def test_all_is_inferred_from_the_class() -> None:
    plan = inferred(handler_races_end.Mended)
    assert [m.name for m in plan.messages] == ["moved"]
    assert plan.fallback is not None
    known = plan.fallback("ship")
    assert known is not None
    assert len(known.endings) > 1, "it may fail"
    assert plan.fallback("an activity nobody knows") is not None
    assert inferred(Holds, cancels=False).cancels is False


def test_a_plain_day_completes() -> None:
    lived = run_schedule(inferred(Holds, sandboxed=False), [])
    assert lived.error is None
    (trace,) = lived.traces
    assert [step.name for step in trace.steps] == ["reserve", "ship"]
    assert trace.outcome.status.value == "completed"


def test_workflows_by_their_place() -> None:
    assert workflows_of(flow) == [Holds, Swapped, Breaks]
    assert workflow_at(f"{FLOW}:Holds") is Holds
    assert workflow_at(str(Path(flow.__file__)) + ":Breaks").__name__ == "Breaks"
    with pytest.raises(NoWorkflow, match="It has: Holds, Swapped, Breaks"):
        workflow_at(f"{FLOW}:Nobody")
    with pytest.raises(NoWorkflow, match="which workflow"):
        workflow_at(FLOW)
    with pytest.raises(NoWorkflow, match="cannot be imported"):
        workflow_at("no.such.module:X")


def test_a_file_that_is_on_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "lonely_flow.py").write_text("from temporalio import workflow\n")
    assert imported(tmp_path / "lonely_flow.py").__name__ == "lonely_flow"


# -- the command line ----------------------------------------------------------------------------------------------------


def test_again_tells_a_plain_day() -> None:
    answer = command.invoke(app, ["determinism", "again", f"{FLOW}:Holds", "0", "--unsandboxed"])
    assert answer.exit_code == 0, answer.output
    assert "reserve" in answer.output
    assert "Every rule holds." in answer.output


def test_a_failure_has_an_exit_code_and_files(tmp_path: Path) -> None:
    words = ["determinism", "again", f"{FLOW}:Breaks", "0", "--unsandboxed", "--keep", str(tmp_path), "--json"]
    answer = command.invoke(app, words)
    assert answer.exit_code == 1, answer.output
    document = json.loads(answer.output)
    assert (document["holds"], document["rule"], document["workflow"]) == (False, "replay", "Breaks")
    kept = Path(document["kept"])
    assert "check_schedule(inferred(Breaks, sandboxed=False), decisions=[])" in (kept / "again.py").read_text()
    people = command.invoke(app, words[:-1])
    assert "Paste this into any test file" in people.output


def test_check_finds_it(tmp_path: Path) -> None:
    words = ["determinism", "check", f"{FLOW}:Breaks", "--unsandboxed", "--keep", str(tmp_path)]
    answer = command.invoke(app, words)
    assert answer.exit_code == 1, answer.output
    assert "Breaks breaks the rule that" in answer.output


def test_how_far_it_is_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROFILES, "fast", Profile(name="fast", schedules=12, seconds=20, hash_seeds=1))
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    answer = command.invoke(app, ["determinism", "check", f"{FLOW}:Holds", "--unsandboxed", "--json"])
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.stdout)["schedules"] == 12
    told = answer.stderr.splitlines()
    assert told[0] == "1 of 12 schedules"
    assert told[-2:] == ["12 of 12 schedules", "0 of 1 other hash seeds"]


def test_that_it_is_made_smaller_is_told() -> None:
    told: list[tuple[str, int, int]] = []
    with pytest.raises(DeterminismError):
        check_workflow(inferred(handler_races_end.Broken, sandboxed=False), told=lambda *words: told.append(words))
    assert ("smaller schedules", 1, 0) in told


def test_on_a_terminal_it_is_a_bar() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with Progress(*progress._columns(), console=console) as bar:
        said = progress.Doing(bar, console)
        said("schedules", 1, 12)
        said._said_at = 0.0
        said("schedules", 7, 12)
        (task,) = bar.tasks
        assert (task.completed, task.total, task.description) == (7, 12, "schedules")


def test_code_that_takes_over(tmp_path: Path) -> None:
    """As before a deployment: is there a moment at which open runs break?"""
    words = ["determinism", "check", f"{FLOW}:Holds", "--unsandboxed", "--keep", str(tmp_path), "--json"]
    answer = command.invoke(app, [*words, "--then", f"{FLOW}:Swapped"])
    assert answer.exit_code == 1, answer.output
    document = json.loads(answer.output)
    assert document["rule"] == "replay"
    assert "inferred(Holds, then=Changed, sandboxed=False)" in (Path(document["kept"]) / "again.py").read_text()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(Path(document["kept"]) / "again.py")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Workers with other code take over" in done.stdout
    other = command.invoke(app, [*words, "--then", f"{FLOW}:Breaks"])
    assert other.exit_code == 2
    assert "cannot take over" in other.output


@pytest.mark.timeout(120)
def test_check_tries_other_hash_seeds_and_the_sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROFILES, "fast", Profile(name="fast", schedules=6, seconds=6, hash_seeds=3))
    place = "tests.shadow.gallery.shapes.set_of_strings"
    salted = command.invoke(app, ["determinism", "check", f"{place}:Broken", "--json", "--keep", str(tmp_path)])
    assert salted.exit_code == 1, salted.output
    assert json.loads(salted.output)["rule"] in ("hash_seed", "replay")
    holds = command.invoke(app, ["determinism", "check", f"{place}:Mended", "--json", "--keep", str(tmp_path)])
    assert holds.exit_code == 0, holds.output
    assert json.loads(holds.output)["holds"] is True
    assert json.loads(holds.output)["unchecked"] == []


SALTED = "tests.shadow.gallery.shapes.set_of_strings"


@pytest.mark.timeout(120)
def test_again_tries_other_hash_seeds(tmp_path: Path) -> None:
    """Of whichever process this is, one of the two differs."""
    words = ["determinism", "again", f"{SALTED}:Broken", "0", "--unsandboxed", "--json", "--keep", str(tmp_path)]
    salted = command.invoke(app, words)
    assert salted.exit_code == 1, salted.output
    assert json.loads(salted.output)["rule"] == "hash_seed"
    alone = command.invoke(app, [*words, "--hash-seeds", ""])
    assert alone.exit_code == 0, alone.output
    assert json.loads(alone.output)["unchecked"] == []


@pytest.mark.timeout(120)
def test_code_that_takes_over_is_tried_with_other_hash_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROFILES, "fast", Profile(name="fast", schedules=6, seconds=6, hash_seeds=2))
    words = ["determinism", "check", f"{SALTED}:Mended", "--unsandboxed", "--json", "--keep", str(tmp_path)]
    holds = command.invoke(app, [*words, "--then", f"{SALTED}:Mended"])
    assert holds.exit_code == 0, holds.output
    assert json.loads(holds.output)["unchecked"] == []
    salted = command.invoke(app, ["determinism", "check", f"{SALTED}:Broken", *words[3:], "--then", f"{SALTED}:Broken"])
    assert salted.exit_code == 1, salted.output
    document = json.loads(salted.output)
    assert document["rule"] == "hash_seed"
    written = (Path(document["kept"]) / "again.py").read_text()
    assert "check_schedule(inferred(Broken, then=Changed, sandboxed=False), decisions=[], hash_seeds=[" in written


@pytest.mark.timeout(120)
def test_other_processes_are_sandboxed_as_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the sandbox keeps apart is no other hash seed's doing."""
    monkeypatch.setitem(PROFILES, "fast", Profile(name="fast", schedules=6, seconds=6, hash_seeds=1))
    answer = command.invoke(app, ["determinism", "check", f"{FLOW}:Breaks", "--json"])
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.output)["unchecked"] == []


def test_what_was_not_tried_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROFILES, "fast", Profile(name="fast", schedules=6, seconds=6, hash_seeds=1))
    monkeypatch.setattr(elsewhere, "reference_to", lambda *_: None)
    for words in (["check", f"{FLOW}:Holds", "--unsandboxed"], ["again", f"{FLOW}:Holds", "0", "--unsandboxed"]):
        people = command.invoke(app, ["determinism", *words])
        assert people.exit_code == 0, people.output
        assert "But other hash seeds were not tried: no attribute of a module leads" in people.output
        document = json.loads(command.invoke(app, ["determinism", *words, "--json"]).stdout)
        assert document["unchecked"] == [elsewhere.NOWHERE]


@pytest.mark.parametrize(
    "words",
    [
        ["check", "no.such:Thing"],
        ["check", f"{FLOW}:Holds", "--profile", "endless"],
        ["again", f"{FLOW}:Holds", "one"],
        ["again", f"{FLOW}:Holds", "0", "--hash-seeds", "one"],
    ],
    ids=["place", "profile", "decisions", "hash seeds"],
)
def test_wrong_usage(words: list[str]) -> None:
    answer = command.invoke(app, ["determinism", *words])
    assert answer.exit_code == 2
    assert answer.output.strip()


UNKNOWN = """
from temporalio import workflow
class Odd:
    def __init__(self, what): self.what = what
@workflow.defn
class TakesOdd:
    @workflow.run
    async def run(self, odd: Odd) -> None: ...
"""


@pytest.mark.parametrize("words", [["check"], ["again", "0"]], ids=["check", "again"])
def test_a_parameter_without_values_is_one_sentence(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    file = tmp_path / f"odd_flow_{words[0]}.py"
    file.write_text(UNKNOWN)
    answer = command.invoke(app, ["determinism", words[0], f"{file}:TakesOdd", *words[1:], "--unsandboxed"])
    assert answer.exit_code == 2, answer.output
    (sentence,) = answer.stderr.splitlines()
    assert "workflow 'TakesOdd' cannot be tested: there is no value for parameter 'odd' of run" in sentence
    assert "args=" in sentence


def test_lint_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "flow.py").write_text("import random\nfrom temporalio import workflow\n@workflow.defn\nclass A: ...\n")
    answer = command.invoke(app, ["determinism", "lint", str(tmp_path), "--json"])
    assert answer.exit_code == 1
    (found,) = json.loads(answer.output)["findings"]
    assert (found["rule"], found["line"]) == ("TID251", 1)
    assert command.invoke(app, ["determinism", "lint", str(tmp_path / "nowhere")]).exit_code == 2
    assert command.invoke(app, ["determinism", "lint", "--config"]).output.startswith("# Rules")
    assert command.invoke(app, ["determinism", "lint", str(REPOSITORY / "docs")]).exit_code == 0


@pytest.mark.timeout(120)
def test_a_script_of_ones_own_in_the_sandbox(tmp_path: Path) -> None:
    """Other processes find what is tested in it, too."""
    script = Path(flow.__file__).read_text() + (
        "\nfrom dbos_shadow.determinism import Profile, determinism_test, returns\n"
        "FEW = Profile(name='few', schedules=6, seconds=20)\n"
        "holds = determinism_test(Holds.run, activities={reserve: returns('a'), ship: returns(1)}, profile=FEW)\n"
        "if __name__ == '__main__':\n    holds()\n    print('it holds')\n"
    )
    (tmp_path / "my_script.py").write_text(script)
    done = subprocess.run(
        [sys.executable, "my_script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.stdout == "it holds\n", done.stderr


# -- pytest --determinism ------------------------------------------------------------------------------------------------


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "dbos_shadow.pytest_determinism",
            "-p",
            "no:cacheprovider",
            *arguments,
        ],
        cwd=folder,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},  # installed or not, it is named here
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def team(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "orders.py").write_text(Path(flow.__file__).read_text())
    (tmp_path / "notes.py").write_text("raise RuntimeError('a file without workflows is not imported')\n")
    return tmp_path


@pytest.mark.timeout(200)
def test_pytest_collects_workflows(team: Path) -> None:
    collected = run_pytest(team, "--determinism", "--collect-only", "-q")
    assert "orders.py::determinism:Holds" in collected.stdout, collected.stdout + collected.stderr
    assert "orders.py::determinism:Breaks" in collected.stdout
    nothing = run_pytest(team, "--collect-only", "-q", "orders.py")
    assert "determinism:" not in nothing.stdout


@pytest.mark.timeout(200)
def test_pytest_tells_the_story(team: Path) -> None:
    found = run_pytest(team, "--determinism", "--determinism-unsandboxed", "-q", "orders.py::determinism:Breaks")
    assert found.returncode == 1, found.stdout + found.stderr
    assert "Breaks breaks the rule that a replay gives the commands that the first run gave" in found.stdout
    assert "check_schedule(inferred(Breaks, sandboxed=False), decisions=" in found.stdout
    assert "from orders import Breaks" in found.stdout


@pytest.mark.timeout(200)
def test_pytest_says_for_what_there_are_no_values(team: Path) -> None:
    (team / "odd.py").write_text(UNKNOWN)
    found = run_pytest(team, "--determinism", "--determinism-unsandboxed", "-q", "odd.py")
    assert found.returncode == 1, found.stdout + found.stderr
    assert "workflow 'TakesOdd' cannot be tested: there is no value for parameter 'odd' of run" in found.stdout
    assert "Traceback" not in found.stdout
    assert "crew.py" not in found.stdout


@pytest.mark.timeout(200)
def test_pytest_says_what_was_not_tried(team: Path) -> None:
    nowhere = "from dbos_shadow.determinism import elsewhere\nelsewhere.reference_to = lambda *_: None\n"
    (team / "conftest.py").write_text(nowhere)
    found = run_pytest(team, "--determinism", "--determinism-unsandboxed", "-q", "orders.py::determinism:Holds", "-rP")
    assert found.returncode == 0, found.stdout + found.stderr
    assert "UncheckedWarning: Holds: other hash seeds were not tried" in found.stdout
    assert " s; other hash seeds were not tried" in found.stdout


# -- imports ------------------------------------------------------------------------------------------------------------


def test_the_plugin_imports_next_to_nothing() -> None:
    code = (
        "import sys, dbos_shadow.pytest_determinism, dbos_shadow.cli.determinism;"
        "print([m for m in ('hypothesis', 'temporalio') if m in sys.modules])"
    )
    done: Any = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
