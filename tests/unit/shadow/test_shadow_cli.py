"""``dbos-compat shadow``: exit codes, reports, results that last, and help for each command."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from dbos_compat.cli import app
from dbos_shadow.cli.app import app as shadow
from tests.fixtures.process import REPOSITORY

PROGRAMS = "tests.unit.shadow.programs:WORKFLOWS"
CHANGED = "tests.unit.shadow.changed_steps:WORKFLOWS"

Shadow = Callable[..., Any]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shadow:
    """Runs the command in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DBOS_COMPAT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("DBOS_SHADOW_DATABASE_URL", raising=False)

    def invoke(*words: object) -> Any:
        return CliRunner().invoke(app, ["shadow", *map(str, words)])

    return invoke


COMMANDS = get_command(shadow).commands  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_help_explains_and_gives_an_example(run: Shadow, name: str) -> None:
    answer = run(name, "--help")
    assert answer.exit_code == 0
    assert COMMANDS[name].help
    assert COMMANDS[name].epilog.startswith(f"Example: dbos-compat shadow {name} ")
    assert "Exit codes: 0 clean" in COMMANDS[name].epilog


def test_the_group_is_found_from_below() -> None:
    assert set(COMMANDS) == {"replay", "run", "watch", "mirror", "export", "report", "purge", "accept"}
    assert "shadow" in CliRunner().invoke(app, ["--help"]).output


