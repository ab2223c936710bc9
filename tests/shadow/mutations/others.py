"""Edits that show in messages, children, chains of runs and versions."""

from __future__ import annotations

from tests.shadow.mutations.mutation import Mutation, edits

MESSAGES: list[Mutation] = [
    *edits(
        "messages/signals_in_a_row",
        "messages:Listens",
        rows=[
            (
                "a signal is ignored",
                "def hear(self, word: str) -> None:\n",
                "def hear(self, word: str) -> None:\n        if word == 'two':\n            return\n",
                "L0 value outcome: values[0][1]",
            ),
            ("a signal is renamed", "hear two", "hear 2", "L0 type outcome: values[0][3]"),
        ],
    ),
    *edits(
        "messages/signals_that_work",
        "messages:Listens",
        rows=[
            (
                "a handler has less to do",
                "self.heard.append(await workflow.execute_activity(translate, word, start_to_close_timeout=SOON))",
                "self.heard.append(word[::-1])",
                "L1 missing activity translate: step",
            ),
        ],
    ),
    *edits(
        "messages/updates",
        "messages:Listens",
        rows=[
            (
                "an update fails otherwise",
                'type="Unwilling"',
                'type="Reluctant"',
                "L2 value update_completed refuse: failure.type",
            ),
            ("an update does less", "range(rounds)", "range(rounds - 1)", "L1 missing activity translate: step"),
        ],
    ),
    *edits(
        "messages/update_with_start",
        "messages:Listens",
        rows=[
            ("a validator refuses", "if not word", "if word", "L1 missing update_accepted say: step"),
            (
                "an update's answer",
                "        return len(self.heard)\n\n    @say",
                "        return -1\n\n    @say",
                "L2 value update_completed say: inputs[0]",
            ),
        ],
    ),
    *edits(
        "messages/buffered_signals",
        "messages:ListensLater",
        rows=[
            ("it waits for more signals", "self.heard) >= 3", "self.heard) >= 4", "L0 type outcome: status"),
        ],
    ),
]

CHILDREN: list[Mutation] = [
    *edits(
        "children/parent",
        "children:Parent",
        workflow_type="Parent",
        rows=[
            ("a child's id", 'name("one")', 'name("first")', "L2 value child Child: id"),
            ("a child's input", 'Child.run, "one"', 'Child.run, "uno"', "L2 value child Child: inputs[0]"),
            (
                "a child of another type",
                "ChildOfManyRuns.run, 2",
                "Child.run, '2'",
                "L1 type child ChildOfManyRuns: step",
            ),
            ("a child is left out", 'in ("two", "three")', 'in ("two",)', "L1 missing child Child: step"),
        ],
    ),
    *edits(
        "children/leaves_a_child_TERMINATE",
        "children:LeavesAChild",
        workflow_type="LeavesAChild",
        rows=[
            (
                "what becomes of a child",
                "ParentClosePolicy[policy]",
                "ParentClosePolicy.ABANDON",
                "L3 value child WaitingChild: options.parent_close_policy",
            ),
        ],
    ),
    *edits(
        "children/cancels_its_child_TRY_CANCEL",
        "children:CancelsItsChild",
        workflow_type="CancelsItsChild",
        rows=[
            (
                "a child is not cancelled",
                "ChildWorkflowCancellationType[kind]",
                "ChildWorkflowCancellationType.ABANDON",
                "L1 missing cancel_child WaitingChild: step",
            ),
        ],
    ),
    *edits(
        "children/with_options",
        "children:ParentWithOptions",
        workflow_type="ParentWithOptions",
        rows=[
            ("a child's memo", '"n": 1', '"n": 2', "L2 value child Child: memo.n"),
            (
                "a child's search attribute",
                '(KEYWORD, "child")',
                '(KEYWORD, "kid")',
                "L2 value child Child: search_attributes.CompatKeyword",
            ),
            ("a child's run timeout", "seconds=50", "seconds=55", "L3 value child Child: options.run_timeout_ms"),
            (
                "a child's retry policy is gone",
                "retry_policy=RetryPolicy(maximum_attempts=3),",
                "",
                "L3 missing child Child: options.retry_coefficient",
            ),
        ],
    ),
    *edits(
        "children/tells_its_child",
        "children:TellsItsChild",
        workflow_type="TellsItsChild",
        rows=[
            (
                "a child is told less",
                '("ready", "steady", "go")',
                '("ready", "go")',
                "L1 missing signal_external tell: step",
            ),
        ],
    ),
    *edits(
        "children/a_stranger",
        "children:Stranger",
        workflow_type="Stranger",
        rows=[
            ("a stranger is told something else", '"psst"', '"hush"', "L2 value signal_external tell: inputs[0]"),
            ("a stranger is not cancelled", "        await known.cancel()\n", "", "L1 missing cancel_external: step"),
        ],
    ),
    *edits(
        "children/failure_caught",
        "children:ParentOfFailure",
        workflow_type="ParentOfFailure",
        rows=[
            ("a child's failure is not caught", "if not catches", "if catches", "L0 type outcome: status"),
        ],
    ),
]

