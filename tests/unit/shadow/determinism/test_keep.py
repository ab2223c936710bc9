"""What is left of a failure, and the test that is pasted in: it fails again in a fresh process, until the code is mended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest

from dbos_shadow.determinism import (
    DeterminismError,
    Profile,
    Rule,
    UncheckedWarning,
    check_schedule,
    determinism_test,
    from_type,
    inferred,
    returns,
)
from dbos_shadow.determinism.elsewhere import Reference, reference_to
from dbos_shadow.determinism.keep import Source, explain, keep, name_of, regression_test
from tests.fixtures.process import IMPORT_FOLDERS
from tests.unit.shadow.determinism.flow import Holds, Swapped
from tests.unit.shadow.determinism.stories import failure

FLOW = """
from datetime import timedelta

from temporalio import activity, workflow


@activity.defn
async def reserve() -> str: ...


@activity.defn
async def ship(address: str) -> None: ...


@workflow.defn
class Order:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(reserve, start_to_close_timeout=timedelta(seconds=5))
        WAIT

    @workflow.signal
    async def moved(self, address: str) -> None:
        await workflow.execute_activity(ship, address, start_to_close_timeout=timedelta(seconds=5))
"""
BROKEN = FLOW.replace("WAIT", "")
MENDED = FLOW.replace("WAIT", "await workflow.wait_condition(workflow.all_handlers_finished)")
TESTS = """
from dbos_shadow.determinism import determinism_test, returns
from flow import Order, reserve, ship

test_order = determinism_test(
    Order.run, activities={reserve: returns("r"), ship: returns()}, signals=[Order.moved], cancels=False, sandboxed=False
)
"""


class Team:
    """A team's folder, with a workflow and its determinism test in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(folder), *map(str, IMPORT_FOLDERS)]),
            "DBOS_COMPAT_DETERMINISM_DIR": str(folder / "kept"),
            "PYTHONIOENCODING": "utf-8",
        }
        self.write("flow.py", BROKEN)
        self.write("test_flow.py", TESTS)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", *command],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def pytest(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(self.folder), *arguments)


@pytest.fixture
def team(tmp_path: Path) -> Team:
    return Team(tmp_path)


@pytest.mark.timeout(300)
def test_a_failure_is_told_kept_and_pasted_in(team: Team) -> None:
    found = team.pytest("test_flow.py")
    assert found.returncode == 1, found.stdout
    assert f"Order breaks the rule that {Rule.HANDLERS_FINISH.value}" in found.stdout
    assert "Signal moved arrives" in found.stdout
    assert "Paste this below test_order in test_flow.py" in found.stdout

    (place,) = [path for path in (team.folder / "kept").iterdir() if path.is_dir()]
    assert {path.name for path in place.iterdir()} == {"story.txt", "timeline.svg", "again.py", "history.json"}
    assert json.loads((place / "history.json").read_text())["events"]

    # Paste it: the printed text is the kept one.
    again = (place / "again.py").read_text()
    for line in again.splitlines():
        assert line.strip() in found.stdout
    imports, _, test = again.partition("\n\n\n")
    team.write("test_flow.py", f"{imports}\n{TESTS}\n\n{test}")
    name = test.partition("(")[0].removeprefix("def ")
    failed = team.pytest(f"test_flow.py::{name}")
    assert failed.returncode == 1, failed.stdout
    assert f"Order breaks the rule that {Rule.HANDLERS_FINISH.value}" in failed.stdout

    # And it passes when the workflow is mended.
    team.write("flow.py", MENDED)
    passed = team.pytest(f"test_flow.py::{name}")
    assert passed.returncode == 0, passed.stdout


def test_the_pasted_test_is_python_and_tells_the_story() -> None:
    text = regression_test(failure(), Source("test_order"))
    compile(text, "pasted", "exec")
    assert "check_schedule(test_order, decisions=[0, 0, 3, 0, 0, 12])" in text
    assert "⚡ " in text
    assert all(line.startswith("    # ") or line == "    #" for line in text.splitlines()[4:-1])
    assert text.count("from dbos_shadow.determinism import") == 1
    of_class = regression_test(failure(), Source.of_class(Team))
    assert "from dbos_shadow.determinism import check_schedule, inferred\n" in of_class
    assert f"from {Team.__module__} import Team" in of_class


def test_the_pasted_test_says_what_it_was_found_with() -> None:
    options = {"then": Swapped, "sandboxed": False, "must_end": True, "allow": ["task-failures"], "cancels": True}
    text = regression_test(failure(), Source.of_plan(inferred(Holds, args="a", **options)))
    compile(text, "pasted", "exec")
    assert 'inferred(Holds, then=Changed, args="a", sandboxed=False, must_end=True, allow=["task-failures"])' in text
    assert "It was found with" not in text
    text = regression_test(failure(), Source.of_plan(inferred(Holds, args=from_type(str), invariants=[bool])))
    assert "    # It was found with args and invariants, too: give that to inferred().\n" in text
    error = DeterminismError(Rule.HASH_SEED, "", workflow="Order", decisions=[1], hash_seeds=(1, 4), times=30)
    assert "check_schedule(x, decisions=[1], times=30, hash_seeds=[1, 4])" in regression_test(error, Source("x"))


