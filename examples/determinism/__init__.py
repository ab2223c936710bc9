"""A team's order workflow and its determinism test: five lines that explore thousands of schedules."""
