"""A contender of the part ``operations`` that only says what one would say, by the name of the operation."""

import os
import sys
import time

from benchmarks.protocol import Job, emit


def main(job: Job) -> None:
    for name in job.operations:
        emit("doing", operation=name)
        match name:
            case "burst":
                emit("operation-failed", operation=name, error="out of order")
            case "timer":
                sys.exit("the engine fell over")
            case "history" if job.mode == "recover":
                emit("operation", operation=name, figures={"recover_seconds": 2.0, "pid": os.getpid()})
            case _:
                print("the engine's own words")
                emit("operation", operation=name, figures={"p50_ms": 1.0, "pid": os.getpid()})
    emit("done")
    time.sleep(60)  # until it is killed


if __name__ == "__main__":
    main(Job.from_argv())
