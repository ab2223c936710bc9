"""Protobuf ⇄ values and JSON text."""
