"""Failpoints do what they are armed to do, at the hit that was named, and nothing when they are not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import dbos_core
from dbos_core import failpoints
from dbos_core.errors import StoreUnavailable
from dbos_core.failpoints import FailpointError

PROGRAM = """
from dbos_core import failpoints
for n in range(5):
    failpoints.hit("writer.before_flush")
    print(n, flush=True)
"""


@pytest.fixture(autouse=True)
def nothing_stays_armed():
    yield
    failpoints.disarm()


def run_program(setting: str) -> subprocess.CompletedProcess[str]:
    core = str(Path(dbos_core.__file__).parent.parent)
    environment = os.environ | {failpoints.ENVIRONMENT: setting, "PYTHONPATH": core}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=30, check=False
    )


def test_a_place_that_is_not_armed_does_nothing():
    failpoints.hit("timer.ring")


def test_an_armed_place_acts_at_the_hit_that_was_named_and_once():
    hits = []
    with failpoints.armed("timer.ring", lambda: hits.append("!"), at=3) as point:
        for _ in range(5):
            failpoints.hit("timer.ring")
            hits.append(".")

    assert hits == [".", ".", "!", ".", ".", "."]
    assert point.hits == 5
    failpoints.hit("timer.ring")
    assert point.hits == 5, "disarmed with its block"


def test_a_place_may_act_at_every_hit_from_then_on():
    hits = []
    with failpoints.armed("timer.ring", lambda: hits.append("!"), at=2, onwards=True):
        for _ in range(4):
            failpoints.hit("timer.ring")

    assert hits == ["!"] * 3


def test_a_place_may_raise_what_the_test_gives_it():
    with failpoints.armed("writer.after_flush", StoreUnavailable("gone")):
        with pytest.raises(StoreUnavailable, match="gone"):
            failpoints.hit("writer.after_flush")
        failpoints.hit("writer.after_flush")


def test_other_places_are_left_alone():
    with failpoints.armed("writer.after_flush", FailpointError("no")):
        failpoints.hit("writer.before_flush")


def test_places_are_armed_from_a_line_of_text():
    failpoints.arm_from("writer.before_flush=raise@2; mail.received=raise:StoreUnavailable@1+;")

    failpoints.hit("writer.before_flush")
    with pytest.raises(FailpointError, match=r"writer\.before_flush"):
        failpoints.hit("writer.before_flush")
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match=r"mail\.received"):
            failpoints.hit("mail.received")


@pytest.mark.parametrize(
    "text",
    [
        "writer.befor_flush=kill",
        "writer.before_flush",
        "writer.before_flush=explode",
        "writer.before_flush=kill@",
        "writer.before_flush=kill@soon",
        "writer.before_flush=kill@0",
        "writer.before_flush=pause:long",
        "writer.before_flush=raise:NoSuchError",
    ],
)
def test_a_line_that_means_nothing_is_refused(text):
    with pytest.raises(ValueError, match=r"failpoint|FAILPOINTS"):
        failpoints.arm_from(text)


def test_kill_ends_the_process_at_that_very_place():
    done = run_program("writer.before_flush=kill@3")

    assert done.returncode == -signal.SIGKILL
    assert done.stdout.split() == ["0", "1"]


def test_raise_in_a_program():
    done = run_program("writer.before_flush=raise@2")

    assert done.returncode == 1
    assert done.stdout.split() == ["0"]
    assert "FailpointError" in done.stderr


def test_without_the_setting_a_program_runs_through():
    done = run_program("")

    assert (done.returncode, done.stdout.split()) == (0, ["0", "1", "2", "3", "4"])


def test_a_misspelt_setting_stops_the_program():
    done = run_program("writer.befor_flush=kill")

    assert done.returncode == 1
    assert "writer.before_flush" in done.stderr


def test_pause_holds_the_thread():
    failpoints.arm_from("timer.ring=pause:30")
    before = time.monotonic()

    failpoints.hit("timer.ring")

    assert time.monotonic() - before >= 0.03
