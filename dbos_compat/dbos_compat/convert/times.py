"""Milliseconds ⇄ protobuf times. Whole milliseconds: what the database keeps."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp


def timestamp(ms: int) -> Timestamp:
    seconds, rest = divmod(ms, 1000)
    return Timestamp(seconds=seconds, nanos=rest * 1_000_000)


def duration(ms: int) -> Duration:
    seconds, rest = divmod(ms, 1000)
    return Duration(seconds=seconds, nanos=rest * 1_000_000)


def duration_ms(value: Duration) -> int:
    """Rounded up, so that a timeout of a microsecond is not "none"."""
    return value.seconds * 1000 - (-value.nanos // 1_000_000)


def timestamp_ms(value: Timestamp) -> int:
    return value.seconds * 1000 + value.nanos // 1_000_000
