"""The determinism kit: thousands of schedules of a team's own workflow, with no server and no database.

::

    from dbos_shadow.determinism import determinism_test, from_type, returns, may_fail

    test_order = determinism_test(
        OrderWorkflow.run, args=from_type(Order),
        activities={charge: returns(from_type(Receipt)), ship: may_fail(ShipError)},
        signals=[OrderWorkflow.approve], invariants=[charged_implies_shipped_or_refunded],
    )
"""

from temporalio import workflow as _workflow

# A file with a workflow and its test in it is imported again in the sandbox, which shall take what is there.
with _workflow.unsafe.imports_passed_through():
    from dbos_shadow.determinism.again import check_schedule
    from dbos_shadow.determinism.explore import DeterminismTest, Explored, check_workflow, determinism_test
    from dbos_shadow.determinism.failure import BadPlan, DeterminismError, Rule, UncheckedWarning
    from dbos_shadow.determinism.happenings import FAULTS, Happening, Kind
    from dbos_shadow.determinism.inferred import inferred
    from dbos_shadow.determinism.plan import (
        CI,
        FAST,
        NIGHTLY,
        PROFILES,
        Message,
        Plan,
        Profile,
        plan,
        profile_of,
        sends,
    )
    from dbos_shadow.determinism.run import Lived, run_schedule
    from dbos_shadow.determinism.stubs import Stub, may_fail, raises, returns, times_out
    from dbos_shadow.determinism.values import from_type

__all__ = [
    "BadPlan",
    "CI",
    "DeterminismError",
    "DeterminismTest",
    "Explored",
    "FAST",
    "FAULTS",
    "Happening",
    "Kind",
    "Lived",
    "Message",
    "NIGHTLY",
    "PROFILES",
    "Plan",
    "Profile",
    "Rule",
    "Stub",
    "UncheckedWarning",
    "check_schedule",
    "check_workflow",
    "determinism_test",
    "from_type",
    "inferred",
    "may_fail",
    "plan",
    "profile_of",
    "raises",
    "returns",
    "run_schedule",
    "sends",
    "times_out",
]
