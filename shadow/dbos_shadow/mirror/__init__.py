"""Mirror: in front of both engines, for staging. Temporal answers; the core does the same behind it, and is compared.

Two halves that share a ledger and nothing else:

* ``Mirror``, in the processes of the application: a Temporal client whose calls are noted (``front``, ``notes``,
  ``outbox``);
* ``MirrorWorker``, in a process of its own or in the same: it follows the histories of the noted runs (``following``),
  lets the core take the same tasks without hands (``muted``, ``shadow_run``), and compares. Verdicts go to the ledger, and
  to where those of replays are (``keeping``), for all reports.
"""

from temporalio import workflow as _workflow

# A file that holds a workflow, too, is imported again inside the SDK's sandbox.
with _workflow.unsafe.imports_passed_through():
    from dbos_shadow.mirror.front import Mirror
    from dbos_shadow.mirror.ledger import Entry, Ledger, MemoryLedger
    from dbos_shadow.mirror.notes import Note
    from dbos_shadow.mirror.outbox import Sent
    from dbos_shadow.mirror.postgres_ledger import PostgresLedger
    from dbos_shadow.mirror.purging import purge_mirror
    from dbos_shadow.mirror.worker import Followed, MirrorWorker

__all__ = [
    "Entry",
    "Followed",
    "Ledger",
    "MemoryLedger",
    "Mirror",
    "MirrorWorker",
    "Note",
    "PostgresLedger",
    "Sent",
    "purge_mirror",
]
