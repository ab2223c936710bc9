"""Edits that show in activities, timers and local activities."""

from __future__ import annotations

from tests.shadow.mutations.mutation import Mutation, edits

ACTIVITIES: list[Mutation] = [
    *edits(
        "activities/in_a_row",
        "activities:InARow",
        rows=[
            ("an input is computed otherwise", "city.upper()", "city.lower()", "L2 value activity send: inputs[1]"),
            ("a field inside an input", 'f"for {city}"', 'f"to {city}"', "L2 value activity send: inputs[0].labels[2]"),
            ("a number in a list", "first + 1, 40", "first + 1, 41", "L2 value activity add_up: inputs[0][2]"),
            (
                "an argument too many",
                "[parcel, city.upper()]",
                "[parcel, city.upper(), 1]",
                "L2 extra activity send: inputs[2]",
            ),
            (
                "a heartbeat timeout",
                "timedelta(seconds=9)",
                "timedelta(seconds=8)",
                "L3 value activity send: options.heartbeat_ms",
            ),
            (
                "another clock",
                "schedule_to_close_timeout=SOON",
                "start_to_close_timeout=SOON",
                "L3 missing activity add_up: options.schedule_to_close_ms",
            ),
            ("an activity is renamed", "(weigh, first,", '("weigh_it", first,', "L1 type activity weigh: step"),
            (
                "an activity is left out",
                "await workflow.execute_activity(add_up, [first, first + 1, 40], schedule_to_close_timeout=SOON)",
                "47",
                "L1 missing activity add_up: step",
            ),
            (
                "an activity too many",
                "        return {",
                "        await workflow.execute_activity(weigh, 0, start_to_close_timeout=SOON)\n        return {",
                "L1 extra activity weigh: step",
            ),
            ("a field of the result is renamed", '"city": city', '"town": city', "L0 missing outcome: values[0].city"),
            (
                "a field of the result has another type",
                '"total": total',
                '"total": str(total)',
                "L0 type outcome: values[0].total",
            ),
        ],
    ),
    *edits(
        "activities/two_branches",
        "activities:TwoBranches",
        rows=[
            (
                "branches of a gather are swapped",
                'row("Oslo", 1), row("Rome", 2)',
                'row("Rome", 2), row("Oslo", 1)',
                "L1 order activity weigh: step",
            ),
            (
                "a gather becomes a loop",
                'list(await asyncio.gather(row("Oslo", 1), row("Rome", 2)))',
                '[await row("Oslo", 1), await row("Rome", 2)]',
                "L1 order activity send: step",
            ),
        ],
    ),
    *edits(
        "activities/all_at_once_7",
        "activities:AllAtOnce",
        rows=[
            ("a gather is turned around", "range(count)", "reversed(range(count))", "L1 order activity weigh: step"),
        ],
    ),
    *edits(
        "activities/all_at_once_2",
        "activities:AllAtOnce",
        rows=[
            ("one more in a gather", "range(count)", "range(count + 1)", "L1 extra activity weigh: step"),
        ],
    ),
    *edits(
        "activities/as_they_come",
        "activities:AsTheyCome",
        rows=[
            (
                "completion order is not heeded",
                "workflow.as_completed(tasks)",
                "tasks",
                "L1 order activity after: step",
            ),
        ],
    ),
    *edits(
        "activities/first_of_them_TRY_CANCEL",
        "activities:FirstOfThem",
        rows=[
            ("losers are not cancelled", "task.cancel()", "pass", "L1 missing cancel_activity until_cancelled: step"),
        ],
    ),
    *edits(
        "activities/cancels_one_TRY_CANCEL_raise",
        "activities:CancelsOne",
        rows=[
            (
                "an activity is abandoned",
                "ActivityCancellationType[kind]",
                "ActivityCancellationType.ABANDON",
                "L1 missing cancel_activity until_cancelled: step",
            ),
        ],
    ),
    *edits(
        "activities/with_options",
        "activities:WithOptions",
        rows=[
            (
                "a retry count",
                "maximum_attempts=4",
                "maximum_attempts=5",
                "L3 value activity weigh: options.retry_maximum_attempts",
            ),
            (
                "a retry interval",
                "initial_interval=timedelta(seconds=2)",
                "initial_interval=timedelta(seconds=3)",
                "L3 value activity weigh: options.retry_initial_ms",
            ),
            (
                "a failure type is tried again",
                '["Broken", "Lost"]',
                '["Broken"]',
                "L3 value activity weigh: options.retry_non_retryable",
            ),
            ("a priority", "priority_key=2", "priority_key=3", "L3 value activity weigh: options.priority"),
            ("a chosen activity id", "the chosen one", "another one", "L2 value activity nobody has written this: id"),
        ],
    ),
    *edits(
        "activities/tried_again",
        "activities",
        rows=[
            (
                "a retry policy is shared by another",
                "backoff_coefficient=1.0",
                "backoff_coefficient=2.0",
                "L3 value activity third_time: options.retry_coefficient",
            ),
        ],
    ),
    *edits(
        "activities/cancelled_before_it_began",
        "activities:CancelledBeforeItBegan",
        rows=[
            ("another queue", "nobody serves this", "nor that", "L3 value activity weigh: options.queue"),
        ],
    ),
    *edits(
        "activities/takes_back_2",
        "activities:TakesBack",
        rows=[
            ("compensation in the wrong order", "reversed(undo)", "undo", "L1 order activity after: step"),
            (
                "a failure is swallowed",
                "except ActivityError:",
                "except ActivityError:\n            undo.clear()",
                "L1 missing activity after: step",
            ),
        ],
    ),
    *edits(
        "activities/cancelled_with_clean_up",
        "activities:CleansUp",
        rows=[
            ("a cancel is swallowed", "if not swallows", "if swallows", "L0 type outcome: status"),
        ],
    ),
]

