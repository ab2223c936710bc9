"""What a reader has to know about the machine to judge the numbers."""

import os
import platform
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path

import psutil

from benchmarks.environments import CACHE

VOLATILE_FILESYSTEMS = ("tmpfs", "ramfs")


def describe_machine() -> dict[str, str | int | float]:
    """Processor, memory, disk, system, and how busy the machine was with other things at the start."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count() or 0,
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "filesystem": filesystem(CACHE),
        "load_at_start": round(psutil.getloadavg()[0], 2),
    }


def describe_run() -> dict[str, str | dict[str, str | int | float]]:
    """Machine, date and command: what stands beside every number."""
    return {
        "machine": describe_machine(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": " ".join(["python -m benchmarks", *map(shlex.quote, sys.argv[1:])]),
    }


def filesystem(path: Path) -> str:
    """The type of the file system that holds this path; on a volatile one no commit is durable."""
    target = str(path.resolve())
    mounts = [part for part in psutil.disk_partitions(all=True) if target.startswith(part.mountpoint)]
    return max(mounts, key=lambda part: len(part.mountpoint)).fstype if mounts else "unknown"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
