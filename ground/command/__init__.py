"""Commands: validate, arm, approve, release, radiate, verify; and keep what became of each.

requests.py      a request and its states as a table
arguments.py     arguments as people write them
store.py         everything that must not be lost, in one SQLite file
telemetry.py     newest live value of every parameter, as old as it is
light_time.py    uplink windows and light time from the published passes
link.py          the sending end of the command link: segments, security, FOP-1, CLTUs
progress.py      what becomes of a request: moves, stages, their windows
desk.py          what operators may ask
engine.py        what the bus says and time brings, turned into changes and radiations
service.py       the process: bus, operators' socket, clock
client.py        operators' end of the socket
"""
