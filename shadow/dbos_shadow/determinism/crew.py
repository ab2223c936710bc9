"""Crew: what all schedules of one plan share. Stages to live on, values for payloads, endings for attempts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.bridge.proto import ActivityTaskCompletion
from temporalio.converter import PayloadCodec

from dbos_compat.bridge.activity_tasks import outcome_of
from dbos_compat.convert.answers import answer
from dbos_compat.private_definitions import handler
from dbos_core.activities.spec import AttemptOutcome
from dbos_shadow.determinism.callers import stamped
from dbos_shadow.determinism.checked import Checks
from dbos_shadow.determinism.children import PREFIX, StubbedChild
from dbos_shadow.determinism.clocks import START_MS
from dbos_shadow.determinism.decoded import decoded
from dbos_shadow.determinism.loop import stepped_loop
from dbos_shadow.determinism.plan import Message, Plan
from dbos_shadow.determinism.stage import IDENTITY, Stage
from dbos_shadow.determinism.stubs import Raises, Returns, Stub
from dbos_shadow.determinism.values import ABSENT, NoValues, OrAbsent, pool, positional


@dataclass(frozen=True, slots=True)
class ReadyEnding:
    """One way for an attempt to end. Without an outcome it hangs."""

    outcome: AttemptOutcome | None
    text: str

    @property
    def hangs(self) -> bool:
        return self.outcome is None

    def fresh(self) -> AttemptOutcome:
        assert self.outcome is not None
        return replace(self.outcome)


HANGS = ReadyEnding(None, "")
BEATS = ReadyEnding(None, "but heartbeats")
HOPELESS = ReadyEnding(None, "nor will any attempt after it")


PROVING = 30


class Crew:
    """Made once per plan, and closed with :meth:`close`."""

    def __init__(self, plan: Plan) -> None:
        """
        Raises:
            BadPlan: something has no value that the data converter takes.
        """
        self.plan = plan
        self.unchecked: list[str] = []
        """What no schedule will try, and why."""
        self._refusal = ""
        """What the data converter said last."""
        self.proving = PROVING
        """So many more times a run's follower begins anew before it replays what is new."""
        self._stages: dict[tuple[str, bool], Stage] = {}
        self._endings: dict[str, tuple[ReadyEnding, ...] | None] = {}
        self._scratch = stepped_loop(lambda: START_MS)
        try:
            self._converter = self.stage("first").client.data_converter
            run = plan.definition.run
            self.args = self._pools(plan.args, run, "run", "args=[...]")
            self.message_args: dict[str, list[list[Any]]] = {}
            for message in plan.messages:
                handles = None if message.target is None else handler(message.target).function
                whose = f"{message.kind} {message.name}"
                self.message_args[whose] = self._pools(message.args, handles, whose, "sends(handler, ...)")
            for name in (*plan.activities, *(PREFIX + child for child in plan.children)):
                self.endings(name)
            self.canceled = ReadyEnding(self._canceled(), "reports that it was canceled")
        except BaseException:
            self.close()
            raise

    def stage(self, name: str, *, new_code: bool = False) -> Stage:
        """A stage by name: with the workflow under test, or with the code that takes over."""
        found = self._stages.get((name, new_code))
        if found is None:
            plan = self.plan
            tested = plan.then if new_code else plan.definition
            assert tested is not None
            children = [child for child in plan.real_children if child is not plan.definition.cls]  # it may be its own
            workflows = [tested.cls, *children, StubbedChild]
            found = self._stages[name, new_code] = Stage(
                workflows, client_options=plan.client_options, worker_options=plan.worker_options, stamp=stamped
            )
        return found

    def close(self) -> None:
        for stage in self._stages.values():
            stage.close()
        self._stages.clear()

    # -- endings ---------------------------------------------------------------------------------------------------

    def endings(self, activity_type: str) -> tuple[ReadyEnding, ...] | None:
        """How attempts of this activity may end, the boring way first. None: nobody said."""
        if activity_type not in self._endings:
            stub = self._stub(activity_type)
            self._endings[activity_type] = None if stub is None else self._ready(activity_type, stub)
        return self._endings[activity_type]

    def _stub(self, activity_type: str) -> Stub | None:
        plan = self.plan
        if activity_type.startswith(PREFIX):
            return plan.children.get(activity_type.removeprefix(PREFIX))
        stub = plan.activities.get(activity_type)
        if stub is None and plan.fallback is not None:
            stub = plan.fallback(activity_type)
            if stub is not None and not isinstance(stub, Stub):
                raise Checks(plan.definition).no_stub(f"fallback({activity_type!r})", stub)
        return stub

    def _ready(self, activity_type: str, stub: Stub) -> tuple[ReadyEnding, ...]:
        boring: list[ReadyEnding] = []
        others: list[ReadyEnding] = []
        for ending in stub.endings:
            if isinstance(ending, Returns):
                ready = [self._completed(value) for value in self._returned(activity_type, ending.values)]
            elif isinstance(ending, Raises):
                ready = [self._failed(ending.error)]
            else:
                ready = [HANGS]
            boring.append(ready[0])
            others += ready[1:]
        if stub.hangs and HANGS not in boring:
            boring.append(HANGS)
        return (*boring, *others)

    def _completed(self, value: Any) -> ReadyEnding:
        completion = ActivityTaskCompletion()
        completion.result.completed.result.CopyFrom(self._payload(value))
        return self._ending(completion, "")

    def _failed(self, error: BaseException) -> ReadyEnding:
        completion = ActivityTaskCompletion()
        failure = completion.result.failed.failure
        self._run(self._converter.encode_failure(error, failure))
        final = "; not to be tried again" if failure.application_failure_info.non_retryable else ""
        return self._ending(completion, f"{getattr(error, 'type', None) or type(error).__name__}{final}")

    def _canceled(self) -> AttemptOutcome:
        completion = ActivityTaskCompletion()
        completion.result.cancelled.failure.message = "Cancelled"
        completion.result.cancelled.failure.canceled_failure_info.SetInParent()
        outcome = outcome_of(completion, IDENTITY)
        assert outcome is not None
        return outcome

    def _ending(self, completion: ActivityTaskCompletion, text: str) -> ReadyEnding:
        return ReadyEnding(outcome_of(completion, IDENTITY), text)

    @property
    def codec(self) -> PayloadCodec | None:
        """By which payloads in records can be read."""
        return self._converter.payload_codec

    def decoded(self, record: Any) -> Any:
        """A record as it would be without a codec."""
        return record if self.codec is None else self._run(decoded(record, self.codec))

    def answer(self, text: str) -> tuple[Any, ...]:
        """A query's answer such that two that mean the same are the same: a codec may write one in many ways."""
        found = answer(text)
        if found.failure is not None:
            error = self._run(self._converter.decode_failure(found.failure))
            return type(error).__name__, getattr(error, "type", None), str(error)
        payloads = found.payloads if self.codec is None else self._run(self.codec.decode(found.payloads))
        return tuple((sorted(p.metadata.items()), p.data) for p in payloads)

    # -- values ----------------------------------------------------------------------------------------------------

    def _run(self, work: Any) -> Any:
        return self._scratch.run(work)

    def _payload(self, value: Any) -> Payload:
        payloads: Sequence[Payload] = self._run(self._converter.encode([value]))
        return payloads[0]

    def _pools(self, sources: Sequence[Any], function: Any, whose: str, how: str) -> list[list[Any]]:
        """For each argument of something the values that it may have. ``how``: a user gives others."""
        parameters = [] if function is None else [p.name for p in positional(function, skip_first=True)]
        found: list[list[Any]] = []
        for index, source in enumerate(sources):
            parameter = repr(parameters[index]) if index < len(parameters) else str(index + 1)
            try:
                found.append(self._pool(source))
            except NoValues as error:
                what = f"there is no value for parameter {parameter} of {whose}: {error}"
                if not isinstance(source, OrAbsent):
                    raise Checks(self.plan.definition).wrong(
                        f"{what}. Say what it may be, by {how} of a determinism test: values, or Hypothesis strategies."
                    ) from None
                self.unchecked.append(what)
                found.append([ABSENT])
        return found

    def _returned(self, activity_type: str, source: Any) -> list[Any]:
        child = activity_type.startswith(PREFIX)
        name, option = activity_type.removeprefix(PREFIX), "children" if child else "activities"
        try:
            return self._pool(source)
        except NoValues as error:
            raise Checks(self.plan.definition).wrong(
                f"there is nothing that {'child' if child else 'activity'} {name!r} could return: {error}. Give it a stub of "
                f'your own, by {option}={{"{name}": returns(...)}} of a determinism test.'
            ) from None

    def _pool(self, source: Any) -> list[Any]:
        self._refusal = ""
        try:
            return pool(source, self._travels, self._comes_back)
        except NoValues as error:
            raise NoValues(f"{error}{self._refusal}") from None

    def _travels(self, value: Any) -> bool:
        try:
            self._payload(value)
        except Exception as error:  # the user's converter refuses it
            self._refusal = f" ({type(error).__name__}: {error})"
            return False
        return True

    def _comes_back(self, value: Any, type_: Any) -> bool:
        try:
            self._run(self._converter.decode([self._payload(value)], [type_]))
        except Exception:  # NaN is a Decimal, and the user's converter may read none
            return False
        return True

    def values(self, message: Message) -> list[list[Any]]:
        """For each argument of a message the values that it may have."""
        return self.message_args[f"{message.kind} {message.name}"]
