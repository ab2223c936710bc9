"""What the tests of the mirror share: waiting for verdicts, and what replay says of the same runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.converter import PayloadCodec
from temporalio.worker import UnsandboxedWorkflowRunner

from dbos_shadow.judging import judging
from dbos_shadow.mirror import Entry, Ledger
from dbos_shadow.recorded import Recorded
from dbos_shadow.verdict import Judgement
from tests.fixtures.waiting import eventually
from tests.mirror.programs import WORKFLOWS

UNSANDBOXED = UnsandboxedWorkflowRunner()


class Reversed(PayloadCodec):
    """A codec without which nothing can be read."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload(metadata={"encoding": b"reversed"}, data=p.SerializeToString()[::-1]) for p in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload.FromString(p.data[::-1]) for p in payloads]


def with_codec(client: Client) -> Client:
    """The same connection, by somebody who encodes."""
    config = client.config()
    config["data_converter"] = replace(config["data_converter"], payload_codec=Reversed())
    return Client(**config)


async def all_judged(ledger: Ledger, within_s: float = 60.0) -> list[Entry]:
    """The entries, once there is a verdict for each."""

    async def judged() -> list[Entry]:
        entries = await ledger.entries()
        return entries if entries and all(entry.verdict is not None for entry in entries) else []

    return await eventually(judged, within=within_s, what="every mirrored run has a verdict")


async def replayed(
    temporal: Client, entries: list[Entry], workflows: Sequence[type] = WORKFLOWS
) -> Mapping[str, Judgement]:
    """What replay says of the same runs, by run id."""
    verdicts = {}
    async with judging(
        workflows,
        data_converter=temporal.config()["data_converter"],
        worker_options={"workflow_runner": UNSANDBOXED},
    ) as judge:
        for entry in entries:
            note = entry.note
            history = await temporal.get_workflow_handle(note.workflow_id, run_id=note.run_id).fetch_history()
            recorded = Recorded(
                workflow_id=note.workflow_id,
                run_id=note.run_id,
                workflow_type=note.workflow_type,
                events=list(history.events),
                source="temporal:default",
                closed=True,
            )
            verdicts[note.run_id] = await judge(recorded)
    return verdicts
