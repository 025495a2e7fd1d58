"""`l4 terminal`: the console in a terminal, for SSH and for whoever wants no mouse.

app.py      views, keys, and what they ask the console
views.py    the present as rows and lines: no clock, no screen
dialogs.py  what is asked before something is done

It is a client like any script: `ground.client` is all it knows of the ground.
"""