CHAINS: list[Mutation] = [
    *edits(
        "chains/again",
        "chains:Again",
        rows=[
            (
                "what is handed on",
                "left=state.left - 1",
                "left=state.left - 2",
                "L2 value continue_as_new Again: inputs[0].left",
            ),
            (
                "the memo that is handed on",
                'memo={"left": state.left}, ',
                "",
                "L2 missing continue_as_new Again: memo.left",
            ),
            (
                "the task timeout of the next run",
                "seconds=9",
                "seconds=8",
                "L3 value continue_as_new Again: options.task_timeout_ms",
            ),
            ("it does not go on", "if state.left > 0", "if state.left > 99", "L1 missing continue_as_new Again: step"),
        ],
    ),
    *edits(
        "chains/as_another",
        "chains:AsAnother",
        workflow_type="AsAnother",
        rows=[
            ("it goes on as another", "workflow=Again.run", "workflow='Anew'", "L1 type continue_as_new Again: step"),
        ],
    ),
    *edits(
        "chains/fails_at_first",
        "chains:FailsAtFirst",
        rows=[
            (
                "details of a failure",
                '{"attempt": attempt}',
                '{"try": attempt}',
                "L0 missing outcome: failure.details[0].attempt",
            ),
        ],
    ),
    *edits(
        "chains/every_second",
        "chains:EverySecond",
        rows=[
            ("the last result is not heeded", "before + 1", "1", "L0 value outcome: values[0]"),
        ],
    ),
]

VERSIONS: list[Mutation] = [
    *edits(
        "versions/patched_in_a_loop",
        "versions:PatchedInALoop",
        rows=[
            ("a patch is dropped", 'if workflow.patched("behind")', "if True", "L1 missing patch behind: step"),
        ],
    ),
    *edits(
        "versions/begun_before_the_patch",
        "versions:After",
        rows=[
            (
                "a patch is removed too early",
                'if workflow.patched("first-step")',
                "if True",
                "L1 type activity old_way: step",
            ),
        ],
    ),
    *edits(
        "versions/begun_after_the_patch",
        "versions:After",
        rows=[
            ("a patch is renamed", '"second-step"', '"2nd-step"', "L1 missing patch second-step: step"),
        ],
    ),
    *edits(
        "versions/ended_before_the_patch",
        "versions:After",
        rows=[
            (
                "a patch that was never there",
                'if workflow.patched("second-step")',
                "if True",
                "L1 missing activity old_way: step",
            ),
        ],
    ),
    *edits(
        "versions/by_flag_2",
        "versions:ByFlag",
        rows=[
            ("a flag is read otherwise", "version >= 2", "version > 2", "L1 type activity new_way: step"),
        ],
    ),
]
