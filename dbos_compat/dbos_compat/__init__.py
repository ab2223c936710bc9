"""dbos-compat: Temporal workflows, unchanged, on the Postgres you already have."""

from dbos_compat.connect import connect, disconnect
from dbos_compat.errors import Unsupported

__all__ = ["Unsupported", "connect", "disconnect"]
