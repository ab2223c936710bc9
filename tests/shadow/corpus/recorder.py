"""Recorder: plays scenes on a real Temporal server, all at once, and brings the histories of all their runs home."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass

from temporalio.client import Client, WorkflowExecution
from temporalio.worker import UnsandboxedWorkflowRunner, Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from dbos_shadow.recorded import Recorded
from tests.compat.support import add_search_attributes
from tests.shadow.corpus.stage import Stage
from tests.shadow.corpus.theme import Theme

AT_ONCE = 32
"""Scenes. Most of what they do is waiting."""
FETCHED_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Played:
    """One run that a scene has left, and where it belongs."""

    theme: str
    scene: str
    recorded: Recorded

    @property
    def name(self) -> str:
        return f"{self.theme}/{self.scene}"


def record(address: str, themes: Sequence[Theme], *, only: Iterable[str] = ()) -> list[Played]:
    """Play all scenes (or those of ``only``, as ``theme/scene``) and give the histories, sorted by name."""
    return asyncio.run(play(address, themes, frozenset(only)))


async def play(address: str, themes: Sequence[Theme], only: frozenset[str] = frozenset()) -> list[Played]:
    prefix = uuid.uuid4().hex[:8]
    await add_search_attributes(await Client.connect(address))
    room = asyncio.Semaphore(AT_ONCE)
    clients: dict[str, Client] = {}
    scenes: dict[str, tuple[Theme, str]] = {}
    async with AsyncExitStack() as workers:
        failed: list[str] = []

        async def one(theme: Theme, scene: str, stage: Stage) -> None:
            async with room:
                try:
                    await theme.scenes[scene](stage)
                except Exception as error:
                    failed.append(f"{theme.name}/{scene}: {error!r}")

        todo = []
        for theme in themes:
            chosen = [scene for scene in theme.scenes if not only or f"{theme.name}/{scene}" in only]
            if not chosen:
                continue
            client = await Client.connect(
                address, data_converter=theme.data_converter, interceptors=list(theme.interceptors)
            )
            clients[theme.name] = client
            await workers.enter_async_context(_worker(theme, client, f"{prefix}-{theme.name}"))
            for scene in chosen:
                stage = Stage(theme, scene, client, prefix)
                scenes[stage.id] = (theme, scene)
                todo.append(one(theme, scene, stage))
        await asyncio.gather(*todo)
    assert not failed, "scenes that could not be played:\n" + "\n".join(sorted(failed))
    # No worker is left: what is still open stays as it is.
    return await _collect(clients, scenes, prefix)


def _worker(theme: Theme, client: Client, queue: str) -> Worker:
    return Worker(
        client,
        task_queue=queue,
        workflows=theme.workflows,
        activities=theme.activities,
        activity_executor=ThreadPoolExecutor(4),
        workflow_runner=SandboxedWorkflowRunner() if theme.sandboxed else UnsandboxedWorkflowRunner(),
        **theme.worker_options,
    )


async def _collect(clients: dict[str, Client], scenes: dict[str, tuple[Theme, str]], prefix: str) -> list[Played]:
    room = asyncio.Semaphore(FETCHED_AT_ONCE)
    client = next(iter(clients.values()))

    async def one(execution: WorkflowExecution) -> Played:
        theme, scene = _scene_of(execution.id, scenes)
        async with room:
            handle = clients[theme.name].get_workflow_handle(execution.id, run_id=execution.run_id)
            history = await handle.fetch_history()
        return Played(
            theme.name,
            scene,
            Recorded(
                workflow_id=execution.id,
                run_id=execution.run_id,
                workflow_type=execution.workflow_type,
                events=history.events,
                source="temporal:default",
                closed=execution.close_time is not None,
            ),
        )

    listed = [one async for one in client.list_workflows(f'WorkflowId STARTS_WITH "{prefix}-"')]
    found = await asyncio.gather(*(one(execution) for execution in listed))
    return sorted(found, key=_place)


def _place(played: Played) -> tuple[str, str, int]:
    begun = played.recorded.events[0].event_time.ToNanoseconds()
    return (played.name, played.recorded.workflow_id, begun)


def _scene_of(workflow_id: str, scenes: dict[str, tuple[Theme, str]]) -> tuple[Theme, str]:
    """The scene with the longest id that this one begins with: scenes give their children such ids."""
    matching = [scene_id for scene_id in scenes if workflow_id.startswith(scene_id)]
    assert matching, f"{workflow_id} belongs to no scene: ids of children begin with their parent's"
    return scenes[max(matching, key=len)]
