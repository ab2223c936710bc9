"""Durable state: the calls that the kernel makes (``base``), in memory and on Postgres."""
