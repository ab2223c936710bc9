"""The one line: which engine runs the checkout."""

from __future__ import annotations

import os

from temporalio.client import Client


async def connect() -> Client:
    """A client of the Temporal server at ``TEMPORAL_ADDRESS`` if that is set, of a Postgres otherwise."""
    if address := os.environ.get("TEMPORAL_ADDRESS"):
        return await Client.connect(address)
    import dbos_compat

    return await dbos_compat.connect(os.environ.get("DBOS_SYSTEM_DATABASE_URL"))
