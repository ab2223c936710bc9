"""The proof: do Temporal and dbos-compat do the same with this workflow?

Observe, then judge. What there is so far is pure:

* ``trace``: a run on either engine as one frozen value: steps, arrivals, outcome;
* ``sources``: where traces come from: ``history`` (Temporal, live or exported), ``journal`` (the core);
* ``diff``: two traces and the allowances → differences, each with a level, a kind, a path and a fingerprint
  (``difference``), found with the help of ``align``, ``branches``, ``parts`` and ``json_paths``;
* ``allow``: the reviewed file of accepted differences;
* ``groups``: the same difference in many runs, with one minimal exemplar.

All but the sources use the standard library alone. What will live here as well: the ways to the second trace (replay, free
run, live mirror), reports, and the determinism kit that drives the kernel through orders of events and crashes.
"""

__all__: list[str] = []
