"""SeededEntropy: ids that are the same in every run of a test, so that a failure is found again and shrinks."""

from __future__ import annotations

import random
import uuid


class SeededEntropy:
    """An ``Entropy`` whose uuids follow from a seed. They are valid version 4 UUIDs."""

    def __init__(self, seed: int | str = 0) -> None:
        self._random = random.Random(seed)

    def uuid(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))
