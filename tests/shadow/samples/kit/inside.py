"""Explore the workflow classes of one file of the checkout.

    python -P -m tests.shadow.samples.kit.inside --samples CHECKOUT --schedules 10000 hello/hello_signal.py

Prints a line of JSON for each.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

from dbos_shadow.determinism import DeterminismError, Profile, check_workflow
from dbos_shadow.determinism.elsewhere import Reference
from dbos_shadow.determinism.story import story
from tests.fixtures.process import REPOSITORY
from tests.shadow.samples.kit.plans import PLANS, WITHOUT, workflows_in
from tests.shadow.samples.kit.told import KNOWN

WITHIN_S = 3_600.0
"""For one workflow: a machine may be busy."""


def explore(place: str, schedules: int) -> dict[str, Any]:
    """What came of one plan."""
    how = Profile(name="samples", schedules=schedules, seconds=WITHIN_S, replayer_every=500, hash_seeds=2)
    begun = time.monotonic()
    try:
        explored = check_workflow(
            PLANS[place], profile=how, reference=Reference(PLANS.__module__, None, "PLANS", key=place)
        )
    except DeterminismError as error:
        return {"rule": error.rule.value, "what": error.what, "story": story(error, width=100)}
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}"}
    return {
        "schedules": explored.schedules,
        "tasks": explored.steps,
        "replayed": explored.replayed,
        "elsewhere": explored.elsewhere,
        "unchecked": explored.unchecked,
        "seconds": round(time.monotonic() - begun, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=Path, required=True)
    parser.add_argument("--schedules", type=int, required=True)
    parser.add_argument("file")
    options = parser.parse_args()
    samples = options.samples.resolve()
    # The checkout has a package `tests`, too.
    sys.path[:0] = [str(REPOSITORY), str(samples), str((samples / options.file).parent)]
    logging.disable(logging.CRITICAL)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # a sample may print what it likes
    try:
        names = workflows_in(options.file)
    except Exception as error:
        answers.write(json.dumps({"failed": f"{type(error).__name__}: {error}"}) + "\n")
        return
    for name in names:
        place = f"{options.file}:{name}"
        answer = explore(place, options.schedules)
        if "rule" in answer and place in KNOWN:
            answer["without"] = explore(place + WITHOUT, options.schedules)
        answers.write(json.dumps({"workflow": name, **answer}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
    os._exit(0)  # a sample's own threads and pools are no concern of ours
