"""Decoded: records as they would be without a codec. One that encrypts writes the same value differently each time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from temporalio.converter import PayloadCodec

from dbos_compat.convert.payloads import payload, payloads_text


async def decoded(value: Any, codec: PayloadCodec | None) -> Any:
    """A record, or a part of it, with its payloads decoded.

    Args:
        value: parsed JSON.
        codec: of the user's data converter; without one nothing changes.
    """
    if codec is None:
        return value
    if isinstance(value, list):
        return [await decoded(item, codec) for item in value]
    if not isinstance(value, Mapping):
        return value
    if not {"m", "d"} <= value.keys():
        return {key: await decoded(item, codec) for key, item in value.items()}
    try:
        return json.loads(payloads_text(await codec.decode([payload(value)])))
    except Exception:
        return value  # whoever reads it will say so
