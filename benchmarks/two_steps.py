"""The two-activity workflow, in a file of its own as Temporal advises: the sandbox imports it, and the packages that it is in,
again for each run."""

from datetime import timedelta

from temporalio import activity, workflow


@activity.defn
async def first_step(number: int) -> int:
    return number + 1


@activity.defn
async def second_step(number: int) -> int:
    return number + 1


@workflow.defn
class TwoSteps:
    @workflow.run
    async def run(self, number: int) -> int:
        number = await workflow.execute_activity(first_step, number, start_to_close_timeout=timedelta(seconds=60))
        return await workflow.execute_activity(second_step, number, start_to_close_timeout=timedelta(seconds=60))
