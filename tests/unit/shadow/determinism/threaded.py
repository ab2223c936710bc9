"""A module that starts a thread when it is imported, as some libraries do: a process with it is not to be forked."""

from __future__ import annotations

import threading
from datetime import timedelta

from temporalio import workflow

threading.Thread(target=threading.Event().wait, daemon=True).start()


@workflow.defn
class Threaded:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity("tell", start_to_close_timeout=timedelta(minutes=1))
