"""Which releases of temporalio work, and how it is said when one does not.

The names that we touch are in ``private``; here is what is known of releases, and the check, which names the release that
moved a name: everything was where we look for it from the first supported release to the last, so a name that is gone
was moved by the release that is installed, or by one between the last supported one and that.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

import temporalio.service

SDK_VERSION: str = temporalio.service.__version__
"""Of the installed release."""

SUPPORTED = ((1, 31), (1, 35))
"""First and last minor release that work."""

TESTED = ("1.31", "1.35")
"""Minor releases that the test-suite runs with."""


class UnsupportedTemporalio(ImportError):
    """This release of temporalio keeps a name elsewhere, or is too old."""


class Name(NamedTuple):
    """Something of the SDK that we use."""

    owner: Any
    name: str
    parameters: tuple[str, ...] | None = None
    """Of a function: what we call it with; None: not looked at."""

    @property
    def path(self) -> str:
        kind = self.owner if hasattr(self.owner, "__name__") else type(self.owner)
        inside = getattr(kind, "__module__", None)
        where = kind.__name__ if inside is None else f"{inside}.{kind.__name__}"
        return f"{where}.{self.name}"

    def complaint(self) -> str | None:
        """What is wrong with it in the installed release."""
        found = getattr(self.owner, self.name, None)
        if found is None:
            return f"{self.path} is gone"
        if self.parameters is not None:
            parameters = tuple(inspect.signature(found).parameters)
            if parameters != self.parameters:
                return f"{self.path} takes ({', '.join(parameters)}) and no longer ({', '.join(self.parameters)})"
        return None


def minor(version: str) -> tuple[int, int]:
    first, second, *_ = version.split(".")
    return int(first), int(second)


def dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def verify(names: Sequence[Name], version: str = SDK_VERSION) -> None:
    """Is everything where we look for it?

    Raises:
        UnsupportedTemporalio: with every name that is not, and the release that moved it.
    """
    installed = minor(version)
    first, last = SUPPORTED
    if installed < first:
        raise UnsupportedTemporalio(
            f"temporalio {version} is older than {dotted(first)}, the first release that dbos-compat supports. "
            f"{_remedy()}"
        )
    complaints = [text for name in names if (text := name.complaint()) is not None]
    if not complaints:
        return
    if installed <= last:
        who = f"This is not temporalio {version} as it was released: another package has changed it."
    elif installed == (last[0], last[1] + 1):
        who = f"temporalio {dotted(installed)} moved this."
    else:
        who = f"A release after {dotted(last)}, up to the installed {version}, moved this."
    raise UnsupportedTemporalio(
        f"dbos-compat cannot run on temporalio {version}: {'; '.join(complaints)}. {who} {_remedy()}"
    )


def untested(version: str = SDK_VERSION) -> str | None:
    """A warning about a release that is newer than all we know."""
    if minor(version) <= SUPPORTED[1]:
        return None
    return (
        f"temporalio {version} is newer than {dotted(SUPPORTED[1])}, the last release that dbos-compat was tested with"
    )


def _remedy() -> str:
    first, last = map(dotted, SUPPORTED)
    return f"Supported are {first} to {last}: install one of these (pip install 'temporalio=={last}.*'), or a newer dbos-compat."
