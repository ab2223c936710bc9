"""Workflow programs that together use all of Temporal that is supported, and the histories that a real server makes of them.

``theme`` says what a program is, ``programs`` has one module for each subject, ``stage`` is what a scene can do, and
``recorder`` plays all scenes on a development server and brings the histories home.
"""
