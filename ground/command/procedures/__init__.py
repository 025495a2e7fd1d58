"""Operators' procedures: generators of steps, each result recorded, replayed after a restart.

steps.py               what a procedure can do, and the conditions on telemetry
world.py               what a running procedure sees: telemetry, requests, uplink windows
definitions.py         commands and parameters that steps are checked against
procedure.py           a procedure, its arguments, what its steps are made with
expressions.py         durations, instants and conditions as people write them
yaml_nodes.py          YAML with the place of every value
yaml_values.py         its variables
yaml_parts.py          conditions, instants and the like in it
yaml_steps.py          steps of a YAML procedure
yaml_procedures.py     a YAML file as a procedure
python_procedures.py   a Python file as a procedure
library.py             all procedures of some directories
rehearsal.py           one run where all goes well, for people
evaluation.py          whether a step is done
run_states.py          states of a run as a table
runner.py              one run: its records, and how it goes on from them
"""
