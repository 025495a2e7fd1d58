"""MQTT: listed topics of the bus, one way, to any broker (docs/howto/mqtt.md).

settings.py      broker's address, credentials, what is published
publications.py  bodies of the bus -> topics and JSON
outbox.py        what the broker has not acknowledged, and the positions that follow from it
service.py       the process: follows the journals, keeps the connection
"""
