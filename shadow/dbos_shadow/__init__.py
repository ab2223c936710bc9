"""The proof: do Temporal and dbos-compat do the same with this workflow?

Observe, then judge. Pure, and of the standard library alone:

* ``trace``: a run on either engine as one frozen value: steps, arrivals, outcome;
* ``diff``: two traces and the allowances → differences, each with a level, a kind, a path and a fingerprint
  (``difference``), found with the help of ``align``, ``branches``, ``parts`` and ``json_paths``;
* ``verdict``: what is said of one run; ``allow``: the reviewed file of accepted differences; ``masks``: what may differ;
* ``groups``: the same difference in many runs, with one minimal exemplar;
* ``select``: which runs, samples, and what kind of run one is.

Around that:

* ``reading``: histories from files and live namespaces, decoded; ``sources``: their traces, and those of journals;
* ``replay``, ``free_run``, ``mirror``: three ways to the core's trace; ``baseline``: how much either engine agrees with
  itself;
* ``campaign``: many runs through a judge (``judging``) into ``results``; ``report``: what they say together;
* ``cli``, ``checks``, ``pytest_plugin``: the front doors;
* ``determinism``: the kit that drives the kernel through orders of events and crashes.
"""

__all__: list[str] = []
