"""Subsystems: each a state that advances only by `step(...)` and says its telemetry as values.

Engineering units throughout; what a packet field can hold of them is the dictionary's matter.
"""