TIMERS: list[Mutation] = [
    *edits(
        "timers/takes_back_a_timer",
        "timers:TakesBackATimer",
        rows=[
            ("a timer's duration", "3600", "3601", "L4 value timer: duration_ms"),
            ("a timer is not taken back", "timer.cancel()", "return 'CancelledError'", "L1 missing cancel_timer: step"),
        ],
    ),
    *edits(
        "timers/waits_in_vain",
        "timers:Waits",
        rows=[
            ("a timeout's duration", "timeout=seconds", "timeout=seconds + 1", "L4 value timer: duration_ms"),
        ],
    ),
    *edits(
        "timers/sleeps",
        "timers:Sleeps",
        rows=[
            ("a timer is dropped", 'await workflow.sleep(seconds, summary="a nap")', "pass", "L1 missing timer: step"),
        ],
    ),
    *edits(
        "timers/waits_and_is_told",
        "timers:Waits",
        rows=[
            ("a condition is inverted", "lambda: self.ready", "lambda: not self.ready", "L1 missing timer: step"),
        ],
    ),
    *edits(
        "timers/long_loop",
        "timers:LongLoop",
        rows=[
            ("a loop ends one too early", "range(rounds)", "range(rounds - 1)", "L1 missing activity remind: step"),
            ("a loop begins one too late", "range(rounds)", "range(1, rounds)", "L1 missing activity remind: step"),
            ("a timer in another round", "number % 20 == 10", "number % 20 == 11", "L1 order activity remind: step"),
        ],
    ),
    *edits(
        "timers/runs_out_of_time",
        "timers:RunsOutOfTime",
        rows=[
            (
                "a timeout is not handled",
                "return await workflow.execute_activity(remind, 2, start_to_close_timeout=SOON)",
                "return 'too late'",
                "L1 missing activity remind: step",
            ),
        ],
    ),
    *edits(
        "timers/sleeps_for_days",
        "timers:SleepsForDays",
        rows=[
            (
                "a signal ends it too late",
                "while not self.stopped",
                "while not (self.stopped and number > 1)",
                "L1 extra activity remind: step",
            ),
        ],
    ),
]

LOCAL: list[Mutation] = [
    *edits(
        "local/locally",
        "local:Locally",
        rows=[
            (
                "local becomes remote",
                "[await workflow.execute_local_activity(double, number",
                "[await workflow.execute_activity(double, number",
                "L1 missing local_activity double: step",
            ),
        ],
    ),
    *edits(
        "local/beside",
        "local:LocallyBeside",
        rows=[
            ("a local activity is left out", "local + await remote", "remote", "L0 value outcome: values[0]"),
        ],
    ),
    *edits(
        "local/refused",
        "local:LocallyRefused",
        rows=[
            ("a local activity is renamed", "(refuse,", '("reject",', "L1 missing local_activity refuse: step"),
        ],
    ),
]
