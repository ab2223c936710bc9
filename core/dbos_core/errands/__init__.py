"""Errands: what one run does to other runs, and what others hear of its end.

``spec`` has the values, ``service`` performs what open runs ask for, ``aftermath`` sees to what follows from a close.
"""
