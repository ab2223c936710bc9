"""``pytest --determinism``: every workflow class that a file defines is tried, with stubs inferred from its annotations.

Without the option nothing is collected, and nothing but this file is imported.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from dbos_shadow.determinism.plan import Plan

MARK = "determinism"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("determinism", "dbos-compat: the determinism kit")
    group.addoption(
        "--determinism", action="store_true", help="try every workflow class in the files that are collected"
    )
    group.addoption("--determinism-profile", metavar="NAME", help="fast (10 s for each workflow), ci, nightly")
    group.addoption("--determinism-unsandboxed", action="store_true", help="without Temporal's sandbox")
    group.addoption(
        "--determinism-durable",
        metavar="URL",
        help="then run what was found on this Postgres, with kills of its worker",
    )
    group.addoption(
        "--determinism-durable-scripts",
        metavar="N",
        type=int,
        default=5,
        help="so many different schedules of each workflow on that Postgres, those that differ most (5)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{MARK}: a workflow that --determinism has found")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> WorkflowFile | None:
    if file_path.suffix != ".py" or not parent.config.getoption("--determinism"):
        return None
    from dbos_shadow.determinism.lint import defines_workflow

    if not defines_workflow(file_path.read_text(encoding="utf-8", errors="replace")):
        return None
    return WorkflowFile.from_parent(parent, path=file_path)


class WorkflowFile(pytest.File):
    """A file with workflows in it."""

    def collect(self) -> Iterator[WorkflowItem]:
        from dbos_shadow.determinism.inferred import NoWorkflow, imported, workflows_of

        try:
            module = imported(self.path)
        except NoWorkflow as error:
            raise self.CollectError(str(error)) from error
        for workflow in workflows_of(module):
            item = WorkflowItem.from_parent(self, name=f"{MARK}:{workflow.__name__}")
            item.workflow = workflow
            item.add_marker(MARK)
            yield item


class WorkflowItem(pytest.Item):
    """One workflow class."""

    workflow: type
    plan: Plan

    def runtest(self) -> None:
        from dbos_shadow.determinism.elsewhere import reference_to
        from dbos_shadow.determinism.explore import check_workflow
        from dbos_shadow.determinism.failure import UncheckedWarning
        from dbos_shadow.determinism.inferred import inferred

        option = self.config.getoption
        sandboxed = not option("--determinism-unsandboxed")
        self.plan = inferred(self.workflow, sandboxed=sandboxed)
        profile, reference = option("--determinism-profile"), reference_to(self.plan)
        explored = check_workflow(self.plan, profile=profile, reference=reference)
        sentence = f"{explored.schedules} schedules, {explored.steps} steps, {explored.seconds:.1f} s"
        if url := option("--determinism-durable"):
            from dbos_shadow.determinism.durable import run_durably

            most = option("--determinism-durable-scripts")
            report = run_durably(self.workflow, explored.kept, url, scripts_max=most, sandboxed=sandboxed)
            sentence += f"; {report}"
        for what in explored.unchecked:
            sentence += f"; {what}"
            warnings.warn(f"{self.workflow.__name__}: {what}.", UncheckedWarning, stacklevel=1)
        self.add_report_section("call", MARK, sentence)
        self.user_properties.append((MARK, sentence))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        from dbos_shadow.determinism.failure import BadPlan, DeterminismError
        from dbos_shadow.determinism.keep import Source, explain, keep

        error = excinfo.value
        if isinstance(error, BadPlan):
            return str(error)  # what to do about it is in there; where the kit noticed is nobody's concern
        if not isinstance(error, DeterminismError):
            return super().repr_failure(excinfo, style)
        source = Source.of_plan(self.plan)
        return explain(error, source, keep(error, source))

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, f"{MARK}: {self.workflow.__name__}"
