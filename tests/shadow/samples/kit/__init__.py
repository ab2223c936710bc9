"""Temporal's public Python samples under the determinism kit, from a checkout, with no server.

None of their code is here. ``told`` says what their classes do not say of themselves, what is left out, and what is known to
break; ``plans`` makes a plan of each workflow class of a file; ``inside`` explores those of one file in a process of its own;
``__main__`` is the command.
"""
