"""Who is who when a workflow was ported by hand: the names that Temporal has recorded → the names that it has now. Pure.

What is not named keeps its name. In YAML::

    workflows:  {OrderWorkflow: Order}
    activities: {charge_card: charge, send_mail_v2: send_mail}
    signals:    {approve_order: approve}
    updates:    {change_address: set_address}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dbos_core.errors import Theirs
from dbos_shadow.trace import Arrival, ArrivalKind, Step, StepKind, Trace

__all__ = ["BadNames", "NameMap"]


class BadNames(Theirs):
    """The name map cannot be understood."""

    code = "DC411"


@dataclass(frozen=True, slots=True, kw_only=True)
class NameMap:
    """Recorded name → name now."""

    workflows: Mapping[str, str] = field(default_factory=dict)
    """Of the workflow itself and of its children."""
    activities: Mapping[str, str] = field(default_factory=dict)
    """Local activities too."""
    signals: Mapping[str, str] = field(default_factory=dict)
    """To the workflow, and from it to others."""
    updates: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_yaml(cls, text: str) -> NameMap:
        """Read a map.

        Raises:
            BadNames: it is no map of names, or it has a section that nobody knows.
            ModuleNotFoundError: PyYAML is not installed.
        """
        try:
            import yaml  # of the extra "shadow"
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                'Name maps in YAML need PyYAML: pip install "dbos-compat[shadow]", or give a NameMap in Python.'
            ) from error
        try:
            read = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise BadNames(f"The name map is not YAML: {error}") from error
        return cls.of({} if read is None else read)

    @classmethod
    def from_file(cls, path: str | Path) -> NameMap:
        """Read a map from a YAML file. Raises OSError, and as ``from_yaml``."""
        return cls.from_yaml(Path(path).read_text(encoding="utf-8"))

    @classmethod
    def of(cls, read: Any) -> NameMap:
        """A map from plain values. Raises BadNames."""
        if not isinstance(read, Mapping):
            raise BadNames(f"A name map has the sections {', '.join(_SECTIONS)}; this is a {type(read).__name__}.")
        for section, names in read.items():
            if section not in _SECTIONS:
                raise BadNames(f"A name map has no section {section!r}, only {', '.join(_SECTIONS)}.")
            if not isinstance(names, Mapping) or not all(
                isinstance(one, str) for pair in names.items() for one in pair
            ):
                raise BadNames(f"Section {section!r} of the name map has to map recorded names to names, both text.")
            if len(set(names.values())) < len(names):
                raise BadNames(f"Section {section!r} of the name map gives two recorded names the same new one.")
        return cls(**read)

    # -- applying it -----------------------------------------------------------------------------------------------

    def name(self, kind: str, recorded: str) -> str:
        """The name now of a recorded step or message of this kind."""
        names = _OF_KIND.get(kind)
        return recorded if names is None else getattr(self, names).get(recorded, recorded)

    def renamed(self, trace: Trace) -> Trace:
        """A recorded trace, in the names of now."""
        return replace(
            trace,
            workflow_type=self.workflows.get(trace.workflow_type, trace.workflow_type),
            steps=tuple(self._step(step) for step in trace.steps),
            arrivals=tuple(self._arrival(arrival, trace) for arrival in trace.arrivals),
        )

    def _step(self, step: Step) -> Step:
        name = self.name(step.kind.value, step.name)
        return step if name == step.name else replace(step, name=name)

    def _arrival(self, arrival: Arrival, trace: Trace) -> Arrival:
        kind = arrival.kind.value if arrival.step is None else trace.steps[arrival.step].kind.value
        name = self.name(kind, arrival.name)
        return arrival if name == arrival.name else replace(arrival, name=name)


_SECTIONS = ("workflows", "activities", "signals", "updates")

_OF_KIND: dict[str, str] = {
    StepKind.ACTIVITY: "activities",
    StepKind.LOCAL_ACTIVITY: "activities",
    StepKind.CANCEL_ACTIVITY: "activities",
    StepKind.CHILD: "workflows",
    StepKind.CANCEL_CHILD: "workflows",
    StepKind.CONTINUE_AS_NEW: "workflows",
    StepKind.SIGNAL_EXTERNAL: "signals",
    StepKind.UPDATE_ACCEPTED: "updates",
    StepKind.UPDATE_COMPLETED: "updates",
    ArrivalKind.SIGNAL: "signals",
    ArrivalKind.UPDATE: "updates",
}
