"""Tracing: the headers in which tracers hand on their context. They are of the day, and not of the workflow. Pure.

A tracer makes its ids anew in every process, and most write none while a history is replayed: Temporal's own interceptor
for OpenTelemetry adds no header then. So they differ wherever a tracer is used, whatever the code does.
"""

from __future__ import annotations

__all__ = ["HEADERS", "is_tracing"]

HEADERS = ("_tracer-data", "_dd-trace-data")
"""OpenTelemetry's (``temporalio.contrib.opentelemetry``, every SDK's default), and Datadog's."""

_NAMES = tuple(f"headers.{header}" for header in HEADERS)


def is_tracing(part: str) -> bool:
    """Is this the name of such a header among a step's values (``trace.Named``), or a place inside of it?"""
    return any(part == name or part.startswith((f"{name}.", f"{name}[")) for name in _NAMES)
