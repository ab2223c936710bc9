"""Alike: are two values the same, though their bytes differ? Whoever has made them is asked: the user's payload converter."""

from __future__ import annotations

from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadConverter

from dbos_shadow.parts import Alike
from dbos_shadow.trace import Opaque

__all__ = ["alike_by"]


def alike_by(converter: PayloadConverter) -> Alike:
    """Compares what a converter of the user's own reads from two payloads of an encoding of its own.

    It cannot tell when the converter does not know the encoding, fails to read it without a type, or reads objects that
    have no equality.
    """

    def alike(mine: Opaque, theirs: Opaque) -> bool | None:
        encoding = mine.encoding.encode()
        try:
            one, other = (
                converter.from_payload(Payload(metadata={"encoding": encoding}, data=side.data))
                for side in (mine, theirs)
            )
            tellable = "__eq__" in {name for kind in type(one).__mro__[:-1] for name in vars(kind)}
            return bool(one == other) if tellable else None
        except Exception:  # the user's code
            return None

    return alike
