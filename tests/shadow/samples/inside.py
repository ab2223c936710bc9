"""Run one program of a sample as it is; then judge what is in its namespace with the workflows that it has registered.

    python -P -m tests.shadow.samples.inside --out judged.json -- hello/hello_activity.py

The program is told where the server is by the environment, as ``temporalio.envconfig`` reads it. It ends by itself or by
SIGINT; then the judging begins.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import sys
import traceback
import types
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import temporalio.client
import temporalio.worker
from temporalio.client import Client, WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from dbos_compat.workbench import Workbench
from dbos_shadow.recorded import Recorded
from dbos_shadow.replay import replay_recorded
from dbos_shadow.select import shape_of
from dbos_shadow.sources import history
from dbos_shadow.verdict import Verdict


@dataclass(slots=True)
class Registered:
    """What a worker of the program was made with."""

    workflows: Sequence[type]
    client: Client
    options: dict[str, Any]


registered: list[Registered] = []


def listen() -> None:
    """Hear of every worker that is made in this process."""
    original = temporalio.worker.Worker.__init__

    def init(self: Any, client: Client, **options: Any) -> None:
        original(self, client, **options)
        if ready := os.environ.get("SAMPLES_READY"):
            Path(ready).touch()
        registered.append(Registered(options.get("workflows", ()), client, options))

    temporalio.worker.Worker.__init__ = init  # type: ignore[method-assign]


def run(script: Path, arguments: list[str]) -> str:
    """The program as ``python script`` runs it; how it failed, if it did."""
    main = types.ModuleType("__main__")
    main.__file__ = str(script)
    sys.modules["__main__"] = main
    sys.argv = [str(script), *arguments]
    sys.path[:0] = [str(script.parent), str(Path.cwd())]
    try:
        exec(compile(script.read_bytes(), str(script), "exec"), vars(main))
    except (KeyboardInterrupt, SystemExit, asyncio.CancelledError):
        return ""
    except Exception:
        return traceback.format_exc(limit=-3)
    return ""


async def refusal(replayer: Replayer, recorded: WorkflowHistory) -> str:
    """Why Temporal's own replayer refuses a history; of one without a task it cannot say anything, and stops for ever."""
    if not any(event.HasField("workflow_task_started_event_attributes") for event in recorded.events):
        return ""
    result = await replayer.replay_workflow(recorded, raise_on_replay_failure=False)
    return str(result.replay_failure or "")[:200]


async def judge() -> list[dict[str, Any]]:
    workflows = list({workflow: None for worker in registered for workflow in worker.workflows})
    client, options = registered[0].client, registered[0].options
    config = client.config()
    server = await Client.connect(client.service_client.config.target_host, namespace=client.namespace)
    shared: dict[str, Any] = {
        "interceptors": list(options.get("interceptors", ())),
        "workflow_failure_exception_types": options.get("workflow_failure_exception_types", ()),
        "workflow_runner": UnsandboxedWorkflowRunner(),
    }
    replayer = Replayer(
        workflows=workflows,
        data_converter=config["data_converter"],
        namespace=client.namespace,
        **{
            **shared,
            "interceptors": [
                *shared["interceptors"],
                *[one for one in config["interceptors"] if isinstance(one, temporalio.worker.Interceptor)],
            ],
        },
    )
    found = []
    async with Workbench(
        workflows,
        data_converter=config["data_converter"],
        client_interceptors=config["interceptors"],
        namespace=client.namespace,
        **shared,
    ) as bench:
        async for execution in server.list_workflows():
            if execution.workflow_type.startswith("temporal-sys-"):
                continue
            handle = server.get_workflow_handle(execution.id, run_id=execution.run_id)
            events = (await handle.fetch_history()).events
            recorded = Recorded(
                workflow_id=execution.id,
                run_id=execution.run_id,
                workflow_type=execution.workflow_type,
                events=events,
                source=f"temporal:{client.namespace}",
                closed=execution.close_time is not None,
            )
            judgement = await replay_recorded(recorded, bench)
            by_temporal = await refusal(replayer, WorkflowHistory(execution.id, events))
            first = judgement.comparison.first if judgement.comparison else None
            found.append(
                {
                    "type": execution.workflow_type,
                    "events": len(events),
                    "closed": recorded.closed,
                    "shape": shape_of(history.trace(events)),
                    "verdict": judgement.verdict.value,
                    "reason": judgement.reason.value if judgement.reason else "",
                    "told": f"{first.level} {first.kind} {first.path}" if first else judgement.note,
                    "temporal": by_temporal,
                }
            )
            if judgement.verdict is not Verdict.MATCH and (kept := os.environ.get("SAMPLES_KEEP")):
                Path(kept, f"{execution.workflow_type}-{execution.run_id}.json").write_text(
                    WorkflowHistory(execution.id, events).to_json()
                )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("script", type=Path)
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    listen()
    failed = run(options.script.resolve(), options.arguments)
    logging.disable(logging.CRITICAL)
    judged = []
    if registered:
        with contextlib.suppress(KeyboardInterrupt):  # a second one
            judged = asyncio.run(judge())
    options.out.write_text(json.dumps({"failed": failed, "judged": judged}))


if __name__ == "__main__":
    main()
    os._exit(0)  # a sample's own threads and pools are no concern of ours
