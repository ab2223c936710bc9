"""The checkout, killed in the middle: ``make demo``, or ``python -m examples.checkout.demo``.

A play about real processes: three carts on Postgres, a scene each, and then the same checkout on Temporal, with the shadow's
verdict (``proof``). ``stage`` has the database and the processes, ``evidence`` knows what ran and what the journal says,
``screen`` draws, ``stock`` asks the tools of DBOS, and ``__main__`` tells the story. Every claim on the screen is checked; one
that does not hold makes the demo end with status 1.
"""
