"""The static part: the configuration is one that Ruff takes, and finds what it says."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from dbos_shadow.determinism import lint
from dbos_shadow.determinism.lint import BANNED, RULES, configuration, defines_workflow, workflow_files
from tests.fixtures.process import REPOSITORY

BROKEN = """
import asyncio
import time
from datetime import datetime
from uuid import uuid4

from temporalio import workflow


@workflow.defn
class Flow:
    shared = []

    @workflow.run
    async def run(self) -> None:
        print(datetime.now(), uuid4(), time.time())
        done, _ = await asyncio.wait([])
        for name in {"a", "b"}:
            print(name, done)
        try:
            open("file")
        except BaseException:
            pass
"""
FINE = """
from datetime import timedelta

from temporalio import workflow


@workflow.defn(name="fine")
class Fine:
    @workflow.run
    async def run(self) -> str:
        await workflow.sleep(timedelta(days=1))
        return f"{workflow.now()} {workflow.uuid4()} {workflow.random().random()}"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "broken.py").write_text(BROKEN)
    (tmp_path / "flows" / "fine.py").write_text(FINE)
    (tmp_path / "activities.py").write_text("import random\nprint(random.random())\n")
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "hidden.py").write_text(BROKEN)
    return tmp_path


def test_what_it_finds(folder: Path) -> None:
    found = lint.lint([folder])
    assert {Path(f.file).name for f in found} == {"broken.py"}
    assert {f.rule for f in found} == {"TID251", "RUF012", "PLC0208", "BLE001", "S110", "ASYNC230"}
    by_name = {f.message for f in found if f.rule == "TID251"}
    for name in ("datetime.datetime.now", "uuid.uuid4", "time.time", "asyncio.wait"):
        assert any(f"`{name}` is banned" in message for message in by_name), name
    assert any("workflow.wait()" in message for message in by_name)
    assert str(found[0]).startswith(f"{found[0].file}:{found[0].line}:")


def test_only_files_with_workflows(folder: Path) -> None:
    assert [path.name for path in workflow_files([folder])] == ["broken.py", "fine.py"]
    assert not defines_workflow("# @workflow.defn\nclass X: ...")
    assert not defines_workflow("@workflow.defn\nclass (:")
    assert defines_workflow("@temporalio.workflow.defn(sandboxed=False)\nclass X: ...")


def test_no_such_path(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        lint.lint([tmp_path / "nowhere"])
    assert lint.lint([tmp_path]) == []


def test_the_configuration_is_whole(folder: Path) -> None:
    read = tomllib.loads(configuration())
    assert list(read["lint"]["select"]) == list(RULES)
    banned = read["lint"]["flake8-tidy-imports"]["banned-api"]
    assert {name: entry["msg"] for name, entry in banned.items()} == dict(BANNED)
    # Ruff warns of rules that it does not know.
    (folder / "ruff.toml").write_text(configuration())
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "ruff",
            "check",
            "--no-cache",
            "--config",
            str(folder / "ruff.toml"),
            str(folder / "flows" / "fine.py"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_without_ruff(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(lint.RuffMissing, match="pip install ruff"):
        lint.lint([folder])


def test_the_guide_says_what_it_cannot_see() -> None:
    page = (REPOSITORY / "migration_guides" / "determinism.md").read_text()
    for what, why in lint.UNSEEN:
        assert f"* {what}: {why}." in page
