"""The proof: do Temporal and dbos-compat do the same with this workflow?

Nothing public yet. What will live here: a run on either engine as one typed *trace*
(steps, arrivals, outcome), the ways to obtain the second trace (replay, free run,
live mirror), the diff of two traces, reports, and the determinism kit that drives the
kernel through orders of events and crashes.
"""

__all__: list[str] = []
