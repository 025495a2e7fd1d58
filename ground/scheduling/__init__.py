"""Deep-space antenna scheduling: requests and view periods -> schedule, with a proven bound.

Pure functions over `model.py`; no bus, no clock of the ground segment (only solvers look at the
wall clock, to keep to the seconds they were given).
"""
