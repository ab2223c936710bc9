"""The random seed of a run, as Temporal's Rust core makes it: what ``workflow.random()`` and ``uuid4()`` give is the same."""

from __future__ import annotations

import importlib
import struct
from collections.abc import Callable

_M64 = 0xFFFFFFFFFFFFFFFF


def seed(run_id: str) -> int:
    """Temporal's random seed of a run: SipHash-1-3 with zero keys over the run id and 0xFF (temporal-seam §1.9)."""
    return _siphash(run_id.encode() + b"\xff")


def _siphash_13(data: bytes) -> int:
    """Written out in one loop: where the interpreter does not lend its own, this runs for every workflow."""
    size = len(data)
    padded = data + bytes(-(size + 1) % 8)
    words = list(struct.unpack(f"<{(len(padded) + 1) // 8}Q", padded + bytes([size & 0xFF])))
    v0, v1, v2, v3 = 0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573
    last = len(words)
    for index, word in enumerate((*words, 0, 0, 0)):
        if index == last:  # three more rounds finish it
            v2 ^= 0xFF
        v3 ^= word
        v0 = (v0 + v1) & _M64
        v1 = (((v1 << 13) | (v1 >> 51)) & _M64) ^ v0
        v0 = ((v0 << 32) | (v0 >> 32)) & _M64
        v2 = (v2 + v3) & _M64
        v3 = (((v3 << 16) | (v3 >> 48)) & _M64) ^ v2
        v0 = (v0 + v3) & _M64
        v3 = (((v3 << 21) | (v3 >> 43)) & _M64) ^ v0
        v2 = (v2 + v1) & _M64
        v1 = (((v1 << 17) | (v1 >> 47)) & _M64) ^ v2
        v2 = ((v2 << 32) | (v2 >> 32)) & _M64
        v0 ^= word
    return v0 ^ v1 ^ v2 ^ v3


def _the_interpreters_own() -> Callable[[bytes], int] | None:
    """CPython has the same hash for the sources of cached modules, in C and forty times as fast. It promises nobody that it
    stays so, hence it is tried first."""
    keyed = getattr(importlib.import_module("_imp"), "source_hash", None)
    if keyed is None:
        return None

    def siphash(data: bytes) -> int:
        return int.from_bytes(keyed(0, data), "little")

    samples = [bytes(range(length)) for length in (0, 1, 7, 8, 37)]
    try:
        return siphash if all(siphash(sample) == _siphash_13(sample) for sample in samples) else None
    except Exception:  # another signature
        return None


_siphash = _the_interpreters_own() or _siphash_13
