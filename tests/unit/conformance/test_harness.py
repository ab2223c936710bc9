"""The harness that runs Temporal's own tests: its lists, its verdict, its tables, and how it gets over a hang."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
import tomllib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from dbos_compat.differences import LEDGER
from tests.conformance import document
from tests.conformance.expected import EXPECTED, Excuse, excuses, stale
from tests.conformance.home import BadCheckout, Home
from tests.conformance.ledger import entry_for, unexplained
from tests.conformance.processes import Batch, Setting, batches, run_batch
from tests.conformance.report import lines, markdown_table, terminal_table
from tests.conformance.results import HUNG, Result, Run, kept_runs, newest, read_rows, regressions, steady
from tests.conformance.suite import DATA, EXCUSES, FEATURES, SuiteTest, chosen, pass_list, read_ids, suite
from tests.fixtures.postgres import PostgresServer


def made(name: str, group: str = "core", area: str = "area", seconds: float = 1.0) -> SuiteTest:
    return SuiteTest(f"tests/test_{area}.py::{name}", area, group, False, seconds)


def ran(*outcomes: tuple[SuiteTest, str], why: str = "") -> Run:
    results = {test.id: Result(test.id, outcome, 2.0, why) for test, outcome in outcomes}
    return Run("plain", "1.31.0", results)


ONE, TWO, THREE = (made(name) for name in ("one", "two", "three"))


class TestLists:
    def test_the_suite_has_the_counts_that_were_measured(self) -> None:
        groups = Counter(test.group for test in suite())
        assert len(suite()) == 926
        assert groups["core"] == 389
        assert groups["no engine"] == 269
        assert sum(groups[group] for group in EXCUSES) == 37
        assert sum(test.counts for test in suite()) == 620
        assert set(groups) == {"core", "no engine", *FEATURES, *EXCUSES}

    @pytest.mark.parametrize("path", sorted(DATA.glob("pass-*.txt")), ids=lambda path: path.stem)
    def test_pass_lists_name_tests_that_count(self, path: Path) -> None:
        ids = read_ids(path)
        assert not set(ids) - {test.id for test in suite() if test.counts}
        assert len(ids) == len(set(ids))

    def test_choosing(self) -> None:
        nexus, excused = made("nexus", "S1"), made("metrics", "H3")
        tests = [ONE, TWO, nexus, excused]
        assert chosen(tests) == [ONE, TWO, nexus]
        assert chosen(tests, groups=["H3", "S1"]) == [nexus, excused]
        assert chosen(tests, texts=["::t"]) == [TWO]


class TestVerdict:
    def test_a_promised_test_that_fails_or_did_not_run_is_a_regression(self) -> None:
        run = ran((ONE, "passed"), (TWO, "failed"))
        ids = [ONE.id, TWO.id, THREE.id]
        assert [(lost.id, lost.outcome) for lost in regressions(run, ids, asked=ids)] == [
            (TWO.id, "failed"),
            (THREE.id, "not run"),
        ]

    def test_what_was_not_asked_for_or_not_promised_is_none(self) -> None:
        run = ran((ONE, "passed"), (TWO, "failed"))
        assert not regressions(run, [ONE.id, THREE.id], asked=[ONE.id, TWO.id])

    def test_a_pass_list_takes_three_passes_in_a_row(self) -> None:
        runs = [
            ran((ONE, "failed"), (TWO, "passed"), (THREE, "passed")),
            ran((ONE, "passed"), (TWO, "passed")),
            ran((ONE, "passed"), (TWO, "failed"), (THREE, "passed")),
            ran((ONE, "passed"), (THREE, "passed")),
        ]
        assert steady(runs) == {ONE.id, THREE.id}
        assert steady(runs[:3]) == set()

    def test_runs_are_kept(self, tmp_path: Path) -> None:
        run = ran((ONE, "passed"), (TWO, "failed"), why="because")
        run.save(tmp_path / "kept" / "1.json")
        assert kept_runs(tmp_path / "kept") == [run]

    def test_the_newest_outcome_of_each_test_counts(self) -> None:
        runs = [ran((ONE, "failed"), (TWO, "passed")), ran((ONE, "passed"))]
        assert {test: result.outcome for test, result in newest(runs).results.items()} == {
            ONE.id: "passed",
            TWO.id: "passed",
        }


class TestLedger:
    def test_every_excuse_and_every_missing_feature_is_in_the_ledger_or_counts_as_failed(self) -> None:
        for group in EXCUSES:
            assert entry_for(made("any", group)) is not None, f"{group} is not counted, and no entry says why"

    def test_an_entry_names_groups_or_ids_that_exist(self) -> None:
        groups = {*FEATURES, *EXCUSES}
        for entry in LEDGER.values():
            for named in entry.conformance:
                assert named in groups or any(test.id.startswith(named) for test in suite()), (entry.slug, named)

    def test_an_error_that_names_an_entry_accounts_for_a_failure(self) -> None:
        slug = next(iter(LEDGER))
        named = ran((ONE, "failed"), why=f"Not supported: see migration_guides/differences.md#{slug}. [DC207]")
        assert entry_for(ONE, named.results[ONE.id]) is LEDGER[slug]
        assert not unexplained([ONE], named)
        assert unexplained([ONE], ran((ONE, "failed"), why="assert 1 == 2"))


class TestExpected:
    def test_the_list_names_tests_that_count_and_that_no_pass_list_promises(self) -> None:
        counted = {test.id for test in suite() if test.counts}
        for mode in tomllib.loads(EXPECTED.read_text()):
            excused = excuses(mode)
            assert not set(excused) - counted
            assert not set(excused) & set(read_ids(pass_list(mode))), mode
            assert all(excuse.reason.endswith(".") for excuse in excused.values())

    def test_an_excused_failure_is_accounted_for_in_its_mode_only(self, monkeypatch: pytest.MonkeyPatch) -> None:
        excused = {"plain": {ONE.id: Excuse("it counts.", sometimes=False)}}
        for place in ("expected", "ledger", "report", "document"):
            monkeypatch.setattr(f"tests.conformance.{place}.excuses", lambda mode: excused.get(mode, {}))
        run = ran((ONE, "failed"), (TWO, "passed"))
        assert not unexplained([ONE, TWO], run)
        assert not stale([ONE, TWO], run)
        assert "| it counts. | 1 |" in document.render([ONE, TWO], run)
        assert [result.id for result in unexplained([ONE, TWO], replace(run, mode="evicted"))] == [ONE.id]
        assert [result.id for result in stale([ONE, TWO], ran((ONE, "passed")))] == [ONE.id]

    def test_who_passes_by_luck_is_not_asked_to_leave_the_list(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            "tests.conformance.expected.excuses", lambda mode: {ONE.id: Excuse("a race.", sometimes=True)}
        )
        assert not stale([ONE], ran((ONE, "passed")))


class TestTables:
    TESTS = (made("a", area="x"), made("b", area="x"), made("c", "S6", area="y"), made("d", "H3", area="y"))

    def run(self) -> Run:
        a, b, c, d = self.TESTS
        return ran((a, "passed"), (b, "failed"), (c, "passed"), (d, "failed"))

    def test_sums(self) -> None:
        areas, sums = lines(self.TESTS, self.run())
        assert [(line.name, line.tests, line.passed, line.failed) for line in areas] == [("x", 2, 1, 1), ("y", 1, 1, 0)]
        assert [(line.tests, line.passed) for line in sums] == [(2, 1), (1, 1), (3, 2)]
        assert sums[-1].share == "66.7 %"

    def test_for_a_terminal_and_for_a_document(self) -> None:
        printed = io.StringIO()
        Console(file=printed, width=140).print(terminal_table(self.TESTS, self.run()))
        assert "50.0 %" in printed.getvalue()
        assert "| x | 2 | 1 | 50.0 % |  | 1 | 4 | 2 |" in markdown_table(self.TESTS, self.run())

    def test_the_document_keeps_what_is_around_the_results(self, tmp_path: Path) -> None:
        page = tmp_path / "page.md"
        page.write_text(f"before\n{document.begin('plain')}\nold\n{document.END}\nafter\n")
        document.write(page, self.TESTS, self.run())
        text = page.read_text()
        assert text.startswith("before\n")
        assert text.endswith(f"{document.END}\nafter\n")
        assert "old" not in text
        assert f"- `{self.TESTS[1].id}`" in text
        page.write_text("no place")
        with pytest.raises(ValueError, match="no place for results"):
            document.write(page, self.TESTS, self.run())


class TestProcesses:
    def test_batches_are_of_one_file_and_not_too_many(self) -> None:
        other = made("other", area="elsewhere")
        cut = list(batches([ONE, TWO, other, THREE], size=2))
        assert [(batch.name, list(batch.tests)) for batch in cut] == [
            ("test_area-1", [ONE, TWO]),
            ("test_area-2", [THREE]),
            ("test_elsewhere-1", [other]),
        ]

    def test_rows(self, tmp_path: Path) -> None:
        path = tmp_path / "rows"
        rows = [
            {"begun": ONE.id},
            {"id": ONE.id, "outcome": "passed", "seconds": 1.5},
            {"begun": TWO.id},
        ]
        path.write_text("\n".join(map(json.dumps, rows)) + '\n{"id": "cut o')
        read = read_rows(path)
        assert read.results == {ONE.id: Result(ONE.id, "passed", 1.5)}
        assert read.unfinished == TWO.id
        assert read.close is None
        assert read_rows(tmp_path / "none").unfinished is None

    def test_a_hang_costs_one_test(
        self, tmp_path: Path, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tests.conformance.processes.STALL_MARGIN_SECONDS", 0.5)
        program = tmp_path / "suite.py"
        program.write_text(
            "import json, os, time\n"
            "for test in open(os.environ['CONFORMANCE_LIST']).read().split():\n"
            "    with open(os.environ['CONFORMANCE_RESULTS'], 'a') as rows:\n"
            "        print(json.dumps({'begun': test}), file=rows, flush=True)\n"
            "        if test.endswith('two'): time.sleep(600)\n"
            "        print(json.dumps({'id': test, 'outcome': 'passed', 'seconds': 0.1}), file=rows)\n"
        )
        monkeypatch.setattr(Setting, "command", lambda self, *arguments: [sys.executable, str(program)])
        setting = Setting(Path(sys.executable), tmp_path, tmp_path, "plain", 0.5, tmp_path / "logs")
        batch = Batch("tests/test_area.py", [ONE, TWO, THREE], 1)
        begun = time.monotonic()
        run_batch(batch, setting, postgres_server)
        assert time.monotonic() - begun < 50
        assert {result.id: result.outcome for result in batch.results.values()} == {
            ONE.id: "passed",
            TWO.id: HUNG,
            THREE.id: "passed",
        }

    def test_a_process_that_never_gets_to_a_test_does_not_go_on_for_ever(
        self, tmp_path: Path, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Setting, "command", lambda self, *arguments: [sys.executable, "-c", "raise SystemExit(3)"])
        setting = Setting(Path(sys.executable), tmp_path, tmp_path, "plain", 5, tmp_path / "logs")
        batch = Batch("tests/test_area.py", [ONE, TWO], 1)
        run_batch(batch, setting, postgres_server)
        assert {result.outcome for result in batch.results.values()} == {HUNG}
        assert "status 3" in batch.results[ONE.id].why


class TestHome:
    def test_a_tag_of_a_repository(self, tmp_path: Path) -> None:
        repository = tmp_path / "sdk"
        (repository / "tests").mkdir(parents=True)
        (repository / "scripts").mkdir()
        (repository / "temporalio").mkdir()
        for name in ("tests/test_a.py", "scripts/s.py", "temporalio/__init__.py", "pyproject.toml"):
            (repository / name).write_text("")
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.com", "-c", "commit.gpgsign=false"]
        for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "x"], ["tag", "1.31.0"]):
            subprocess.run(["git", *command], cwd=repository, check=True)
        suite_folder = Home(tmp_path / "home").suite_from(repository)
        assert (suite_folder / "tests" / "test_a.py").exists()
        assert not (suite_folder / "temporalio").exists()

    def test_a_folder_of_another_version_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "tests").mkdir()
        (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.30.0"\n')
        with pytest.raises(BadCheckout, match=r"1\.30\.0"):
            Home(tmp_path / "home").suite_from(tmp_path)
        with pytest.raises(BadCheckout, match="no checkout"):
            Home(tmp_path / "home").suite_from(tmp_path / "scripts")
