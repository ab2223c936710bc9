"""Programs from chance: the same seed gives the same program.

Steps and deeds are drawn so that what happens has one order: branches that race are left to hand-written tests.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from .script import Step

VALUES: list[Any] = ["text", "", 0, -1, 2.5, True, None, [], [1, "two", None], {"a": {"b": [1]}}, "ünï ©ode ✓", 2**53]
WORDS = ["red", "green", ""]


@dataclass(frozen=True)
class Deed:
    """What the driver does when the workflow has reached a meeting."""

    name: str
    arguments: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class Program:
    """What the workflow runs, and what its driver does meanwhile."""

    seed: int
    steps: list[Step]
    deeds: list[Deed]
    children: int
    options: dict[str, Any]
    """Of the start."""


class _Maker:
    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.deeds: list[Deed] = []
        self.over = False
        """A deed ends the workflow: no meeting comes after it."""
        self.children = 0
        self.patches = 0

    def value(self) -> Any:
        return self.chance.choice(VALUES)

    def block(self, depth: int, size: int, *, child: bool = False) -> list[Step]:
        return [self.step(depth, child=child) for _ in range(self.chance.randint(1, size))]

    def step(self, depth: int, *, child: bool = False) -> Step:
        kinds = ["echo"] * 4 + ["sleep"] * 2 + ["say", "third_time", "facts", "upsert", "details", "patched", "local"]
        kinds += ["caught_fail", "caught_fail", "cancel_timer", "cancel_activity"]
        if not child and not self.over:
            kinds += ["meet"] * 5
        if depth:
            kinds += ["caught", "finally", "within"]
            if not child:
                kinds += ["child"] * 2 + ["leave_child", "tell_child", "tell_nobody"]
        return self.made(self.chance.choice(kinds), depth, child)

    def made(self, kind: str, depth: int, child: bool) -> Step:
        chance = self.chance
        match kind:
            case "echo" | "say" | "third_time" | "local":
                return [kind, self.value()]
            case "sleep":
                return [kind, chance.choice([0, 1, 5, 20])]
            case "upsert":
                if chance.random() < 0.5:
                    return ["upsert_memo", chance.choice(["a", "b"]), self.value()]
                return ["upsert_attributes", chance.choice([None, 1, 7]), chance.choice([None, *WORDS])]
            case "details":
                return [kind, chance.choice(["first details", "second details"])]
            case "patched":
                self.patches += 1
                return [kind, f"patch-{self.patches}"]
            case "caught_fail":
                return ["caught", [self.failing()]]
            case "cancel_activity":
                kinds = [
                    ("try", "raise"),
                    ("wait", "raise"),
                    ("wait", "return"),
                    ("wait", "fail"),
                    ("abandon", "raise"),
                ]
                return [kind, *chance.choice(kinds[:4])]
            case "caught":
                return [
                    kind,
                    self.block(depth - 1, 2, child=child) + ([self.failing()] if chance.random() < 0.5 else []),
                ]
            case "finally":
                return [kind, self.block(depth - 1, 2, child=child), [["say", "at last"]]]
            case "within":
                return [kind, 3_600_000, self.block(depth - 1, 2, child=child)]
            case "child":
                self.children += 1
                number = self.children
                return ["caught", [["child", self.block(depth - 1, 2, child=True) + self.end(child=True), number]]]
            case "leave_child":
                self.children += 1
                return [kind, chance.choice(["TERMINATE", "REQUEST_CANCEL", "ABANDON"]), self.children]
            case "tell_child":
                self.children += 1
                return [kind, self.children, self.value()]
            case "meet":
                return self.meeting()
        return [kind]

    def failing(self) -> Step:
        return self.chance.choice(
            [
                ["fail", "no way", True],
                ["fail", "not now", False],
                ["slow"],
                ["raise", "thrown", self.chance.random() < 0.5],
            ]
        )

    def meeting(self) -> Step:
        chance = self.chance
        kind = chance.choice(["tell"] * 3 + ["tell_slowly"] + ["change"] * 3 + ["cancel", "terminate", "stay"])
        match kind:
            case "tell" | "tell_slowly":
                self.deeds.append(Deed(kind, [self.value()]))
            case "change":
                self.deeds.append(Deed(kind, [self.value(), chance.choice(["", "work", "sleep", "fail", "refuse"])]))
            case _:
                self.over = True
                self.deeds.append(Deed(kind))
        return ["meet", len(self.deeds)]

    def end(self, *, child: bool = False) -> list[Step]:
        roll = self.chance.random()
        if roll < 0.2:
            return [self.failing()]
        if roll < 0.3:
            return [["continue_as_new"], *self.block(0, 2, child=True)]
        return []


def program(seed: int) -> Program:
    """The program of that number."""
    maker = _Maker(seed)
    steps = maker.block(2, 5)
    steps += maker.end(child=maker.over)
    options: dict[str, Any] = {}
    chance = maker.chance
    if chance.random() < 0.3:
        options["memo"] = {"started": maker.value(), "b": 1}
    if chance.random() < 0.2:
        options["run_timeout_s"] = 600
    if chance.random() < 0.2:
        options["summary"] = "made up"
    if chance.random() < 0.3:
        options["attribute"] = chance.choice(WORDS[:2])
    if not maker.deeds and not maker.children and chance.random() < 0.3:
        options["attempts"] = chance.choice([1, 2, 3])
    return Program(seed, steps, maker.deeds, maker.children, options)
