"""The first screen and the guides, as a reader would try them: each page in a folder and a database of its own."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path
from string import Template

import pytest

from tests.docs.snippets import BadSnippet, Command, Snippet, commands, parse, snippets
from tests.fixtures.process import IMPORT_FOLDERS, REPOSITORY

PAGES = [
    page
    for page in [REPOSITORY / "README.md", *sorted((REPOSITORY / "migration_guides").glob("*.md"))]
    if any(block.skip is None for block in snippets(page))
]
WITHIN_S = 120
PROGRAMS = {"python": [sys.executable], "dbos-compat": [sys.executable, "-m", "dbos_compat.cli"]}


class Reader:
    """Somebody who follows a page to the letter."""

    block_options: tuple[str, ...] = ()

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._env = {
            **{name: value for name, value in os.environ.items() if name != "TEMPORAL_ADDRESS"},
            "PYTHONPATH": os.pathsep.join([str(folder), *map(str, IMPORT_FOLDERS)]),
            "DBOS_SYSTEM_DATABASE_URL": url,
            "COLUMNS": "120",
            "NO_COLOR": "1",
        }

        self._jobs: list[subprocess.Popen[bytes]] = []

    def follow(self, block: Snippet) -> None:
        if block.language == "console":
            for command in commands(block):
                self._type(command)
        elif block.file is not None:
            (self._folder / block.file).write_text(block.text)
        else:
            path = self._folder / f"block_at_line_{block.line}.py"
            path.write_text(block.text)
            self._run([sys.executable, "-m", "tests.docs.run_block", path.name, *self.block_options])

    def leave(self) -> None:
        """Close the terminal: what still runs in the background ends."""
        for job in self._jobs:
            job.kill()
            job.wait()

    def _type(self, command: Command) -> None:
        if command.words[:2] == ("kill", "-9"):
            self._jobs[int(command.words[2].removeprefix("%")) - 1].kill()
            return
        words = [
            *PROGRAMS[command.words[0]],
            *(Template(word).safe_substitute(self._env) for word in command.words[1:]),
        ]
        if words[-1] == "&":
            self._jobs.append(subprocess.Popen(words[:-1], cwd=self._folder, env=self._env, stdin=subprocess.DEVNULL))
            return
        printed = self._run(words)
        if command.output is not None:
            assert shows(command.output, printed), f"printed:\n{printed}\nthe page says:\n{command.output}"

    def _run(self, command: list[str]) -> str:
        ended = subprocess.run(
            command,
            cwd=self._folder,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )
        assert ended.returncode == 0, f"{' '.join(command)} ended with {ended.returncode}:\n{ended.stdout}"
        return ended.stdout


def shows(expected: str, printed: str) -> bool:
    """Is that what was printed, give or take trailing blanks and what ``...`` stands for?"""
    expected, printed = (re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE) for text in (expected, printed))
    return doctest.OutputChecker().check_output(expected, printed, doctest.ELLIPSIS)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_a_reader_can_follow_the_page(page: Path, tmp_path: Path, postgres_url: str) -> None:
    reader = Reader(tmp_path, postgres_url)
    try:
        for block in snippets(page):
            if block.skip is None:
                try:
                    reader.follow(block)
                except AssertionError as error:
                    raise AssertionError(f"{page.name}, line {block.line}: {error}") from error
    finally:
        reader.leave()


def test_skipping_takes_a_reason() -> None:
    assert parse('```python skip="needs a cluster"\nx\n```\n', "page")[0].skip == "needs a cluster"
    assert parse("```python only=postgres\nx\n```\n", "page")[0].ours
    for info in ("skip", 'skip=""', 'skip=" "', "later", "only=ours"):
        with pytest.raises(BadSnippet, match="page:1"):
            parse(f"```python {info}\nx\n```\n", "page")


def test_output_is_compared() -> None:
    block = parse("```console\n$ python -c 'print(1)'  # a comment\n1\n$ python x.py\n```\n", "page")[0]
    first, second = commands(block)
    assert (first.words, first.output) == (("python", "-c", "print(1)"), "1\n")
    assert (second.words, second.output) == (("python", "x.py"), None)
    assert shows("started ...\n", "started order-42\n")
    assert not shows("1\n", "2\n")


def test_a_failing_block_fails_the_page(tmp_path: Path) -> None:
    reader = Reader(tmp_path, "postgresql://nowhere")
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        reader.follow(Snippet("python", 1, "import asyncio\nawait asyncio.sleep(0)\n1 / 0\n"))