class TestReplay:
    def test_clean(self, run: Shadow, exported: Path) -> None:
        answer = run("replay", exported, "-w", PROGRAMS)
        assert answer.exit_code == 0, answer.output
        assert "GO" in answer.output
        assert Path(".dbos-shadow/results.jsonl").exists()

    def test_mismatches_and_every_report(self, run: Shadow, exported: Path) -> None:
        outs = [f"out/report{suffix}" for suffix in (".html", ".md", ".xml", ".sarif", ".json", ".jsonl")]
        answer = run("replay", exported, "-w", CHANGED, *[word for out in outs for word in ("-o", out)])
        assert answer.exit_code == 1, answer.output
        assert "NO-GO" in answer.output
        texts = {out: Path(out).read_text() for out in outs}
        assert all("Steps" in text for text in texts.values())
        report = json.loads(texts["out/report.json"])
        assert report["counts"] == {"match": 1, "accepted": 0, "mismatch": 5, "inconclusive": 0, "not_run": 0}
        assert report["groups"][0]["exemplar"]["command"].startswith(
            f"dbos-compat shadow replay {exported} -w {CHANGED}"
        )
        kept = Path(".dbos-shadow/results.jsonl").read_text()
        for text in [answer.output, kept, *texts.values()]:
            assert "canary" not in text
            assert "ada@example.com" not in text

    def test_the_command_of_an_exemplar_shows_it(self, run: Shadow, exported: Path) -> None:
        folder = shutil.copytree(exported, "of {today}")
        run("replay", folder, "-w", CHANGED, "-o", "r.json")
        command = json.loads(Path("r.json").read_text())["groups"][0]["exemplar"]["command"]
        answer = run(*shlex.split(command)[2:], "-o", "one.json")
        assert answer.exit_code == 1
        report = json.loads(Path("one.json").read_text())
        assert report["counts"]["mismatch"] == 1
        assert report["groups"]

    def test_values_where_they_are_asked_for(self, run: Shadow, exported: Path) -> None:
        answer = run("replay", exported, "-w", CHANGED, "--show-values", "activity add: inputs*", "-o", "r.json")
        assert answer.exit_code == 1
        groups = {group["pattern"]: group for group in json.loads(Path("r.json").read_text())["groups"]}
        shown = groups["activity add: inputs[1]"]["exemplar"]["shown"][0]
        assert (shown["expected"]["text"], shown["actual"]["text"]) == ("0", "1")
        assert "canary" not in Path("r.json").read_text()

    @pytest.mark.parametrize("name", [CHANGED, "tests.unit.shadow.changed_steps:Raises"])
    def test_nothing_that_was_recorded_is_logged(self, tmp_path: Path, exported: Path, name: str) -> None:
        """Neither what workflow code logs while it is replayed nor the message of what it raises."""
        folders = [str(REPOSITORY / part) for part in ("", "core", "dbos_compat", "shadow")]
        words = [sys.executable, "-m", "dbos_compat.cli", "shadow", "replay", str(exported), "-w", name, "-t", "Steps"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders), "DBOS_COMPAT_DATA_DIR": str(tmp_path)}
        answer = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert answer.returncode == 1, answer.stderr
        assert "canary" not in answer.stdout + answer.stderr
        assert "canary" not in (tmp_path / ".dbos-shadow/results.jsonl").read_text()

    def test_two_runs_give_the_same_bytes(self, run: Shadow, exported: Path) -> None:
        for name in ("a", "b"):
            run("replay", exported, "-w", CHANGED, "-o", f"{name}.json", "--results", f"{name}.jsonl")
        assert Path("a.json").read_bytes() == Path("b.json").read_bytes()

    def test_json_for_programs(self, run: Shadow, exported: Path) -> None:
        answer = run("replay", exported, "-w", PROGRAMS, "--json")
        assert answer.exit_code == 0
        assert json.loads(answer.stdout)["decision"] == "go"

    def test_what_is_taken_over_is_said(self, run: Shadow, exported: Path) -> None:
        for before, said in ((0, ""), (6, "6 of 6 taken over from before (--fresh judges again)")):
            answer = run("replay", exported, "-w", PROGRAMS, "-o", "r.json", "-o", "r.html", "-o", "r.md")
            assert answer.exit_code == 0
            assert json.loads(Path("r.json").read_text())["campaign"]["taken_over"] == before
            assert "taken over" in answer.output if before else "taken over" not in answer.output
            assert said in " ".join(answer.output.split())
            assert said in Path("r.html").read_text()
        assert "6 of 6 taken over from before" in Path("r.md").read_text()
        fresh = run("replay", exported, "-w", PROGRAMS, "--fresh", "--json")
        assert json.loads(fresh.stdout)["campaign"]["taken_over"] == 0

    def test_a_file_that_was_written_anew_is_judged_again(self, run: Shadow, exported: Path) -> None:
        folder = shutil.copytree(exported, "histories")
        assert run("replay", folder, "-w", PROGRAMS).exit_code == 0
        changed = next(path for path in Path(folder).iterdir() if path.name.startswith("steps"))
        changed.write_text(changed.read_text().replace('"name": "add"', '"name": "subtract"'))
        answer = run("replay", folder, "-w", PROGRAMS, "--json")
        assert answer.exit_code == 1
        report = json.loads(answer.stdout)
        assert (report["counts"]["mismatch"], report["campaign"]["taken_over"]) == (1, 5)

    def test_options_of_another_name_judge_again(self, run: Shadow, exported: Path) -> None:
        found = []
        for name in ("PLAIN", "OTHER"):
            options = ["--worker-options", f"tests.unit.shadow.changed_steps:{name}"]
            found.append(json.loads(run("replay", exported, "-w", PROGRAMS, *options, "--json").stdout)["campaign"])
        assert [campaign["taken_over"] for campaign in found] == [0, 0]

    def test_a_run_in_two_files_is_told(self, run: Shadow, exported: Path) -> None:
        folder = shutil.copytree(exported, "histories")
        first = next(path for path in Path(folder).iterdir() if path.name.startswith("steps"))
        again = first.with_name("z again.json")
        again.write_text(first.read_text())
        answer = run("replay", folder, "-w", PROGRAMS, "-o", "r.html")
        assert answer.exit_code == 0
        assert "1 history was found once more and is counted once: steps/" in " ".join(answer.output.split())
        assert "1 history was found once more" in Path("r.html").read_text()
        answer = run("replay", folder, "-w", PROGRAMS, "--hash-ids", "-o", "r.html")
        assert "1 history was found once more and is counted once: #" in " ".join(answer.output.split())
        again.write_text(first.read_text().replace('"name": "add"', '"name": "subtract"'))
        answer = run("replay", folder, "-w", PROGRAMS, "--json")
        assert answer.exit_code == 3
        assert json.loads(answer.stdout)["counts"]["inconclusive"] == 1

    def test_too_few_runs(self, run: Shadow, exported: Path) -> None:
        answer = run("replay", exported, "-w", PROGRAMS, "--sample-floor", 3, "--json")
        assert answer.exit_code == 3
        assert {found["workflow_type"]: found["rule"] for found in json.loads(answer.stdout)["types"]} == {
            "Steps": "clean", "Locally": "sample_floor",
        }  # fmt: skip

    def test_what_was_skipped_is_not_green(self, run: Shadow, exported: Path) -> None:
        answer = run("replay", exported, "-w", "tests.unit.shadow.programs:Parent", "--json")
        assert answer.exit_code == 3
        assert json.loads(answer.stdout)["counts"]["not_run"] == 6

    def test_nothing_selected_is_not_green(self, run: Shadow, exported: Path) -> None:
        assert run("replay", exported, "-w", PROGRAMS, "--type", "Nothing").exit_code == 3
        assert (
            run("replay", exported, "-w", PROGRAMS, "--exclude-type", "Steps", "--exclude-type", "Locally").exit_code
            == 3
        )

    def test_a_cut_file_is_told(self, run: Shadow, exported: Path, tmp_path: Path) -> None:
        (tmp_path / "cut.json").write_text('{"events": [')
        answer = run("replay", exported, tmp_path / "cut.json", "-w", PROGRAMS, "--json")
        assert answer.exit_code == 3
        assert json.loads(answer.stdout)["counts"]["inconclusive"] == 1

    def test_sampling(self, run: Shadow, exported: Path) -> None:
        answer = run("replay", exported, "-w", PROGRAMS, "--max", 2, "--seed", 3, "--json")
        report = json.loads(answer.stdout)
        assert report["campaign"]["sample"] == "rate 1, at least 5 of each kind, at most 2 runs, seed 3"
        assert {found["workflow_type"]: found["counts"]["match"] for found in report["types"]} == {
            "Steps": 1,
            "Locally": 1,
        }


