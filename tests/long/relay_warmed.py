"""Imported by the process that trials fork their nodes from."""

from ground.relay.warming import warm

warm()