def test_files_are_written_where_one_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = keep(failure(), Source("x"), tmp_path)
    assert kept is not None
    assert kept.folder == tmp_path / name_of(failure())
    assert "timeline.svg" in explain(failure(), Source("x"), kept)
    assert kept.picture.read_text().startswith("<svg")
    assert (tmp_path / ".gitignore").read_text() == "*\n"
    monkeypatch.setenv("DBOS_COMPAT_DETERMINISM_DIR", "")
    assert keep(failure(), Source("x")) is None


def test_a_name_is_the_schedules_own() -> None:
    assert name_of(failure()) == name_of(failure())
    other = DeterminismError(Rule.INVARIANT, "", workflow="Order", decisions=[1])
    assert name_of(other) != name_of(failure())
    assert name_of(other).startswith("order_")


# -- where it is found ----------------------------------------------------------------------------------------------------

FEW = Profile(name="few", schedules=4, seconds=5, hash_seeds=1)


def of_patched(**options: Any) -> Any:
    """As a team may make its tests: others keep them."""
    from tests.shadow.gallery.shapes.patch_removed import Patched, pack, weigh

    return determinism_test(Patched.run, activities={pack: returns(), weigh: returns()}, sandboxed=False, **options)


at_the_top = of_patched()
helpers = ModuleType("a_teams_own_helpers")
exec("def make(how, run, **options):\n    return how(run, **options)", vars(helpers))
by_a_helper = helpers.make(
    determinism_test, Holds, activities={"reserve": returns("a"), "ship": returns(1)}, profile=FEW
)


class Kept:
    """Tests of a class."""

    here = staticmethod(of_patched(profile=FEW))
    also: ClassVar[dict[Any, Any]] = {"some": [of_patched(), of_patched()], 7: of_patched(), Reference: of_patched()}


@pytest.mark.parametrize(
    ("test", "expression"),
    [
        (at_the_top, "at_the_top"),
        (Kept.here, "Kept.here"),
        (Kept.also["some"][1], 'Kept.also["some"][1]'),
        (Kept.also[7], "Kept.also[7]"),
    ],
    ids=["a module", "a class", "a list in a dict", "a number's place"],
)
def test_a_test_is_found_wherever_a_module_has_it(test: Any, expression: str) -> None:
    reference = reference_to(test.plan, "json", __name__)
    assert reference is not None
    assert (reference.module, reference.expression) == (__name__, expression)
    assert eval(expression).plan is test.plan
    assert Source.of(test, __name__).expression == expression


def test_what_nobody_keeps_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert reference_to(of_patched().plan, __name__, "no.such.module") is None
    assert reference_to(Kept.also[Reference].plan, __name__) is None, "no key that another process can be told"
    typed = ModuleType("__main__")
    typed.test = at_the_top  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "__main__", typed)
    assert reference_to(at_the_top.plan, "__main__") is None, "what was typed into a prompt is nowhere else"
    source = Source.of(of_patched(), __name__)
    text = regression_test(failure(), source)
    assert "    # the_test: put in its place what was tested, the determinism test or plan of Parcel." in text
    assert "    check_schedule(the_test, decisions=" in text


def test_what_is_inferred_is_found_by_its_class_until_it_is_changed() -> None:
    tested = inferred(Holds, then=Swapped, sandboxed=False, allow=["task-failures"], invariants=[bool])
    reference = reference_to(tested)
    assert reference is not None
    assert (reference.module, reference.attribute) == (Holds.__module__, "Holds")
    then = reference_to(Swapped, Swapped.__module__)
    assert reference.options == {"sandboxed": False, "allow": ["task-failures"], "then": then}
    assert reference_to(replace(tested, cancels=False)) is None
    assert reference_to(inferred(Holds, args="of its own")) is None
    assert Source.of(replace(tested, cancels=False)).expression == "the_test"


@pytest.mark.timeout(120)
def test_where_other_processes_cannot_find_it_one_is_warned(recwarn: pytest.WarningsRecorder) -> None:
    Kept.here()
    by_a_helper()
    assert check_schedule(Kept.here, decisions=[]).error is None
    assert check_schedule(of_patched(), decisions=[], hash_seeds=()).error is None
    of_patched(profile=replace(FEW, hash_seeds=0))()
    assert not [w for w in recwarn if issubclass(w.category, UncheckedWarning)]
    with pytest.warns(UncheckedWarning, match="Parcel: other hash seeds were not tried"):
        of_patched(profile=FEW)()
    with pytest.warns(UncheckedWarning, match="Give it a name at the top of its module"):
        check_schedule(of_patched(), decisions=[])


def test_a_schedule_that_holds_is_answered() -> None:
    from tests.shadow.gallery.shapes.patch_removed import Patched, pack, weigh

    test = determinism_test(Patched.run, activities={pack: returns(), weigh: returns()}, sandboxed=False)
    assert check_schedule(test, decisions=[], hash_seeds=()).error is None
    assert check_schedule(inferred(Patched, sandboxed=False), decisions=[]).error is None
