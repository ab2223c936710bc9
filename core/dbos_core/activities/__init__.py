"""Activities: steps outside the journal, tried by attempts, that end in one outcome.

Where to look: ``spec`` and ``attempt`` are the values; ``moves``, ``effects`` and ``machine`` decide about one activity
(pure); ``execution`` is one attempt that runs here; ``lanes`` are queues and slots, ``deadlines`` the clocks; ``service``
is what live runs and workers call, ``carrier`` does what the machines ask for; ``claimed``, ``owner_mail`` and ``wire``
are the dealings with other processes.

No menu here: ``commit`` needs ``spec`` alone.
"""
