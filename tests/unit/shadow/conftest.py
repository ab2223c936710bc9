"""Histories for whoever needs some: made by this engine, in memory, once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from temporalio.client import Client

from dbos_shadow.reading import exporting
from dbos_shadow.recorded import Recorded
from tests.unit.shadow.engine import engine
from tests.unit.shadow.programs import ACTIVITIES, WORKFLOWS, Locally, Steps


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of five runs of ``Steps`` and one of ``Locally``."""
    folder = tmp_path_factory.mktemp("histories")
    asyncio.run(_export(folder))
    return folder


async def _export(folder: Path) -> None:
    async with engine(WORKFLOWS, ACTIVITIES) as client:
        for number in range(5):
            await client.execute_workflow(Steps.run, number, id=f"steps/{number}", task_queue="q")
            await _write(client, folder, f"steps/{number}", "Steps")
        await client.execute_workflow(Locally.run, id="locally", task_queue="q")
        await _write(client, folder, "locally", "Locally")


async def _write(client: Client, folder: Path, workflow_id: str, workflow_type: str) -> None:
    history = await client.get_workflow_handle(workflow_id).fetch_history()
    exporting.write(
        folder,
        Recorded(
            workflow_id=workflow_id,
            run_id=history.run_id,
            workflow_type=workflow_type,
            events=history.events,
            source="test",
        ),
    )