class TestAllowances:
    def allow(self, run: Shadow, exported: Path, expires: str) -> Any:
        run("replay", exported, "-w", CHANGED, "-o", "r.json")
        groups = json.loads(Path("r.json").read_text())["groups"]
        Path("allow.toml").write_text(
            "".join(
                f'[[accepted]]\nfingerprint = "{group["fingerprint"]}"\nreason = "agreed"\nowner = "ada"\n'
                f"expires = {expires}\n"
                for group in groups
            )
        )
        return run("replay", exported, "-w", CHANGED, "--allow", "allow.toml")

    def test_accepted(self, run: Shadow, exported: Path) -> None:
        answer = self.allow(run, exported, "2999-01-01")
        assert answer.exit_code == 0, answer.output

    def test_expired(self, run: Shadow, exported: Path) -> None:
        assert self.allow(run, exported, "2001-01-01").exit_code == 1
        answer = run("replay", exported, "-w", PROGRAMS, "--allow", "allow.toml")
        assert answer.exit_code == 1
        assert "have expired" in answer.output

    def test_entries_are_proposed_and_hold(self, run: Shadow, exported: Path) -> None:
        run("replay", exported, "-w", CHANGED, "-o", "r.json")
        groups = [group["fingerprint"] for group in json.loads(Path("r.json").read_text())["groups"]]
        proposed = run("accept", "r.json")
        assert proposed.exit_code == 0
        Path("proposed.toml").write_text(proposed.stdout)
        answer = run("replay", exported, "-w", CHANGED, "--allow", "proposed.toml")
        assert answer.exit_code == 2, "nobody has said why"
        Path("accepted.toml").write_text("# reviewed by billing\n")
        why = ("--reason", 'rounds "to" cents', "--owner", "ada", "--to", "accepted.toml")
        assert run("accept", "r.json", groups[0], *why, "--for", "30d").exit_code == 0
        first = Path("accepted.toml").read_text()
        assert first.startswith("# reviewed by billing\n\n")
        assert first.count("[[accepted]]") == 1
        assert run("accept", "r.json", *why).exit_code == 0
        accepted = Path("accepted.toml").read_text()
        assert accepted.startswith(first)
        assert accepted.count("[[accepted]]") == len(groups) > 1
        assert all(accepted.count(fingerprint) == 1 for fingerprint in groups)
        answer = run("replay", exported, "-w", CHANGED, "--allow", "accepted.toml")
        assert answer.exit_code == 0, answer.output
        assert run("accept", "r.json", "nonsense").exit_code == 2
        assert run("accept", "r.json", "--to", "accepted.toml").exit_code == 2
        assert run("accept", "absent.json").exit_code == 2

    def test_unreadable(self, run: Shadow, exported: Path) -> None:
        Path("allow.toml").write_text("[[accepted]]\n")
        assert run("replay", exported, "-w", PROGRAMS, "--allow", "allow.toml").exit_code == 2


