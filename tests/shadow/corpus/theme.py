"""Theme: workflows and activities of one subject, and the scenes that are played with them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from temporalio.converter import DataConverter

if TYPE_CHECKING:
    from tests.shadow.corpus.stage import Stage

Thing = TypeVar("Thing", bound=Callable[..., Any])
Play = Callable[["Stage"], Awaitable[None]]


@dataclass(slots=True)
class Theme:
    """One subject: one task queue, one worker."""

    name: str
    data_converter: DataConverter = field(default_factory=lambda: DataConverter.default)
    interceptors: tuple[Any, ...] = ()
    """Of the client; those that are for workers too are handed on by the SDK."""
    worker_options: Mapping[str, Any] = field(default_factory=dict)
    workflows: list[type[Any]] = field(default_factory=list)
    activities: list[Callable[..., Any]] = field(default_factory=list)
    scenes: dict[str, Play] = field(default_factory=dict)
    sandboxed: bool = False

    def workflow(self, definition: Thing) -> Thing:
        """Register a workflow class."""
        assert isinstance(definition, type)
        self.workflows.append(definition)
        return definition

    def activity(self, function: Thing) -> Thing:
        """Register an activity."""
        self.activities.append(function)
        return function

    def scene(self, play: Play) -> Play:
        """Register what is done with the workflows of this theme; its name is the function's."""
        return self.named(getattr(play, "__name__", "scene"), play)

    def named(self, name: str, play: Play) -> Play:
        assert name not in self.scenes, f"{self.name} has two scenes {name}"
        self.scenes[name] = play
        return play

    def runs(self, name: str, run: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        """Register a scene that starts a workflow and waits for its end, whatever it is."""

        async def play(stage: Stage) -> None:
            await stage.end(await stage.start(run, *arguments, **options))

        self.named(name, play)
