"""Schedules: when to start workflows, and what to do when one is still running.

``calendar`` (by the clock that ``wall`` reads), ``text`` and ``spec`` say which times match; ``policy`` decides over
overlaps; ``state`` is what is known of one schedule, ``machine`` its moves, ``record`` its JSON. All of that is pure.
``scheduler`` acts on it: takes due schedules from the store, starts what the machine says, writes down what became of it.
"""

__all__: list[str] = []
