"""Reading: Temporal histories, as they were recorded, from files or from a live namespace.

* ``files``: JSON as the ``temporal`` command and the UI write it, Temporal Cloud's export, folders of them, gzipped or not;
* ``live``: a namespace, listed and read with a bounded rate, bounded concurrency and back-off;
* ``decoding``: what the user's codec has encoded, decoded again in this process;
* ``exporting``: from the namespace into a folder of files.

None of it asks what a workflow did; that is for ``sources.history`` and whoever judges.
"""
