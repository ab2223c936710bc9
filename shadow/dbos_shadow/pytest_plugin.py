"""A pytest plug-in: each recorded history in a folder is a test.

It does nothing until it is asked::

    pytest -p dbos_shadow.pytest_plugin --shadow-histories histories/ --shadow-workflows orders.workflows

or, in ``pyproject.toml`` of the project, once for all::

    [tool.pytest.ini_options]
    addopts = ["-p", "dbos_shadow.pytest_plugin", "--shadow-histories=histories", "--shadow-workflows=orders.workflows"]

A test passes if the core does what was recorded, or differs only as somebody has accepted. It fails where nobody can tell:
a green run has looked at every history. Select them with ``-k shadow``.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from dbos_shadow.allow import Allowances
    from dbos_shadow.campaign import Judge
    from dbos_shadow.reading.file_source import Finder
    from dbos_shadow.recorded import Recorded

# What a check needs is imported when there is one: whoever does not ask for histories pays nothing.


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("shadow", "recorded Temporal histories (dbos-compat)")
    group.addoption(
        "--shadow-histories",
        action="append",
        default=[],
        metavar="PATH",
        help="File or folder of histories; repeatable.",
    )
    group.addoption(
        "--shadow-workflows",
        action="append",
        default=[],
        metavar="MODULE[:ATTR]",
        help="Workflow classes: a module with all that it has, a class, or a list; repeatable.",
    )
    group.addoption("--shadow-data-converter", metavar="MODULE:ATTR", help="The namespace's DataConverter.")
    group.addoption("--shadow-worker-options", metavar="MODULE:ATTR", help="Dictionary of what else a Worker is given.")
    group.addoption("--shadow-namespace", default="default", help="As workflows read it in their info.")
    group.addoption("--shadow-allow", metavar="FILE", help="TOML file of accepted differences.")
    group.addoption("--shadow-show-values", action="store_true", help="Show values of payloads in failures.")


@dataclass
class _Bench:
    """What all tests of a session share: one loop, one set of interpreted workflows. Made by the first of them."""

    options: Any
    allowances: Allowances
    finder: Finder
    runner: asyncio.Runner = field(default_factory=asyncio.Runner)
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    judge: Judge | None = None

    async def _opened(self) -> Judge:
        from dbos_shadow.cli.loading import load_converter, load_options, load_workflows
        from dbos_shadow.judging import judging

        options = self.options
        return await self.stack.enter_async_context(
            judging(
                load_workflows(options.shadow_workflows),
                data_converter=load_converter(options.shadow_data_converter),
                namespace=options.shadow_namespace,
                worker_options=load_options(options.shadow_worker_options),
                allowances=self.allowances,
            )
        )

    def judged(self, recorded: Recorded) -> Any:
        from dbos_shadow.quiet import quiet

        with quiet():
            if self.judge is None:
                self.judge = self.runner.run(self._opened())
            judge = self.judge

            async def work() -> Any:
                return await judge(recorded)

            return self.runner.run(work())

    def close(self) -> None:
        self.runner.run(self.stack.aclose())
        self.runner.close()


_BENCH = pytest.StashKey[_Bench]()


@pytest.hookimpl(tryfirst=True)  # before -k and -m look at the items
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    paths = config.getoption("--shadow-histories")
    if not paths:
        return
    from dbos_core.errors import DBOSCompatError
    from dbos_shadow.allow import AllowancesUnreadable
    from dbos_shadow.checks import read_allowances
    from dbos_shadow.reading import files
    from dbos_shadow.reading.file_source import Finder

    if not config.getoption("--shadow-workflows"):
        raise pytest.UsageError(
            "--shadow-histories needs --shadow-workflows MODULE[:ATTR]: which code shall replay them?"
        )
    try:
        found = files.find([Path(config.invocation_params.dir, path) for path in paths])
        allow = config.getoption("--shadow-allow")
        allowances = read_allowances(Path(config.invocation_params.dir, allow) if allow else None)
    except (DBOSCompatError, AllowancesUnreadable, OSError) as error:
        raise pytest.UsageError(str(error)) from error
    config.stash[_BENCH] = _Bench(config.option, allowances, Finder())
    if allowances.expired:
        items.append(ExpiredItem.from_parent(session, name="shadow::accepted differences"))
    for path in found:
        shown = _shown(path, config.rootpath)
        for number, run in enumerate(files.read(path), 1):
            place = run.source.rpartition("#")[2] if "#" in run.source.removeprefix(f"file:{path}") else ""
            name = f"shadow::{shown}" + (f"#{place or number}" if place else "")
            items.append(HistoryItem.from_parent(session, name=name, found_at=path, place=run.source))


def pytest_unconfigure(config: pytest.Config) -> None:
    bench = config.stash.get(_BENCH, None)
    if bench is not None:
        bench.close()


class HistoryItem(pytest.Item):
    """One recorded run. It is read when its turn comes: a folder may hold more than memory."""

    def __init__(self, *, found_at: Path, place: str, **rest: Any) -> None:
        super().__init__(**rest)
        self.found_at = found_at
        self.place = place

    def runtest(self) -> None:
        from dbos_shadow.checks import ShadowMismatch, explain, is_same
        from dbos_shadow.reading.files import Unreadable
        from dbos_shadow.undecided import unreadable

        bench = self.config.stash[_BENCH]
        found = bench.finder.find(self.found_at, self.place)
        if found is None:
            raise ShadowMismatch(
                f"{self.place} was there when tests were collected, and is not any more. Run them again."
            )
        judgement = unreadable(found) if isinstance(found, Unreadable) else bench.judged(found)
        if not is_same(judgement):
            raise ShadowMismatch(explain(judgement, show_values=self.config.getoption("--shadow-show-values")))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        from dbos_shadow.checks import ShadowMismatch

        if isinstance(excinfo.value, ShadowMismatch):
            return f"{excinfo.value}\n\n{self.found_at}"
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.found_at, None, self.name


class ExpiredItem(pytest.Item):
    """Fails: an accepted difference is not accepted any more."""

    def runtest(self) -> None:
        from dbos_shadow.checks import ShadowMismatch, expired_words

        raise ShadowMismatch(expired_words(self.config.stash[_BENCH].allowances))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        return str(excinfo.value)

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.config.rootpath, None, self.name


def _shown(path: Path, root: Path) -> str:
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()
