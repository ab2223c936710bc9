"""Temporal's public Python samples, run from a checkout on a real development server and judged by the shadow.

None of their code is here: ``plays`` says which of their programs are started, in which order; ``inside`` runs one of them
and judges the histories with the very workflow classes that it has registered; ``__main__`` is the command.
"""
