"""Time correlation: what the on-board clock shows against TAI, from time reports.

correlation.py  segments of the clock's life, outliers and jumps; conversions both ways
clock_filter.py the estimate within a segment
light_time.py   how long ago the frame left that is received now
service.py      the process: follows receive's packets, publishes topic `time`
"""
