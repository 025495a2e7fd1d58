"""The console: one process that serves the page, its API and its live stream.

accounts.py   people, roles, sessions, the audit, in one SQLite file
alarms.py     alarms as ISA-18.2 has them: a table, and what is kept of each
model.py      the present, from the bus, and what has changed of it
live.py       the live stream: each browser gets what has changed since it was last told
endpoints.py  what a route is: role, body, answer; the OpenAPI document is made of it
api.py        the routes
app.py        Starlette around it: sessions, origin, CSRF, static files
service.py    the process
"""
