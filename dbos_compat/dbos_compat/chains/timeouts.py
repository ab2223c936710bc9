"""How a run ends whose time is over, whoever notices: its owner, or any process that looks."""

from __future__ import annotations

from collections.abc import Callable

from dbos_compat.chains.successor import NewId, after_timeout
from dbos_compat.convert.records import CloseRecord, close_text
from dbos_core.commit import Close, LoadedRun, RunStatus


def timeout_close(new_id: NewId) -> Callable[[LoadedRun, int], Close]:
    """For ``Kernel.timeout_close``. ``new_id`` gives run ids."""

    def close(loaded: LoadedRun, now_ms: int) -> Close:
        over_ms = max(now_ms, loaded.run.deadline_ms or 0)  # whoever noticed had a clock that was ahead of ours
        ending = after_timeout(loaded.run, loaded.inputs, over_ms, new_id)
        record = CloseRecord(kind="timed_out", retry_state=ending.state, new_run_id=ending.new_run_id)
        return Close(
            status=RunStatus.TIMED_OUT,
            close_ms=now_ms,
            record=close_text(record),
            error='{"name":"TimeoutError","message":"workflow timeout"}',
            mail_seen_ms=None,
            successor=ending.successor,
        )

    return close
