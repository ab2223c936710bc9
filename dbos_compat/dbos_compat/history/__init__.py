"""Journal → Temporal events.

``numbering`` gives every event its id, live and afterwards; ``events`` writes the whole history of a run, with
``arrivals`` (what happened), ``requests`` (what was asked for), ``outcomes`` (how activities timed out) and ``closing``
(how the run ended) as its parts.
"""
