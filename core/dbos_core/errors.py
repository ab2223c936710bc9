"""The kernel's errors: three families.

::

    DBOSCompatError
    ├── Expected            a race lost, a database restarting: handled and counted, rarely seen by users
    │   ├── StoreUnavailable
    │   └── LeaseLost
    ├── Theirs              bad input or configuration: precise; only the workflow concerned suffers
    │   ├── BadCommit
    │   ├── SchemaTooNew
    │   ├── SchemaMissing
    │   ├── ApplicationMismatch
    │   ├── BadDatabaseURL
    │   └── PayloadTooLarge
    └── Ours                an invariant broke: that run stops, loudly; it is our bug

Every message says what happened, to which workflow, and what to do next; the code in brackets finds its manual page.
"""

from __future__ import annotations


class DBOSCompatError(Exception):
    """Base of everything that this project raises by itself."""

    code = "DC000"

    def __init__(self, message: str) -> None:
        super().__init__(f"{message} [{self.code}]")


class Expected(DBOSCompatError):
    """Handled by the engine; safe to repeat."""

    code = "DC100"


class StoreUnavailable(Expected):
    """The database did not answer or went away in the middle. Repeat."""

    code = "DC101"


class LeaseLost(Expected):
    """This process was thought dead (its lease lapsed); its runs may go on elsewhere."""

    code = "DC102"


class Theirs(DBOSCompatError):
    """Input, code or configuration of the user that cannot work."""

    code = "DC200"


class BadCommit(Theirs):
    """The database refuses a value (a NUL byte in a text, a row too large). Nothing was written."""

    code = "DC201"


class SchemaTooNew(Theirs):
    """The schema was made by a newer release of dbos-compat."""

    code = "DC202"


class SchemaMissing(Theirs):
    """The schema is not there and may not be created."""

    code = "DC203"


class ApplicationMismatch(Theirs):
    """Another application lives in this schema."""

    code = "DC204"


class BadDatabaseURL(Theirs):
    """The URL is not one that we can connect to."""

    code = "DC205"


class PayloadTooLarge(Theirs):
    """A payload exceeds the configured limit."""

    code = "DC206"


class Ours(DBOSCompatError):
    """An invariant of the engine does not hold. Please report it."""

    code = "DC900"
