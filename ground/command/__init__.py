"""Commands: validate, arm, approve, release, radiate, verify; and keep what became of each.

requests.py      a request's states as a table, its record, its verifier stages
store.py         everything that must not be lost, in one SQLite file
telemetry.py     newest live value of every parameter, as old as it is
light_time.py    uplink windows and light time from the published passes
link.py          the sending end of the command link: segments, security, FOP-1, CLTUs
engine.py        what operators ask and what the bus says, turned into changes of the store
service.py       the process: bus, operators' socket, clock
client.py        operators' end of the socket
"""
