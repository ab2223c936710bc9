"""Purging: what a mirror holds in its own schemas, deleted when it is old, whether or not a worker runs."""

from __future__ import annotations

from datetime import timedelta

from dbos_core.errors import SchemaMissing
from dbos_core.store.postgres.store import PostgresStore
from dbos_shadow.mirror.front import APPLICATION_NAME, NAMESPACE
from dbos_shadow.mirror.postgres_ledger import PostgresLedger

__all__ = ["purge_mirror"]

BATCH = 1_000


async def purge_mirror(url: str, older_than: timedelta, *, namespace: str = NAMESPACE) -> int | None:
    """Delete verdicts that were given longer ago than that, and journals of shadow runs that are over as long. What has no
    verdict yet is left alone.

    Args:
        url: of the shadow's database.
        namespace: of the shadow.

    Returns:
        how many runs were forgotten. None: there is no mirror of this name.

    Raises:
        StoreUnavailable, BadDatabaseURL, SchemaTooNew.
    """
    ledger = PostgresLedger(url, namespace=namespace)
    if not await ledger.exists():
        return None
    await ledger.open()
    try:
        deleted = await ledger.purge(older_than)
    finally:
        await ledger.close()
    store = PostgresStore(url, namespace=namespace, application_name=APPLICATION_NAME, create=False)
    try:
        await store.open()
    except SchemaMissing:
        return deleted  # no worker has come up yet
    try:
        before_ms = await store.now_ms() - int(older_than.total_seconds() * 1000)
        while await store.delete_finished(before_ms, BATCH) == BATCH:
            pass
    finally:
        await store.close()
    return deleted
