"""Whatever a message of the bus may hold becomes topics without wildcards and strict JSON."""

from __future__ import annotations

import json

from hypothesis import given, settings

from ground.mqtt_bridge.publications import Publisher
from ground.mqtt_bridge.settings import BrokerSettings
from ground.ports import Message
from protocols.bus.messages import (
    BusMessage,
    CommandMessage,
    EventMessage,
    LinkMessage,
    ParametersMessage,
    PassesMessage,
    StatusMessage,
    TimeMessage,
)
from protocols.identifiers import Topic
from tests.protocols.bus.test_messages import MESSAGES

TOPICS = {
    ParametersMessage: Topic.PARAMETERS,
    EventMessage: Topic.EVENTS,
    CommandMessage: Topic.COMMANDS,
    LinkMessage: Topic.LINK,
    PassesMessage: Topic.PASSES,
    StatusMessage: "status.x",
    TimeMessage: Topic.TIME,
}
PUBLISHER = Publisher(BrokerSettings(host="localhost", port=1883, tls=False, mission="l4_relay"))


def refuse(constant: str) -> None:
    raise AssertionError(constant)


@settings(max_examples=150)
@given(MESSAGES)
def test_every_message_is_told_in_json(message: BusMessage) -> None:
    topic = TOPICS.get(type(message), Topic.PACKETS)
    made = PUBLISHER.publications(Message(topic, "s", "j", 3, 0, message.build()))
    for one in made:
        body = json.loads(one.payload, parse_constant=refuse)
        assert one.topic.startswith("l4r/v1/l4_relay/ground/")
        assert not set(one.topic) & set("+# $")
        assert all(one.topic.split("/"))
        assert body.get("id", "j:3:").startswith("j:3:")
    if isinstance(message, ParametersMessage):
        assert len(made) == message.rows
        stored = [bool(p) for table in message.tables for p in table.playback]
        assert [not one.state for one in made] == stored
    elif isinstance(message, EventMessage):
        told = [one for one in made if "/ground/events/" in one.topic]
        assert [json.loads(one.payload)["text"] for one in told] == [e.text for e in message.events]
        alarms = [e for e in message.events if e.kind != "spacecraft" and not e.playback]
        assert len(made) - len(told) == len(alarms)
    else:
        assert len(made) == (type(message) in TOPICS)
