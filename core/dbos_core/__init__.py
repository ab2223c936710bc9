"""dbos_core: a checkpoint kernel on Postgres. It has never heard of Temporal.

Here are the words that everybody shares: errors, and the values that go in and come out. What acts is imported by its path
(``dbos_core.kernel``, ``dbos_core.store.postgres``), so that who only needs a word does not get a loop along with it.
"""

from dbos_core.commit import (
    PARK_FOREVER,
    Close,
    Commit,
    IdConflict,
    IdReuse,
    Mail,
    NewRun,
    RunRow,
    RunStatus,
    StartAnswer,
    StartResult,
    UpdateRow,
    Verdict,
)
from dbos_core.errors import (
    ApplicationMismatch,
    BadCommit,
    BadDatabaseURL,
    DBOSCompatError,
    LeaseLost,
    PayloadTooLarge,
    SchemaMissing,
    SchemaTooNew,
    StoreUnavailable,
)

__all__ = [
    "ApplicationMismatch",
    "BadCommit",
    "BadDatabaseURL",
    "Close",
    "Commit",
    "DBOSCompatError",
    "IdConflict",
    "IdReuse",
    "LeaseLost",
    "Mail",
    "NewRun",
    "PARK_FOREVER",
    "PayloadTooLarge",
    "RunRow",
    "RunStatus",
    "SchemaMissing",
    "SchemaTooNew",
    "StartAnswer",
    "StartResult",
    "StoreUnavailable",
    "UpdateRow",
    "Verdict",
]
