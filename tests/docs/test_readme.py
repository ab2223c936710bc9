"""The first screen shows what the programs print: the same lines, give or take the figures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.fixtures.process import REPOSITORY, Spawn

BLOCK = re.compile(r"^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HELLO = "$ .venv/bin/python -m dbos_compat.hello"
DEMO = "SIGKILL to process"


def lines_of(marker: str) -> list[str]:
    """The printed lines of the README's block with this text in it."""
    [block] = [block for block in BLOCK.findall((REPOSITORY / "README.md").read_text()) if marker in block]
    return [line for line in block.splitlines() if line.strip() and not line.startswith("$ ")]


def without_figures(line: str) -> str:
    """How a line looks whatever was measured."""
    return re.sub(r"\s*\d+(\.\d+)?", " #", line).strip()


@pytest.fixture
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the embedded Postgres of hello keeps its data."""
    return tmp_path_factory.mktemp("data")


@pytest.mark.timeout(120)
def test_hello_prints_what_the_readme_shows(spawn: Spawn, data_dir: Path) -> None:
    hello = spawn("-m", "dbos_compat.hello", env={"DBOS_COMPAT_DATA_DIR": str(data_dir)}, name="hello")
    assert hello.wait(within=90) == 0, hello.output
    shown = [without_figures(line) for line in lines_of(HELLO)]
    printed = [without_figures(line) for line in hello.output.splitlines() if line.strip()]
    assert printed[1:] == shown, hello.output  # the first line says where the data is


@pytest.mark.timeout(180)
def test_the_demo_prints_what_the_readme_shows(spawn: Spawn) -> None:
    demo = spawn("-m", "examples.checkout.demo", env={"TERM": "dumb"}, name="demo")
    assert demo.wait(within=150) == 0, demo.output
    printed = [without_figures(line) for line in demo.output.splitlines()]
    missing = [line for line in lines_of(DEMO) if without_figures(line) not in printed]
    assert not missing, demo.output


def test_a_changed_word_is_seen() -> None:
    assert without_figures(" 17.5 s ✓ done by 8889") == without_figures("  6 s ✓ done by 1")
    assert without_figures("3 commits") != without_figures("3 flushes")
