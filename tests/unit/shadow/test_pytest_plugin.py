"""The plug-in: a test for each history, green only where somebody has looked; and the plain functions below it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from temporalio.client import WorkflowFailureError, WorkflowUpdateFailedError

from dbos_shadow.checks import ShadowMismatch, assert_same, histories, judge_histories
from dbos_shadow.reading import exporting
from dbos_shadow.reading.files import NoHistories
from dbos_shadow.verdict import Verdict
from tests.fixtures.process import REPOSITORY
from tests.unit.shadow import changed_steps, programs
from tests.unit.shadow.engine import engine, recorded

Pytest = Callable[..., pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester) -> Pytest:
    """Runs pytest in a folder of its own, with the plug-in and one test of the project's own."""
    pytester.makepyfile(test_own="def test_own(): pass")

    def invoke(*words: object) -> pytest.RunResult:
        quiet = ("-p", "no:cacheprovider", "-p", "no:asyncio", "-p", "no:hypothesispytest", "-p", "no:xdist")
        return pytester.runpytest_inprocess("-p", "dbos_shadow.pytest_plugin", *quiet, *map(str, words))

    return invoke


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has failed, and one with an update that has."""
    folder = tmp_path_factory.mktemp("failed")

    async def make() -> None:
        async with engine(programs.WORKFLOWS, programs.ACTIVITIES) as client:
            fails = await client.start_workflow(programs.Fails.run, id="fails", task_queue="q")
            with pytest.raises(WorkflowFailureError):
                await fails.result()
            exporting.write(folder, await recorded(fails))
            listens = await client.start_workflow(programs.Listens.run, id="listens", task_queue="q")
            with pytest.raises(WorkflowUpdateFailedError):
                await listens.execute_update(programs.Listens.ask, "bad")
            await listens.signal(programs.Listens.hear, "stop")
            await listens.result()
            exporting.write(folder, await recorded(listens))

    asyncio.run(make())
    return folder


PROGRAMS = "--shadow-workflows=tests.unit.shadow.programs:WORKFLOWS"
CHANGED = "--shadow-workflows=tests.unit.shadow.changed_steps:WORKFLOWS"


def test_a_test_for_each_history_beside_the_others(run: Pytest, exported: Path) -> None:
    answer = run("-v", f"--shadow-histories={exported}", PROGRAMS)
    assert answer.ret == 0
    assert "7 passed" in answer.stdout.str()
    assert answer.stdout.str().count("shadow::") == 6


def test_a_failure_says_what_differs_and_no_values(run: Pytest, exported: Path) -> None:
    answer = run(f"--shadow-histories={exported}", CHANGED, "-k", "shadow")
    assert answer.ret == 1
    assert "5 failed, 1 passed, 1 deselected" in answer.stdout.str()
    assert "L2 activity add: inputs[1]: value at step 0" in answer.stdout.str()
    assert "canary" not in answer.stdout.str()
    assert "ada@example.com" not in answer.stdout.str()
    answer = run(f"--shadow-histories={exported}", CHANGED, "-k", "2F0", "--shadow-show-values")
    assert "recorded 0\n      core     1" in answer.stdout.str()


def test_what_nobody_can_tell_is_red(run: Pytest, exported: Path, pytester: pytest.Pytester) -> None:
    (pytester.path / "cut.json").write_text("{")
    answer = run("--shadow-histories=cut.json", PROGRAMS, "-k", "shadow")
    assert "1 failed, 1 deselected" in answer.stdout.str()
    assert "inconclusive, truncated" in answer.stdout.str()
    answer = run(
        f"--shadow-histories={exported}", "--shadow-workflows=tests.unit.shadow.programs:Parent", "-k", "shadow"
    )
    assert "6 failed" in answer.stdout.str()
    assert "not_run, unknown_type (Steps)" in answer.stdout.str()


def test_an_acceptance_that_is_over_is_red(run: Pytest, exported: Path, pytester: pytest.Pytester) -> None:
    (pytester.path / "allow.toml").write_text(
        '[[accepted]]\nfingerprint = "0c1f5ab2d9e87744"\nreason = "r"\nowner = "ada"\nexpires = 2001-01-01\n'
    )
    answer = run(f"--shadow-histories={exported}", PROGRAMS, "--shadow-allow=allow.toml", "-k", "shadow")
    assert "1 failed, 6 passed" in answer.stdout.str()
    assert "0c1f5ab2d9e87744 of ada" in answer.stdout.str()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--shadow-histories=absent", PROGRAMS], "no file or folder"),
        (["--shadow-histories=."], "needs --shadow-workflows"),
        (["--shadow-histories=test_own.py", PROGRAMS, "--shadow-allow=absent"], "No such file"),
    ],
)
def test_wrong_usage(run: Pytest, words: list[str], said: str) -> None:
    answer = run(*words)
    assert answer.ret == 4
    assert said in answer.stderr.str()


def test_who_asks_for_nothing_gets_nothing(run: Pytest) -> None:
    answer = run("-v")
    assert "1 passed" in answer.stdout.str()
    heavy = "import dbos_shadow.pytest_plugin, sys; print([m for m in ('temporalio', 'pydantic', 'asyncpg') if m in sys.modules])"
    folders = [str(REPOSITORY / part) for part in ("core", "dbos_compat", "shadow")]
    found = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {folders!r}; {heavy}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == "[]\n"


class TestPlainFunctions:
    def test_judge(self, exported: Path) -> None:
        found = judge_histories(exported, programs.WORKFLOWS)
        assert [judgement.verdict for judgement in found] == [Verdict.MATCH] * 6
        one = histories(exported)[0]
        assert [judgement.workflow_id for judgement in judge_histories([one], programs.WORKFLOWS)] == ["locally"]

    def test_assert(self, exported: Path) -> None:
        assert len(assert_same(exported, programs.WORKFLOWS)) == 6
        with pytest.raises(ShadowMismatch, match="5 of 6 runs are not the same") as caught:
            assert_same(exported, changed_steps.WORKFLOWS)
        assert "canary" not in str(caught.value)

    async def test_beside_an_event_loop(self, exported: Path) -> None:
        assert len(assert_same(exported, programs.WORKFLOWS)) == 6

    def test_failures_are_those_of_the_code(self, failed: Path) -> None:
        """Nothing that is being handled around the check becomes a cause of what workflow code raises."""
        assert len(assert_same(failed, programs.WORKFLOWS)) == 2
        try:
            raise LookupError("of the suite")
        except LookupError:
            assert len(assert_same(failed, programs.WORKFLOWS)) == 2

    async def test_failures_are_those_of_the_code_beside_an_event_loop(self, failed: Path) -> None:
        assert len(assert_same(failed, programs.WORKFLOWS)) == 2

    def test_nothing_is_not_green(self, tmp_path: Path) -> None:
        with pytest.raises(NoHistories):
            assert_same(tmp_path, programs.WORKFLOWS)
        (tmp_path / "blank.jsonl").write_text("\n\n")
        with pytest.raises(ShadowMismatch, match="inconclusive, truncated"):
            assert_same(tmp_path, programs.WORKFLOWS)
        with pytest.raises(ShadowMismatch, match="no run"):
            assert_same([], programs.WORKFLOWS)