class TestUsage:
    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("replay", "absent", "-w", PROGRAMS), "no file or folder"),
            (("replay", ".", "-w", PROGRAMS), "there is no history"),
            (("replay", "HISTORIES", "-w", "no.such.module"), "no module"),
            (("replay", "HISTORIES", "-w", PROGRAMS + "X"), "has no 'WORKFLOWSX'"),
            (("replay", "HISTORIES", "-w", "tests.unit.shadow.programs:SOON"), "A workflow class"),
            (("replay", "HISTORIES", "-w", "json"), "no class with @workflow.defn"),
            (("replay", "HISTORIES", "-w", PROGRAMS, "--data-converter", "json:loads"), "fails when it is called"),
            (("replay", "HISTORIES", "-w", PROGRAMS, "-o", "report.pdf"), ".pdf is none of"),
            (("replay", "HISTORIES", "-w", PROGRAMS, "--status", "done"), "No such status"),
            (("replay", "HISTORIES", "-w", PROGRAMS, "--started-after", "yesterday"), ""),
            (("replay", "HISTORIES", "-w", PROGRAMS, "--key-file", "absent"), "cannot be read"),
            (("replay", "HISTORIES", "-w", PROGRAMS, "--against", "absent"), "No such file"),
            (("replay", "HISTORIES"), ""),
            (("report",), "no such file"),
            (("purge", "--older-than", "1d"), "no such file"),
            (("watch", "-w", PROGRAMS), "needs an end"),
        ],
    )
    def test_wrong_usage(self, run: Shadow, exported: Path, words: tuple[str, ...], said: str) -> None:
        answer = run(*[exported if word == "HISTORIES" else word for word in words])
        assert answer.exit_code == 2, answer.output
        assert said in " ".join(answer.output.split())

    def test_nobody_answers(self, run: Shadow) -> None:
        answer = run("run", "-w", PROGRAMS, "--address", "127.0.0.1:1", "--json")
        assert answer.exit_code == 4
        assert "cannot be reached" in json.loads(answer.stderr)["error"]

    @pytest.mark.parametrize("as_json", [(), ("--json",)])
    @pytest.mark.parametrize(
        ("place", "kind"),
        [
            ("dbos_shadow.results.kept.Keeper.__call__", RuntimeError),
            ("dbos_shadow.results.kept.Keeper.__call__", ValueError),
            ("dbos_shadow.reading.file_source.FileSource.candidates", ValueError),
            ("dbos_shadow.cli.work.write", RuntimeError),
        ],
    )
    def test_a_failure_of_our_own_quotes_nothing(
        self,
        run: Shadow,
        exported: Path,
        monkeypatch: pytest.MonkeyPatch,
        place: str,
        kind: type[Exception],
        as_json: tuple[str, ...],
    ) -> None:
        """Wherever it happens: what an exception says may be what was recorded, and so may the local names around it."""

        def fails(*_: object, **__: object) -> None:
            try:
                raise KeyError("canary in a cause")
            except KeyError as error:
                raise kind("canary in a message") from error

        monkeypatch.setattr(place, fails)
        answer = run("replay", exported, "-w", CHANGED, "-o", "r.xml", "-o", "r.sarif", *as_json)
        assert answer.exit_code == 4
        assert f"{kind.__name__} in fails" in " ".join(answer.stderr.split())
        kept = Path(".dbos-shadow/results.jsonl").read_text()
        assert "canary" not in answer.output + kept
        assert not Path("r.xml").exists()

    def test_what_a_judge_fails_with_is_not_told(
        self, run: Shadow, exported: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A run that we fail to judge is one without an answer; the exit code says that it is our fault."""

        def fails(*_: object, **__: object) -> None:
            raise RuntimeError("canary in a message")

        monkeypatch.setattr("dbos_shadow.replay.replay_past", fails)
        outs = [f"r{suffix}" for suffix in (".html", ".md", ".xml", ".sarif", ".json", ".jsonl")]
        answer = run("replay", exported, "-w", PROGRAMS, *[word for out in outs for word in ("-o", out)])
        assert answer.exit_code == 4, answer.output
        texts = [
            answer.output,
            Path(".dbos-shadow/results.jsonl").read_text(),
            *(Path(out).read_text() for out in outs),
        ]
        assert not [text for text in texts if "canary" in text]
        later = run("report", "--sample-floor", 1)
        assert later.exit_code == 4
        assert "canary" not in later.output

    def test_a_database_that_is_none(self, run: Shadow, exported: Path) -> None:
        assert run("replay", exported, "-w", PROGRAMS, "--database", "mysql://x").exit_code == 2
        url = "postgresql://nobody@127.0.0.1:1/x"
        assert run("replay", exported, "-w", PROGRAMS, "--database", url).exit_code == 4


class TestKept:
    def test_a_report_can_be_made_later(self, run: Shadow, exported: Path) -> None:
        run("replay", exported, "-w", CHANGED, "-o", "first.json")
        answer = run("report", "-o", "later.json", "--sample-floor", 1)
        assert answer.exit_code == 1
        first, later = (json.loads(Path(name).read_text()) for name in ("first.json", "later.json"))
        first["campaign"].pop("window")
        later["campaign"].pop("window")
        assert first == later

    def test_the_latest_or_the_one_that_is_named(self, run: Shadow, exported: Path) -> None:
        run("replay", exported, "-w", PROGRAMS, "-o", "good.json")
        run("replay", exported, "-w", CHANGED)
        assert run("report", "--sample-floor", 1).exit_code == 1
        config = json.loads(Path("good.json").read_text())["campaign"]["config_hash"]
        assert run("report", "--config", config[:9], "--sample-floor", 1).exit_code == 0
        assert run("report", "--config", "nonsense").exit_code == 2

    def test_shards_make_one_report(self, run: Shadow, exported: Path) -> None:
        """The same as if one machine had judged them all, and no run is counted twice."""
        histories = sorted(exported.iterdir())
        run("replay", exported, "-w", CHANGED, "-o", "whole.json", "--rate", 0.99)
        for number, part in enumerate((histories[:3], histories[2:])):
            run("replay", *part, "-w", CHANGED, "--results", f"{number}.jsonl", "--rate", 0.99)
        answer = run("report", "0.jsonl", "1.jsonl", "-o", "shards.json", "--sample-floor", 1)
        assert answer.exit_code == 1, answer.output
        whole, shards = (json.loads(Path(name).read_text()) for name in ("whole.json", "shards.json"))
        assert shards["campaign"].pop("selected") == whole["campaign"].pop("selected") + 1, "one is in both"
        assert shards.pop("strata") != whole.pop("strata")
        for report in (whole, shards):
            del report["campaign"]["selection"]
            for group in report["groups"]:
                del group["exemplar"]["command"]
        assert shards == whole
        Path("other-key").write_text("k" * 32)
        run("replay", exported, "-w", CHANGED, "--results", "other.jsonl", "--key-file", "other-key")
        answer = run("report", "0.jsonl", "other.jsonl")
        assert answer.exit_code == 2
        assert "not made under one configuration" in " ".join(answer.output.split())
        assert run("report", "0.jsonl", "absent.jsonl").exit_code == 2

    def test_a_purge_deletes_results(self, run: Shadow, exported: Path) -> None:
        run("replay", exported, "-w", PROGRAMS)
        answer = run("purge", "--older-than", "1h", "--json")
        assert json.loads(answer.stdout)["deleted"] == 0
        answer = run("purge", "--older-than", "0s", "--json")
        assert json.loads(answer.stdout)["deleted"] == 6
        assert run("report").exit_code == 2

    @pytest.mark.timeout(180)
    def test_a_session_that_was_killed_goes_on(self, tmp_path: Path, exported: Path) -> None:
        """SIGKILL in the middle; the second session judges what the first has not."""
        many = tmp_path / "many"
        many.mkdir()
        (one,) = exported.glob("steps%2F0*")
        text = one.read_text()
        for number in range(150):
            (many / f"{number:03}.json").write_text(text.replace("steps/0", f"w{number:03}"))
        words = [
            sys.executable,
            "-m",
            "dbos_compat.cli",
            "shadow",
            "replay",
            str(many),
            "-w",
            PROGRAMS,
            "--json",
            "--no-sandbox",
        ]
        words += ["--results", str(tmp_path / "r.jsonl"), "--key-file", str(tmp_path / "key")]
        (tmp_path / "key").write_text("k" * 32)
        folders = [str(REPOSITORY / part) for part in ("", "core", "dbos_compat", "shadow")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
        first = subprocess.Popen(
            words, cwd=REPOSITORY, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        kept = tmp_path / "r.jsonl"
        while first.poll() is None and (not kept.exists() or kept.read_bytes().count(b'"result"') < 20):
            time.sleep(0.02)
        assert first.poll() is None, "it was done before it could be killed"
        first.send_signal(signal.SIGKILL)
        first.wait()
        before = kept.read_bytes().count(b'"result"')
        assert 20 <= before < 150
        second = subprocess.run(words, cwd=REPOSITORY, env=environment, capture_output=True, check=False)
        assert second.returncode == 0, second.stderr
        assert json.loads(second.stdout)["counts"]["match"] == 150
        assert kept.read_bytes().count(b'"result"') in (150, 151)  # half a line may have been lost
