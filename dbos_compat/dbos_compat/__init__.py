"""dbos-compat: Temporal workflows, unchanged, on the Postgres you already have."""

from temporalio import workflow as _workflow

# A file with a workflow in it is imported again inside the SDK's sandbox. Where it imports this package, too, the sandbox
# shall take the modules that are there, as it does with temporalio.
with _workflow.unsafe.imports_passed_through():
    from dbos_compat.connect import connect, disconnect
    from dbos_compat.errors import Unsupported

__all__ = ["Unsupported", "connect", "disconnect"]
