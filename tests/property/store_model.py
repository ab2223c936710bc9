"""What the store contract says, in its simplest form: the oracle that the state machine asks beforehand.

No times, no wakes, no rows: who owns a run, what its journal holds, which messages wait. A verdict follows from that.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dbos_core.commit import IdConflict, IdReuse, RunStatus, StartResult, Verdict

NOW, LATER, NEVER = "now", "later", "never"


@dataclass(kw_only=True)
class Step:
    """What a process wants of a run that it believes to own."""

    run: str
    position: int | None
    text: str
    consume: tuple[str, ...] = ()
    seen: str | None = None
    """Id of the newest message that the process has seen; None: none."""
    close: RunStatus | None = None
    park: str | None = None


@dataclass(kw_only=True)
class Letter:
    run: str
    mail_id: str


@dataclass(kw_only=True)
class Start:
    run: str
    run_id: str
    text: str
    claimed: bool


Change = Step | Letter | Start


@dataclass
class ModelRun:
    workflow_id: str
    run_id: str
    owner: str | None
    due: str | None
    """When it is runnable, while nobody owns it."""
    status: RunStatus = RunStatus.RUNNING
    journal: list[str] = field(default_factory=list)
    mail: list[str] = field(default_factory=list)
    """Everything that was accepted, in order."""
    consumed: list[str] = field(default_factory=list)

    @property
    def open(self) -> bool:
        return self.status is RunStatus.RUNNING

    @property
    def waiting(self) -> list[str]:
        return [mail_id for mail_id in self.mail if mail_id not in self.consumed]

    def unseen(self, newest_seen: str | None) -> bool:
        """Does mail wait that is newer than that?"""
        after = 0 if newest_seen is None else self.mail.index(newest_seen) + 1
        return any(mail_id not in self.consumed for mail_id in self.mail[after:])


class Model:
    """All runs, by uuid."""

    def __init__(self) -> None:
        self.runs: dict[str, ModelRun] = {}
        self.current: dict[str, str] = {}
        self.lapsed: set[str] = set()
        self.telling: set[str] = set()
        """Processes with rows in the outbox: a start by policy ended a run of which others might have to hear."""

    def flush(self, process: str, changes: list[Change], *, again: bool) -> list[Verdict]:
        """Starts first, owners last, as every store does it."""
        ranks = {Start: 0, Letter: 1, Step: 2}
        verdicts: dict[int, Verdict] = {}
        for i in sorted(range(len(changes)), key=lambda i: ranks[type(changes[i])]):
            change = changes[i]
            if isinstance(change, Start):
                verdicts[i] = self._start(process, change, again)
            elif isinstance(change, Letter):
                verdicts[i] = self._letter(change, again)
            else:
                verdicts[i] = self._step(process, change, again)
        return [verdicts[i] for i in range(len(changes))]

    def _start(self, process: str, start: Start, again: bool) -> Verdict:
        known = self.runs.get(start.run)
        if known is not None:
            return Verdict.COMMITTED if again and known.run_id == start.run_id else Verdict.ID_TAKEN
        self.add(process, start, start.run, workflow_id=start.run)
        return Verdict.COMMITTED

    def add(self, process: str, start: Start, uuid: str, *, workflow_id: str) -> None:
        owner, due = (process, None) if start.claimed else (None, NOW)
        journal = [start.text] if start.text else []
        self.runs[uuid] = ModelRun(workflow_id, start.run_id, owner, due, journal=journal)
        self.current[workflow_id] = uuid

    def _letter(self, letter: Letter, again: bool) -> Verdict:
        run = self.runs.get(letter.run)
        known = run is not None and letter.mail_id in run.mail
        if again and known:
            return Verdict.DUPLICATE
        if run is None or not run.open:
            return Verdict.RUN_CLOSED
        if known:
            return Verdict.DUPLICATE
        run.mail.append(letter.mail_id)
        if run.owner is None:
            run.due = NOW
        return Verdict.COMMITTED

    def _step(self, process: str, step: Step, again: bool) -> Verdict:
        run = self.runs.get(step.run)
        if again and run is not None and step.position is not None:
            at = step.position - 1
            if at < len(run.journal) and run.journal[at] == step.text:
                return Verdict.COMMITTED
        if run is None or not run.open or run.owner != process:
            return Verdict.CLAIM_LOST
        if step.position is not None and step.position <= len(run.journal):
            return Verdict.POSITION_LOST
        if (step.close or step.park) and run.unseen(step.seen):
            return Verdict.MAIL_WAITING
        self._apply(run, step)
        return Verdict.COMMITTED

    def _apply(self, run: ModelRun, step: Step) -> None:
        if step.position is not None:
            assert step.position == len(run.journal) + 1, "an owner's copy is never ahead of the journal"
            run.journal.append(step.text)
        for mail_id in step.consume:
            assert mail_id not in run.consumed, f"{mail_id} was consumed twice"
            run.consumed.append(mail_id)
        if step.close is not None:
            run.status, run.owner, run.due = step.close, None, None
        elif step.park is not None:
            run.owner, run.due = None, step.park

    def start_by_policy(
        self, process: str, start: Start, derived_uuid: str, reuse: IdReuse, conflict: IdConflict
    ) -> StartResult:
        workflow_id = start.run
        uuid = self.current.get(workflow_id)
        if uuid is not None:
            run = self.runs[uuid]
            if run.open:
                if reuse is IdReuse.TERMINATE_IF_RUNNING or conflict is IdConflict.TERMINATE_EXISTING:
                    self.telling.add(process)
                    run.status, run.owner, run.due = RunStatus.TERMINATED, None, None
                elif conflict is IdConflict.USE_EXISTING:
                    return StartResult.USED_EXISTING
                else:
                    return StartResult.ALREADY_STARTED
            elif reuse is IdReuse.REJECT_DUPLICATE or (
                reuse is IdReuse.ALLOW_DUPLICATE_FAILED_ONLY and run.status is RunStatus.COMPLETED
            ):
                return StartResult.ALREADY_STARTED
        self.add(process, start, derived_uuid if workflow_id in self.runs else workflow_id, workflow_id=workflow_id)
        return StartResult.STARTED

    def claim(self, process: str) -> set[str]:
        free = {uuid for uuid, run in self.runs.items() if run.open and run.owner is None and run.due == NOW}
        for uuid in free:
            self.own(process, uuid)
        return free

    def claim_one(self, process: str, uuid: str) -> bool:
        run = self.runs.get(uuid)
        if run is None or not run.open or run.owner is not None:
            return False
        self.own(process, uuid)
        return True

    def own(self, process: str, uuid: str) -> None:
        self.runs[uuid].owner, self.runs[uuid].due = process, None

    def release(self, process: str, uuids: list[str]) -> None:
        for uuid in uuids:
            run = self.runs[uuid]
            if run.owner == process:
                run.owner, run.due = None, NOW

    def take_over(self, process: str) -> set[str]:
        taken = {
            uuid for uuid, run in self.runs.items() if run.owner in self.lapsed and run.owner != process and run.open
        }
        for uuid in taken:
            self.own(process, uuid)
        return taken

    def terminate(self, uuid: str, status: RunStatus) -> Verdict:
        run = self.runs.get(uuid)
        if run is None or not run.open:
            return Verdict.RUN_CLOSED
        run.status, run.owner, run.due = status, None, None
        return Verdict.COMMITTED
