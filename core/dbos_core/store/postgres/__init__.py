"""The store on PostgreSQL: DBOS' system schema for what a replay needs, our own schema beside it."""

from dbos_core.store.postgres.schema.names import schema_names
from dbos_core.store.postgres.store import PostgresStore

__all__ = ["PostgresStore", "schema_names"]
