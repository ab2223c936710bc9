"""What the SDK knows of an activity's function, looked up quicker.

Each time that a workflow starts an activity, the SDK makes a copy of what the decorator has noted, for the case that the
callable is not what was decorated (a bound method, say). Where it is, the copy is the same as the original.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from temporalio import activity

_NOTED = "__temporal_activity_definition"
_copied = activity._Definition.from_callable


def install() -> None:
    """Copy only where that makes a difference. Call once per process."""
    activity._Definition.from_callable = staticmethod(_of)  # type: ignore[method-assign]


def _of(fn: Callable[..., Any]) -> activity._Definition | None:
    noted = getattr(fn, _NOTED, None)
    if type(noted) is activity._Definition and noted.fn is fn and noted.arg_types is not None:
        return noted
    return _copied(fn)
