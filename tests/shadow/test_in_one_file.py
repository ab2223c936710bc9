"""A workflow and its test, or the program around it, in one file: the SDK's sandbox imports that file again."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from temporalio.worker import Worker

from dbos_compat.testing import WorkflowEnvironment

FILE = """
from temporalio import workflow

{line}


@workflow.defn
class Waits:
    @workflow.run
    async def run(self) -> str:
        await workflow.sleep(86_400)
        return "awake"
"""


@pytest.mark.parametrize(
    "line",
    [
        "import dbos_compat",
        "from dbos_compat.testing import WorkflowEnvironment",
        "from dbos_shadow.checks import assert_same",
        "from dbos_shadow.determinism import determinism_test",
        "from dbos_shadow.mirror import Mirror",
    ],
)
async def test_a_workflow_beside_this_import_runs_in_the_sandbox(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"in_one_file_{line.split()[1].replace('.', '_')}"
    (tmp_path / f"{name}.py").write_text(FILE.format(line=line))
    monkeypatch.syspath_prepend(tmp_path)
    waits = importlib.import_module(name).Waits
    async with await WorkflowEnvironment.start_time_skipping() as env:
        async with Worker(env.client, task_queue="here", workflows=[waits]):
            assert await env.client.execute_workflow(waits.run, id="waits", task_queue="here") == "awake"
